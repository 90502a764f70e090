"""`ancestral bench`: the speed of backends, with the parity of the same run."""

import json as json_module
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ancestral.cli import speculation
from ancestral.cli.installed import backends_for
from ancestral.cli.options import (
    Backends,
    BundlePath,
    Device,
    Json,
    Threads,
    output_option,
    sampling_option,
)
from ancestral.cli.output import check_target, json_text, put, say, show, table
from ancestral.decimals import decimal
from ancestral.errors import InvalidInput
from ancestral.excerpts import quoted
from ancestral.threads import ThreadCount

if TYPE_CHECKING:
    from rich.table import Table

    from ancestral.engine.measure import MeasureRow
    from ancestral.engine.speculation_speed import SpeculationRow

_COLUMNS = {
    "batch": ("batch", ""),
    "load_s": ("load s", ".2f"),
    "encode_ms_p50": ("encode ms p50", ".3f"),
    "decode_ms_p50": ("decode ms p50", ".3f"),
    "step_ms_p50": ("ms/step p50", ".3f"),
    "step_ms_p95": ("p95", ".3f"),
    "step_ms_p99": ("p99", ".3f"),
    "samples_per_s": ("samples/s", ".1f"),
    "bounds_per_s": ("bounds/s", ".1f"),
    "log_prob_events_per_s": ("log p/s", ".0f"),
    "peak_memory_mb": ("peak MB", ".0f"),
    "max_abs_nats": ("max nats", ".1e"),
}
"""Heading and format of the column of each field; fields that a row lacks are left out."""


def bench(  # noqa: PLR0913 - the options of a command
    bundle: BundlePath,
    backend: Backends = None,
    batch: Annotated[
        str, sampling_option(metavar="N,N,...", help="Batch sizes to measure, in samples.")
    ] = "1,16,64",
    rounds: Annotated[
        int, sampling_option(metavar="N", help="Number of times that each batch is sampled.")
    ] = 3,
    speculate: speculation.Name = None,
    draft: speculation.DraftBundle = None,
    corpus: speculation.Corpus = None,
    block: speculation.Block = None,
    device: Device = "cpu",
    threads: Threads = None,
    json: Json = False,
    out: Annotated[
        Path | None,
        output_option(
            "-o", "--out", metavar="FILE.jsonl", help="Append the results to a file, as JSON lines."
        ),
    ] = None,
) -> None:
    """Measure the speed and memory of backends.

    A step (ms/step) is one position of the whole batch. For a latent variable model the encoder,
    the decoder, samples and bounds are timed. Peak memory is measured in a separate process. Each
    row shows the parity of the same run; the exit code is 1 if it fails. With --speculate, a second
    table compares single samples that are drawn in blocks of proposals with the same samples.
    """
    proposals = speculation.Given(speculate, draft, corpus or (), block)
    batches = batch_sizes(batch)
    if rounds < 1:
        raise InvalidInput(f"--rounds: expected an integer >= 1, got {rounds}")
    if out is not None:
        check_target(out, (".jsonl",), keep=(bundle,))
    names = tuple(dict.fromkeys(backend or backends_for(bundle, device)))
    rows = measure(bundle, names, batches, device=device, threads=threads, rounds=rounds)
    passed = all(row.passed for row in rows)
    compared = _speculated(bundle, names, proposals, device, threads) if proposals.any else []
    if out is not None:
        append_rows(out, [*rows, *compared])
    if json:
        found = [row.to_json() for row in rows]
        document = {"bundle": str(bundle), "passed": passed, "rows": found}
        if proposals.any:
            document["speculation"] = [row.to_json() for row in compared]
        put(json_text(document))
    else:
        show(speed_table(rows))
        if proposals.any:
            show(speculation_table(compared))
    if not passed:
        say("a backend fails parity, so its speed means nothing; `ancestral verify` shows details")
        raise typer.Exit(1)


