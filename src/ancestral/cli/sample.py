"""`ancestral sample`: samples of a bundle, with their log-probabilities."""

from pathlib import Path
from typing import Annotated

import typer

from ancestral.cli.options import (
    Backend,
    BatchInvariant,
    BundlePath,
    Device,
    Dtype,
    Threads,
    backend_options,
)
from ancestral.errors import InvalidInput

_FILTERS = "Filters, in this order"
_PROMPTS = "Text that goes on from prompts"
_MANY = 64


def sample(  # noqa: PLR0913 - the options of a command
    bundle: BundlePath,
    n: Annotated[
        int | None,
        typer.Option(
            "-n",
            help=f"Number of samples; of each prompt. Default: {_MANY}, or 1 of each prompt.",
            show_default=False,
        ),
    ] = None,
    label: Annotated[
        int | None,
        typer.Option(
            help="Label of all samples. Without it, on a conditional model, those of the file of "
            "--observed count, or sample i has label i mod C: the C labels take turns.",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Sample i depends on (seed, i) alone.")] = 0,
    first_index: Annotated[int, typer.Option(help="Index i of the first sample.")] = 0,
    out: Annotated[
        str,
        typer.Option(
            "-o",
            "--out",
            metavar="FILE",
            help=".png: a grid of images. .npz: x, log_prob, log_q, labels, seed, first_index. "
            ".txt or - (standard output): text, or levels, an event a line. Of a latent variable "
            "model an .npz has x, z, log_prior, log_likelihood, labels, seed, first_index.",
        ),
    ] = "-",
    observed: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help=".npy or .npz (observed, perhaps labels y) with values to force; -1 is free. One "
            "event is for all samples; of several each has one sample. What is drawn is "
            "conditioned on what precedes it, or see --particles.",
        ),
    ] = None,
    particles: Annotated[
        int | None,
        typer.Option(
            help="Condition on all that is observed of an event, also on what comes later: so "
            "many completions of each event by sequential Monte Carlo, and an estimate of "
            "log p(observed). An .npz has x, log_weight and more, [events, particles, ...] where "
            "the file has an axis of events; elsewhere they are drawn by weight, a picture with a "
            "row for each event. Event i has the noise of the indices from first-index + "
            "i * particles.",
            show_default=False,
        ),
    ] = None,
    mean: Annotated[
        bool,
        typer.Option(
            "--mean", help="E[x | z] instead of a draw of x; of latent variable models alone."
        ),
    ] = False,
    prompt: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TEXT",
            help="Text to go on from; may be repeated. Prompts of any lengths share a batch.",
            rich_help_panel=_PROMPTS,
        ),
    ] = None,
    prompts: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="A prompt a line, in UTF-8.",
            show_default=False,
            rich_help_panel=_PROMPTS,
        ),
    ] = None,
    prompt_ids: Annotated[
        list[str] | None,
        typer.Option(
            metavar='"I I ..."',
            help="Ids to go on from, of any bundle; may be repeated.",
            rich_help_panel=_PROMPTS,
        ),
    ] = None,
    max_new: Annotated[
        int | None,
        typer.Option(
            help="Tokens to draw at most. Default: up to the end of the context.",
            show_default=False,
            rich_help_panel=_PROMPTS,
        ),
    ] = None,
    stop: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TEXT|ID",
            help="End after this token, instead of the bundle's own stop tokens; digits are an "
            "id. May be repeated.",
            rich_help_panel=_PROMPTS,
        ),
    ] = None,
    stream: Annotated[
        bool | None,
        typer.Option(
            "--stream/--no-stream",
            help="Show text as it comes. Default: of one prompt on a terminal.",
            show_default=False,
            rich_help_panel=_PROMPTS,
        ),
    ] = None,
    temperature: Annotated[
        float,
        typer.Option(
            help="Divides the logits; 0 is greedy. Of real latents, times their noise: 0 is the "
            "prior's mean.",
            rich_help_panel=_FILTERS,
        ),
    ] = 1.0,
    top_k: Annotated[
        int | None,
        typer.Option(
            help="Keep the k most probable values.", show_default=False, rich_help_panel=_FILTERS
        ),
    ] = None,
    top_p: Annotated[
        float, typer.Option(help="Keep the first values of mass p.", rich_help_panel=_FILTERS)
    ] = 1.0,
    min_p: Annotated[
        float,
        typer.Option(help="Keep values above this times the largest.", rich_help_panel=_FILTERS),
    ] = 0.0,
    backend: Backend = "onnxruntime",
    device: Device = "cpu",
    threads: Threads = None,
    dtype: Dtype = None,
    batch_invariant: BatchInvariant = False,
    batch: Annotated[
        int | None,
        typer.Option(
            help="Samples at a time. Default: what memory allows, at most 256 on a CPU.",
            show_default=False,
            rich_help_panel="Where it runs",
        ),
    ] = None,
) -> None:
    """Draw samples; the same seed gives the same samples, whatever the batch or the backend.

    Ctrl-C ends early: finished batches of an autoregressive model are written, and the exit code is
    130.
    """
    from ancestral.cli.autoregressive_samples import sample_events
    from ancestral.cli.completion import check_options, sample_completions
    from ancestral.cli.generation import Draw, Prompts, check_out, sample_prompts
    from ancestral.cli.latent_samples import Request, sample_latent
    from ancestral.cli.present.observed_file import read_observed
    from ancestral.cli.present.samples_file import check_format
    from ancestral.engine import AutoregressiveEngine, Engine, LatentEngine, Sampling
    from ancestral.engine.inputs import count

    sampling = Sampling(temperature, top_k, top_p, min_p)
    asked = Prompts(prompt or (), prompts, prompt_ids or (), max_new, stop or (), stream)
    if asked.given:
        _refuse("a prompt", observed=observed, particles=particles, mean=mean or None)
        check_out(out)
    check_format(out, keep=(bundle, observed, prompts))
    engine = Engine.load(
        bundle,
        backend=backend,
        device=device,
        threads=threads,
        **backend_options(dtype, batch_invariant),
    )
    check_format(out, engine.data)
    if isinstance(engine, LatentEngine):
        if asked.given:
            raise InvalidInput(f"--prompt: {bundle} is a latent variable model: it has no prompts")
        _refuse("a latent variable model", observed=observed, particles=particles, batch=batch)
        wanted = _MANY if n is None else n
        sample_latent(engine, Request(wanted, label, seed, first_index, sampling, mean, out))
        return
    assert isinstance(engine, AutoregressiveEngine)
    if asked.given:
        each = 1 if n is None else count("n", n, 1)
        draw = Draw(each, label, seed, first_index, sampling, batch, out)
        sample_prompts(engine, asked, draw)
        return
    _refuse("an autoregressive model", mean=mean or None)
    if particles is not None:
        check_options(observed, n, sampling, batch)
    if particles is not None and observed is not None:
        sample_completions(engine, observed, particles, label, (seed, first_index), out)
        return
    forced = None if observed is None else read_observed(observed, label, engine)
    asked_n = None if n is None else count("n", n, 1)
    wanted = (asked_n or _MANY) if forced is None else forced.samples(asked_n, _MANY)
    sample_events(engine, forced, Draw(wanted, label, seed, first_index, sampling, batch, out))


def _refuse(kind: str, **options: object) -> None:
    """Refuse the options that do not go with what there is.

    Raises:
        InvalidInput: with their names.
    """
    given = [f"--{name}" for name, value in options.items() if value is not None]
    if given:
        raise InvalidInput(f"{' and '.join(given)}: no option for {kind}: leave it out")
