"""`ancestral bench`: how fast backends are, each beside its parity."""

import json as json_module
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ancestral.cli.installed import backends_for
from ancestral.cli.options import Backends, BundlePath, Device, Json, Threads
from ancestral.cli.output import check_target, json_text, put, say, show, table
from ancestral.decimals import decimal
from ancestral.errors import InvalidInput
from ancestral.excerpts import quoted

if TYPE_CHECKING:
    from rich.table import Table

    from ancestral.engine.measure import MeasureRow

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
"""Head and format of a column for each field, where a row has it."""


def bench(  # noqa: PLR0913 - the options of a command
    bundle: BundlePath,
    backend: Backends = None,
    batch: Annotated[
        str, typer.Option(metavar="B,B,...", help="Batch sizes to measure.")
    ] = "1,16,64",
    rounds: Annotated[int, typer.Option(help="Times that each batch is sampled.")] = 3,
    device: Device = "cpu",
    threads: Threads = None,
    json: Json = False,
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", metavar="FILE.jsonl", help="Append the rows to it."),
    ] = None,
) -> None:
    """Time every backend that is installed at each batch size; exit 1 where parity fails.

    A step is one position of the whole batch; of a latent variable model encoder, decoder, samples
    and bounds are timed. Peak memory is that of a process of its own.
    """
    batches = batch_sizes(batch)
    if rounds < 1:
        raise InvalidInput(f"--rounds: expected an integer >= 1, got {rounds}")
    if out is not None:
        check_target(out, (".jsonl",), keep=(bundle,))
    names = tuple(dict.fromkeys(backend or backends_for(bundle, device)))
    rows = measure(bundle, names, batches, device=device, threads=threads, rounds=rounds)
    passed = all(row.passed for row in rows)
    if out is not None:
        append_rows(out, rows)
    if json:
        found = [row.to_json() for row in rows]
        put(json_text({"bundle": str(bundle), "passed": passed, "rows": found}))
    else:
        show(speed_table(rows))
    if not passed:
        say("a backend fails parity: `ancestral verify` says where; its speed means nothing")
        raise typer.Exit(1)


def measure(
    bundle: Path,
    backends: Sequence[str],
    batches: Sequence[int],
    *,
    device: str = "cpu",
    threads: int | None = None,
    rounds: int = 3,
) -> list["MeasureRow"]:
    """Rows of each backend in turn, told on standard error."""
    from ancestral.engine.measure import measure_engine

    rows: list[MeasureRow] = []
    for name in backends:
        say(f"measuring {name} on {device}, batch {', '.join(map(str, batches))}")
        rows += measure_engine(bundle, name, batches, device=device, threads=threads, rounds=rounds)
    return rows


def speed_table(rows: Sequence["MeasureRow"]) -> "Table":
    """Speed of each backend and batch, with its parity in the last columns."""
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


def append_rows(out: Path, rows: Sequence["MeasureRow"]) -> None:
    """Add a JSON object a line; the rows that were there stay, whatever happens."""
    from ancestral.files.atomic import write_atomically
    from ancestral.files.input_file import read_bounded

    old = read_bounded(out) if out.exists() else b""
    lines = [json_module.dumps(row.to_json()) + "\n" for row in rows]
    write_atomically(out, old + "".join(lines).encode())


def batch_sizes(text: str) -> tuple[int, ...]:
    """Whole numbers with commas between them.

    >>> batch_sizes("1,16,64")
    (1, 16, 64)

    Raises:
        InvalidInput: something else.
    """
    sizes = tuple(decimal(part) or 0 for part in text.split(","))
    if not all(1 <= size < 2**31 for size in sizes):
        raise InvalidInput(f"--batch: expected whole numbers >= 1 like 1,16,64, got {quoted(text)}")
    return sizes
