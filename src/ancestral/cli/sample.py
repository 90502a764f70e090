"""`ancestral sample`: draw samples from a bundle, with their log-probabilities."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from ancestral.cli import filters, options, speculation
from ancestral.cli.output import check_target
from ancestral.errors import InvalidInput

_prompt = partial(typer.Option, rich_help_panel="Prompts")


def sample(  # noqa: PLR0913 - the options of a command
    bundle: options.BundlePath,
    n: Annotated[
        int | None,
        options.sampling_option(
            "-n",
            metavar="N",
            help="Number of samples, or of samples per prompt. Default: 64, or 1 per prompt.",
        ),
    ] = None,
    label: Annotated[
        int | None,
        options.input_option(
            metavar="N",
            help="Label of all samples. Default for a conditional model: the labels in the "
            "--observed file, else sample i has label i mod C, C being the number of labels.",
        ),
    ] = None,
    seed: Annotated[
        int,
        options.sampling_option(
            metavar="N", help="Seed of the noise. Sample i depends only on the seed and on i."
        ),
    ] = 0,
    first_index: Annotated[
        int, options.sampling_option(metavar="N", help="Index i of the first sample.")
    ] = 0,
    out: Annotated[
        str,
        options.output_option(
            "-o",
            "--out",
            metavar="FILE",
            help=".png: a grid of images. .npz: x, log_prob, log_q, labels, seed, first_index "
            "(latent variable models: x, z, log_prior, log_likelihood, labels, seed, "
            "first_index). .txt or - (standard output): text, or levels, one event per line.",
        ),
    ] = "-",
    observed: Annotated[
        Path | None,
        options.input_option(
            metavar="FILE",
            help=".npy or .npz (observed, optionally labels y) with fixed values; -1 marks values "
            "to draw. A single event is used for all samples; of several events, each gets one "
            "sample. Drawn values are conditioned on the fixed values before them; with "
            "--particles, on all fixed values.",
        ),
    ] = None,
    particles: Annotated[
        int | None,
        options.sampling_option(
            metavar="N",
            help="Draw N completions of each --observed event by sequential Monte Carlo, given all "
            "its fixed values, and estimate log p(observed). An .npz holds all completions and "
            "their weights (x, log_weight and more), [events, N, ...] if the --observed file has "
            "an axis of events. Other files hold N completions drawn by weight; a picture has one "
            "row per event. Event i uses the indices from --first-index + i * N.",
        ),
    ] = None,
    mean: Annotated[
        bool,
        options.sampling_option(
            "--mean", help="Write E[x | z] instead of draws; latent variable models only."
        ),
    ] = False,
    prompt: Annotated[
        list[str] | None,
        _prompt(
            metavar="TEXT",
            help="Text to continue; may be repeated. Prompts of any lengths share a batch.",
        ),
    ] = None,
    prompts: Annotated[
        Path | None, _prompt(metavar="FILE", help="UTF-8 file with one prompt per line.")
    ] = None,
    prompt_ids: Annotated[
        list[str] | None,
        _prompt(
            metavar="IDS",
            help='Ids to continue ("1 2 3"); may be repeated. Works with any bundle.',
        ),
    ] = None,
    max_new: Annotated[
        int | None,
        _prompt(
            metavar="N",
            help="Maximum number of tokens to draw. Default: up to the end of the context.",
        ),
    ] = None,
    stop: Annotated[
        list[str] | None,
        _prompt(
            metavar="TEXT|ID",
            help="Stop after this token instead of the bundle's stop tokens; digits are read as an "
            "id. May be repeated.",
        ),
    ] = None,
    stream: Annotated[
        bool | None,
        _prompt(
            "--stream/--no-stream",
            help="Print text as it is drawn. Default: on for a single continuation on a terminal.",
        ),
    ] = None,
    logprobs: Annotated[
        int | None,
        _prompt(
            metavar="K",
            help="Also the K most probable values at each new token, 0 .. 20, and their log p in "
            "nats: a line for each token, or top_ids, top_log_p, top_filtered_ids and top_log_q in "
            "an .npz.",
        ),
    ] = None,
    temperature: filters.Temperature = 1.0,
    top_k: filters.TopK = None,
    top_p: filters.TopP = 1.0,
    min_p: filters.MinP = 0.0,
    logit_bias: filters.LogitBias = None,
    repetition_penalty: filters.RepetitionPenalty = 1.0,
    presence_penalty: filters.PresencePenalty = 0.0,
    frequency_penalty: filters.FrequencyPenalty = 0.0,
    speculate: speculation.Name = None,
    draft: speculation.DraftBundle = None,
    corpus: speculation.Corpus = None,
    block: speculation.Block = None,
    backend: options.Backend = "onnxruntime",
    device: options.Device = "cpu",
    threads: options.Threads = None,
    dtype: options.Dtype = None,
    batch_invariant: options.BatchInvariant = False,
    batch: Annotated[
        int | None,
        options.backend_option(
            metavar="N",
            help="Samples in a batch. Default: as many as fit in memory, at most 256 on a CPU.",
        ),
    ] = None,
) -> None:
    """Draw samples from a bundle, with their log-probabilities.

    The same seed gives the same samples in any batch and on any backend. Settings are applied in
    the order bias, repetition penalty, presence and frequency penalty, temperature, top-k, top-p,
    min-p. After Ctrl-C, finished batches of an autoregressive
    model are written, and the exit code is 130.
    """
    from ancestral.cli.completion import sample_completions
    from ancestral.cli.generation import Prompts, sample_prompts
    from ancestral.cli.present.events_file import check_picture
    from ancestral.cli.samples import Draw, sample_events, sample_latent
    from ancestral.engine import AutoregressiveEngine, LatentEngine, Sampling

    sampling = Sampling(
        temperature,
        top_k,
        top_p,
        min_p,
        options.bias(logit_bias or ()),
        repetition_penalty,
        presence_penalty,
        frequency_penalty,
    )
    proposals = speculation.Given(speculate, draft, corpus or (), block)
    draw = Draw(n, label, seed, first_index, sampling, batch, out, proposals)
    ids = prompt_ids or ()
    request = Prompts(prompt or (), prompts, ids, max_new, stop or (), stream, logprobs)
    if request.given:
        _refuse("a prompt", observed=observed, particles=particles, mean=mean or None)
    if out != "-":
        suffixes = (".npz", ".txt") if request.given else (".npz", ".png", ".txt")
        check_target(Path(out), suffixes, keep=(bundle, observed, prompts))
    engine = options.load(bundle, backend, device, threads, dtype, batch_invariant)
    check_picture(out, engine.data, ".npz or .txt")
    if isinstance(engine, LatentEngine):
        if request.given:
            raise InvalidInput(
                f"--prompt: {bundle} is a latent variable model, which takes no prompts; leave it "
                f"out"
            )
        speculating = proposals.any or None
        _refuse(
            "a latent variable model",
            observed=observed,
            particles=particles,
            batch=batch,
            speculate=speculating,
        )
        sample_latent(engine, draw, mean)
        return
    assert isinstance(engine, AutoregressiveEngine)
    if request.given:
        sample_prompts(engine, request, draw)
        return
    _refuse("an autoregressive model", mean=mean or None)
    if particles is None:
        sample_events(engine, observed, draw)
    else:
        _refuse("--particles", speculate=proposals.any or None)
        sample_completions(engine, observed, particles, draw)


def _refuse(kind: str, **given: object) -> None:
    """Check that none of these options is given.

    Args:
        kind: what they cannot be combined with.
        given: the options by name; None for those that were not given.

    Raises:
        InvalidInput: an option was given.
    """
    names = [f"--{name}" for name, value in given.items() if value is not None]
    if names:
        raise InvalidInput(f"{' and '.join(names)}: not used with {kind}; leave it out")
