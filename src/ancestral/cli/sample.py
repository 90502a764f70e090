"""`ancestral sample`: samples of a bundle, with their log-probabilities."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from ancestral.cli import options
from ancestral.cli.output import check_target
from ancestral.errors import InvalidInput

_filter = partial(typer.Option, rich_help_panel="Filters, in this order")
_prompt = partial(typer.Option, rich_help_panel="Text that goes on from prompts")


def sample(  # noqa: PLR0913 - the options of a command
    bundle: options.BundlePath,
    n: Annotated[
        int | None,
        typer.Option(
            "-n", help="Number of samples; of each prompt. Default: 64, or 1 of each prompt."
        ),
    ] = None,
    label: Annotated[
        int | None,
        typer.Option(
            help="Label of all samples. Without it, on a conditional model, those of the file of "
            "--observed count, or sample i has label i mod C: the C labels take turns."
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
            "i * particles."
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
        _prompt(
            metavar="TEXT",
            help="Text to go on from; may be repeated. Prompts of any lengths share a batch.",
        ),
    ] = None,
    prompts: Annotated[
        Path | None, _prompt(metavar="FILE", help="A prompt a line, in UTF-8.")
    ] = None,
    prompt_ids: Annotated[
        list[str] | None,
        _prompt(metavar='"I I ..."', help="Ids to go on from, of any bundle; may be repeated."),
    ] = None,
    max_new: Annotated[
        int | None,
        _prompt(help="Tokens to draw at most. Default: up to the end of the context."),
    ] = None,
    stop: Annotated[
        list[str] | None,
        _prompt(
            metavar="TEXT|ID",
            help="End after this token, instead of the bundle's own stop tokens; digits are an "
            "id. May be repeated.",
        ),
    ] = None,
    stream: Annotated[
        bool | None,
        _prompt(
            "--stream/--no-stream",
            help="Show text as it comes. Default: of one prompt on a terminal.",
        ),
    ] = None,
    temperature: Annotated[
        float,
        _filter(
            help="Divides the logits; 0 is greedy. Of real latents, times their noise: 0 is the "
            "prior's mean."
        ),
    ] = 1.0,
    top_k: Annotated[int | None, _filter(help="Keep the k most probable values.")] = None,
    top_p: Annotated[float, _filter(help="Keep the first values of mass p.")] = 1.0,
    min_p: Annotated[float, _filter(help="Keep values above this times the largest.")] = 0.0,
    backend: options.Backend = "onnxruntime",
    device: options.Device = "cpu",
    threads: options.Threads = None,
    dtype: options.Dtype = None,
    batch_invariant: options.BatchInvariant = False,
    batch: Annotated[
        int | None,
        options.where_option(
            help="Samples at a time. Default: what memory allows, at most 256 on a CPU."
        ),
    ] = None,
) -> None:
    """Draw samples; the same seed gives the same samples, whatever the batch or the backend.

    Ctrl-C ends early: finished batches of an autoregressive model are written, and the exit code is
    130.
    """
    from ancestral.cli.completion import sample_completions
    from ancestral.cli.generation import Prompts, sample_prompts
    from ancestral.cli.present.events_file import check_picture
    from ancestral.cli.samples import Draw, sample_events, sample_latent
    from ancestral.engine import AutoregressiveEngine, LatentEngine, Sampling

    sampling = Sampling(temperature, top_k, top_p, min_p)
    draw = Draw(n, label, seed, first_index, sampling, batch, out)
    asked = Prompts(prompt or (), prompts, prompt_ids or (), max_new, stop or (), stream)
    if asked.given:
        _refuse("a prompt", observed=observed, particles=particles, mean=mean or None)
    if out != "-":
        suffixes = (".npz", ".txt") if asked.given else (".npz", ".png", ".txt")
        check_target(Path(out), suffixes, keep=(bundle, observed, prompts))
    engine = options.load(bundle, backend, device, threads, dtype, batch_invariant)
    check_picture(out, engine.data, ".npz or .txt")
    if isinstance(engine, LatentEngine):
        if asked.given:
            raise InvalidInput(f"--prompt: {bundle} is a latent variable model: it has no prompts")
        _refuse("a latent variable model", observed=observed, particles=particles, batch=batch)
        sample_latent(engine, draw, mean)
        return
    assert isinstance(engine, AutoregressiveEngine)
    if asked.given:
        sample_prompts(engine, asked, draw)
        return
    _refuse("an autoregressive model", mean=mean or None)
    if particles is None:
        sample_events(engine, observed, draw)
    else:
        sample_completions(engine, observed, particles, draw)


def _refuse(kind: str, **given: object) -> None:
    """Refuse the options that do not go with what there is.

    Raises:
        InvalidInput: one of them was given; the error has their names.
    """
    names = [f"--{name}" for name, value in given.items() if value is not None]
    if names:
        raise InvalidInput(f"{' and '.join(names)}: no option for {kind}: leave it out")