def measure(
    bundle: Path,
    backends: Sequence[str],
    batches: Sequence[int],
    *,
    device: str = "cpu",
    threads: ThreadCount = None,
    rounds: int = 3,
) -> list["MeasureRow"]:
    """Return the rows of each backend, measured in order, with a message about each."""
    from ancestral.engine.measure import measure_engine

    rows: list[MeasureRow] = []
    for name in backends:
        say(f"measuring {name} on {device}, batch {', '.join(map(str, batches))}")
        rows += measure_engine(bundle, name, batches, device=device, threads=threads, rounds=rounds)
    return rows


def speed_table(rows: Sequence["MeasureRow"]) -> "Table":
    """Return a table of the speed of each backend and batch, with parity in the last columns."""
    values = [row.to_json() for row in rows]
    columns = {field: each for field, each in _COLUMNS.items() if field in values[0]}
    cells = [
        (
            f"{row.backend} {row.device}",
            "own" if row.threads is None else f"{row.threads}",
            *(f"{found[field]:{form}}" for field, (_, form) in columns.items()),
            "yes" if row.passed else "NO",
        )
        for row, found in zip(rows, values, strict=True)
    ]
    heads = ("backend", "threads", *(head for head, _ in columns.values()), "passed")
    return table("Speed and memory, with the parity of the same run", heads, cells)


def _speculated(
    bundle: Path,
    backends: Sequence[str],
    proposals: speculation.Given,
    device: str,
    threads: ThreadCount,
) -> list["SpeculationRow"]:
    """Return a row for each backend, measured in this process.

    Raises:
        InvalidInput: the options do not fit the bundle, or it has latents.
    """
    from ancestral.cli.options import load
    from ancestral.engine import AutoregressiveEngine
    from ancestral.engine.speculation_speed import speculation_speed

    rows = []
    for name in backends:
        engine = load(bundle, name, device, threads, None)
        if not isinstance(engine, AutoregressiveEngine):
            raise InvalidInput("--speculate: not used with a latent variable model; leave it out")
        say(f"measuring {name} on {device}, single samples with proposals and without")
        rows.append(speculation_speed(engine, proposals.speculate(engine)))
    return rows


def speculation_table(rows: Sequence["SpeculationRow"]) -> "Table":
    """Return a table of single samples with proposals, compared with single steps."""
    cells = [
        (
            f"{row.backend} {row.device}",
            row.proposer or f"none: {row.remark}",
            f"{row.positions / row.calls:.2f}",
            f"{row.step_ms:.2f}",
            f"{row.speculated_ms:.2f}",
            f"{row.speedup:.2f}",
            f"{row.same} of {row.samples}",
            f"{row.max_abs_nats:.1e}",
        )
        for row in rows
    ]
    heads = (
        "backend",
        "proposer",
        "values/call",
        "ms step by step",
        "ms",
        "faster",
        "same",
        "max nats",
    )
    return table("Single samples, drawn in blocks of proposals", heads, cells)


def append_rows(out: Path, rows: Sequence["MeasureRow | SpeculationRow"]) -> None:
    """Append one JSON object per line; existing rows are kept, even if writing fails."""
    from ancestral.files.atomic import write_atomically
    from ancestral.files.input_file import read_bounded

    old = read_bounded(out) if out.exists() else b""
    lines = [json_module.dumps(row.to_json()) + "\n" for row in rows]
    write_atomically(out, old + "".join(lines).encode())


def batch_sizes(text: str) -> tuple[int, ...]:
    """Return the integers of a comma-separated list.

    >>> batch_sizes("1,16,64")
    (1, 16, 64)

    Raises:
        InvalidInput: an entry is not an integer in 1 .. 2^31 - 1.
    """
    sizes = tuple(decimal(part) or 0 for part in text.split(","))
    if not all(1 <= size < 2**31 for size in sizes):
        raise InvalidInput(
            f"--batch: expected integers >= 1, for example 1,16,64, got {quoted(text)}"
        )
    return sizes
