"""`ancestral bulk sample`, `log-prob`, `classify`, `bound` and `encode`: make and work on a job."""

from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import typer

from ancestral.cli import filters, options
from ancestral.cli.bulk.options import (
    Batch,
    DataFiles,
    Folder,
    Levels,
    PartSize,
    Shard,
    Workers,
    levels_of,
    require_packages,
)

_prompt = partial(typer.Option, rich_help_panel="Prompts")


def sample(  # noqa: PLR0913 - the options of a command
    bundle: options.BundlePath,
    n: Annotated[
        int, options.sampling_option("-n", "--n", metavar="N", help="Number of samples in all.")
    ],
    out: Folder,
    labels: Annotated[
        str | None,
        options.input_option(
            metavar="Y,...",
            help="Labels through which samples cycle. Default for a conditional model: all labels.",
        ),
    ] = None,
    seed: Annotated[
        int,
        options.sampling_option(
            metavar="N", help="Seed of the noise. Sample i depends only on the seed and on i."
        ),
    ] = 0,
    mean: Annotated[
        bool,
        options.sampling_option(
            "--mean", help="Write E[x | z] instead of draws; latent variable models only."
        ),
    ] = False,
    prompts: Annotated[
        Path | None,
        _prompt(
            metavar="FILE",
            help="UTF-8 file with one prompt per line. Sample i continues prompt i modulo their "
            "number.",
        ),
    ] = None,
    prompt_ids: Annotated[
        list[str] | None,
        _prompt(metavar="IDS", help='Ids to continue ("1 2 3"); may be repeated.'),
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
    temperature: filters.Temperature = 1.0,
    top_k: filters.TopK = None,
    top_p: filters.TopP = 1.0,
    min_p: filters.MinP = 0.0,
    logit_bias: filters.LogitBias = None,
    repetition_penalty: filters.RepetitionPenalty = 1.0,
    presence_penalty: filters.PresencePenalty = 0.0,
    frequency_penalty: filters.FrequencyPenalty = 0.0,
    part_size: PartSize = None,
    batch: Batch = None,
    shard: Shard = "0/1",
    workers: Workers = 1,
    backend: options.Backend = "onnxruntime",
    device: options.Device = "cpu",
    threads: options.Threads = None,
    dtype: options.Dtype = None,
    batch_invariant: options.BatchInvariant = False,
) -> None:
    """Draw any number of samples into Parquet parts.

    Parts that are in the folder and sound are left as they are, so that the same command continues
    a job that was interrupted, and a larger -n extends it. Sample i is the same in any shard.
    """
    require_packages()
    from ancestral.bulk.settings import Filters, SampleSettings
    from ancestral.cli.bulk.run import Common, run
    from ancestral.cli.generation import Prompts
    from ancestral.decimals import decimals
    from ancestral.engine import Sampling

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
    form = "labels separated by commas, for example 0,1,2"
    settings = SampleSettings(
        seed=options.seed(seed),
        labels=None if labels is None else tuple(decimals("--labels", labels, form)),
        filters=Filters.of(sampling),
        mean=mean,
    )
    given = Prompts((), prompts, prompt_ids or (), max_new, stop or ())
    common = Common(
        bundle,
        out,
        (part_size, batch, shard, workers),
        (backend, device, threads, dtype, batch_invariant),
    )
    run(common, settings, n=n, prompts=given)


def log_prob(  # noqa: PLR0913 - the options of a command
    bundle: options.BundlePath,
    data: Annotated[
        list[str],
        typer.Argument(
            metavar="DATA",
            help="Files whose rows are numbered one after another: .npz (x, perhaps y), .npy, IDX, "
            ".parquet (x, perhaps y; or text), or .jsonl with a text in each line.",
        ),
    ],
    out: Folder,
    label: Annotated[
        int | None,
        options.input_option(metavar="N", help="Label of all rows, instead of those in the data."),
    ] = None,
    stride: Annotated[
        int | None,
        options.input_option(
            metavar="N",
            help="Positions by which windows slide over a text, as in `ancestral log-prob`.",
        ),
    ] = None,
    binarise: options.Binarise = False,
    levels: Levels = None,
    part_size: PartSize = None,
    batch: Batch = None,
    shard: Shard = "0/1",
    workers: Workers = 1,
    backend: options.Backend = "onnxruntime",
    device: options.Device = "cpu",
    threads: options.Threads = None,
    dtype: options.Dtype = None,
    batch_invariant: options.BatchInvariant = False,
) -> None:
    """Compute log-probabilities of events or texts into Parquet parts.

    Log-probabilities are in nats, of whole events or texts. A row that cannot be scored, for
    example because it has NaN, ends the command with the name of its file and its number.
    """
    require_packages()
    from ancestral.bulk.settings import LogProbSettings
    from ancestral.cli.bulk.run import Common, run
    from ancestral.scalars import whole

    common = Common(
        bundle,
        out,
        (part_size, batch, shard, workers),
        (backend, device, threads, dtype, batch_invariant),
    )
    settings = LogProbSettings(
        label=label,
        stride=None if stride is None else whole("--stride", stride, 1),
        binarise=levels_of(binarise, levels),
    )
    run(common, settings, data=data)


def classify(  # noqa: PLR0913 - the options of a command
    bundle: options.BundlePath,
    data: DataFiles,
    out: Folder,
    binarise: options.Binarise = False,
    levels: Levels = None,
    part_size: PartSize = None,
    batch: Batch = None,
    shard: Shard = "0/1",
    workers: Workers = 1,
    backend: options.Backend = "onnxruntime",
    device: options.Device = "cpu",
    threads: options.Threads = None,
) -> None:
    """Classify events by Bayes' rule into Parquet parts.

    Writes the most probable class, log p(y | x) and log p(x, y) of each event, in nats.
    """
    require_packages()
    from ancestral.bulk.settings import ClassifySettings
    from ancestral.cli.bulk.run import Common, run

    common = Common(
        bundle, out, (part_size, batch, shard, workers), (backend, device, threads, None, False)
    )
    run(common, ClassifySettings(binarise=levels_of(binarise, levels)), data=data)


def bound(  # noqa: PLR0913 - the options of a command
    bundle: options.BundlePath,
    data: DataFiles,
    out: Folder,
    k: Annotated[
        int, options.sampling_option("-k", metavar="K", help="Number of latents per event.")
    ] = 64,
    seed: Annotated[
        int,
        options.sampling_option(
            metavar="N",
            help="Seed of the noise. The latents of event i depend only on the seed and on i.",
        ),
    ] = 0,
    proposal: Annotated[
        Literal["posterior", "prior"],
        options.sampling_option(
            metavar="NAME",
            help="Draw latents from q(z | x) (posterior) or p(z) (prior: naive Monte Carlo).",
        ),
    ] = "posterior",
    label: Annotated[
        int | None,
        options.input_option(
            metavar="N",
            help="Bound log p(x | y) for this label; only for a prior over codes with classes.",
        ),
    ] = None,
    labelled: Annotated[
        bool,
        options.input_option("--labelled", help="Bound log p(x | y) for the labels in the data."),
    ] = False,
    binarise: options.Binarise = False,
    levels: Levels = None,
    part_size: PartSize = None,
    batch: Batch = None,
    shard: Shard = "0/1",
    workers: Workers = 1,
    backend: options.Backend = "onnxruntime",
    device: options.Device = "cpu",
    threads: options.Threads = None,
) -> None:
    """Compute lower bounds on log p(x) into Parquet parts.

    Writes ELBO, IWAE, their terms and standard errors in nats, and the effective sample size of
    each event.
    """
    require_packages()
    from ancestral.bulk.settings import BoundSettings
    from ancestral.cli.bulk.run import Common, run
    from ancestral.errors import InvalidInput
    from ancestral.scalars import whole

    if labelled and label is not None:
        raise InvalidInput("--labelled: not used with --label; leave out one of them")
    settings = BoundSettings(
        k=whole("-k", k, 1),
        seed=options.seed(seed),
        proposal=proposal,
        label=label,
        labelled=labelled,
        binarise=levels_of(binarise, levels),
    )
    common = Common(
        bundle, out, (part_size, batch, shard, workers), (backend, device, threads, None, False)
    )
    run(common, settings, data=data)


def encode(  # noqa: PLR0913 - the options of a command
    bundle: options.BundlePath,
    data: DataFiles,
    out: Folder,
    binarise: options.Binarise = False,
    levels: Levels = None,
    part_size: PartSize = None,
    batch: Batch = None,
    shard: Shard = "0/1",
    workers: Workers = 1,
    backend: options.Backend = "onnxruntime",
    device: options.Device = "cpu",
    threads: options.Threads = None,
) -> None:
    """Encode events to latents or codes into Parquet parts.

    Writes the parameters of q(z | x) of each event, or its codes.
    """
    require_packages()
    from ancestral.bulk.settings import EncodeSettings
    from ancestral.cli.bulk.run import Common, run

    common = Common(
        bundle, out, (part_size, batch, shard, workers), (backend, device, threads, None, False)
    )
    run(common, EncodeSettings(binarise=levels_of(binarise, levels)), data=data)
