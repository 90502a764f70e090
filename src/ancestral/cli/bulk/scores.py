"""`ancestral bulk log-prob`, `classify`, `bound` and `encode`: a job over data."""

from typing import Annotated

import typer

from ancestral.cli import options
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
    k: options.Latents = 64,
    seed: options.BoundSeed = 0,
    proposal: options.Proposal = "posterior",
    label: options.BoundLabel = None,
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
