"""`ancestral compare`: what a bundle loses in likelihood, compared with another one."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ancestral.cli import options
from ancestral.cli.output import check_target, json_text, put, say, show
from ancestral.errors import InvalidInput

if TYPE_CHECKING:
    from ancestral.cli.compared_data import DataOptions
    from ancestral.engine import Engine
    from ancestral.loss_measurement import Comparison


def compare(  # noqa: PLR0913 - the options of a command
    bundle: options.BundlePath,
    source: Annotated[
        Path,
        typer.Argument(
            metavar="SOURCE",
            help="Bundle to compare with, or a file of log-probabilities of another system: JSONL "
            'with {"ids": [...], "log_prob": [...]} on each line, or .npz with ids and log_prob.',
        ),
    ],
    data: Annotated[
        Path | None,
        options.input_option(
            metavar="FILE",
            help=".npz with events x and labels y, .npy, IDX, JSONL of texts, or a plain text, "
            "which is cut into windows. Required, except with a file of log-probabilities.",
        ),
    ] = None,
    n: Annotated[
        int | None,
        options.input_option(
            "-n", metavar="N", help="Number of first events or windows to compare. Default: all."
        ),
    ] = None,
    window: Annotated[
        int | None,
        options.input_option(
            metavar="T", help="Tokens of a window of text. Default: the model's length."
        ),
    ] = None,
    label: Annotated[
        int | None,
        options.input_option(
            metavar="N", help="Label of all events, instead of the labels in the file."
        ),
    ] = None,
    binarise: options.Binarise = False,
    levels: options.Levels = None,
    seed: Annotated[
        int,
        options.sampling_option(
            metavar="N", help="Seed of the uniforms of draws, and of the noise of bounds."
        ),
    ] = 0,
    k: options.Latents = 64,
    out: Annotated[
        Path | None,
        options.output_option(
            "-o", "--out", metavar="FILE.json", help="Also write the JSON document to a file."
        ),
    ] = None,
    plot: Annotated[
        Path | None,
        options.output_option(
            metavar="FILE.png",
            help="Draw a histogram of the losses, and KL by position; needs matplotlib.",
        ),
    ] = None,
    json: options.Json = False,
    backend: options.Backend = "onnxruntime",
    source_backend: Annotated[
        str | None,
        options.backend_option(metavar="NAME", help="Backend of SOURCE. Default: that of BUNDLE."),
    ] = None,
    device: options.Device = "cpu",
    threads: options.Threads = None,
) -> None:
    """Measure the likelihood that a bundle loses.

    Compares a bundle with its source: the mean difference in log p of the same data, in nats per
    position, with its standard error over events or windows; and how far the distributions of next
    values, and the draws from the same uniforms, are apart. The two may be any bundles of the same
    data, or one bundle on two backends. Latent variable models are compared by their bounds.
    """
    from ancestral.bundles.hashes import HashMemory
    from ancestral.cli.compared_data import DataOptions
    from ancestral.cli.installed import require
    from ancestral.cli.present.cost_picture import cost_picture
    from ancestral.cli.present.cost_table import cost_document, cost_table
    from ancestral.files.atomic import write_atomically

    check_target(out, (".json",), keep=(bundle, source, data))
    check_target(plot, (".png",), "--plot", keep=(bundle, source, data))
    if plot is not None:
        require("compare --plot", ("matplotlib",), "plot")
    options.seed(seed)
    engine = options.load(bundle, backend, device, threads, None)
    wanted = DataOptions(n, window, label, binarise, levels)
    if source.is_file():
        if source_backend is not None:
            raise InvalidInput("--source-backend: only used with a SOURCE bundle; leave it out")
        given = source
        found = _with_file(engine, source, data, wanted)
    else:
        if data is None:
            raise InvalidInput("`--data` is required; pass a file of events or texts")
        given = data
        other = options.load(source, source_backend or backend, device, threads, None)
        found = _with_bundle((engine, other), given, wanted, seed, k)
    memory = HashMemory.load()
    cost = found.cost(str(given.name), memory.sha256(given, rehash=False))
    memory.save()
    document = cost_document(bundle, source, found, cost)
    if out is not None:
        write_atomically(out, json_text(document).encode())
    if plot is not None:
        write_atomically(plot, cost_picture(found, cost, f"{bundle.name} and {source.name}"))
    if json:
        put(json_text(document))
    else:
        show(cost_table(bundle, source, cost))
    for each in (out, plot):
        if each is not None:
            say(f"-> {each}")


def _with_bundle(
    engines: "tuple[Engine, Engine]", data: Path, wanted: "DataOptions", seed: int, k: int
) -> "Comparison":
    """Compare two bundles."""
    from ancestral.cli.compared_data import ComparedData
    from ancestral.engine.losses import compare as compared
    from ancestral.progress import progress_bar

    bundle, source = engines
    given = ComparedData.read(data, bundle, wanted)
    with progress_bar("comparing") as progress:
        return compared(
            bundle,
            source,
            given.x,
            given.labels,
            seed,
            progress,
            lengths=given.lengths,
            k=k,
        )


def _with_file(
    engine: "Engine", file: Path, data: Path | None, wanted: "DataOptions"
) -> "Comparison":
    """Compare a bundle with log-probabilities of another system.

    Raises:
        InvalidInput: an option about data is given, which the file has itself.
    """
    from dataclasses import replace

    import numpy as np

    from ancestral.engine.losses import compare_log_probs
    from ancestral.files.log_prob_file import read_log_probs
    from ancestral.progress import progress_bar

    refused = {
        "--data": data is not None,
        "-n": wanted.n is not None,
        "--window": wanted.window is not None,
        "--binarise": wanted.binarise,
        "--levels": wanted.levels is not None,
    }
    for option, given in refused.items():
        if given:
            raise InvalidInput(
                f"{option}: not used with a file of log-probabilities, which has its own ids; "
                f"leave it out"
            )
    scores = read_log_probs(file, engine.data)
    if wanted.label is not None:
        scores = replace(scores, labels=np.full(len(scores.x), wanted.label, np.int64))
    with progress_bar("comparing") as progress:
        return compare_log_probs(engine, scores, progress)
