"""The rows of the peers as tables in Markdown, one for each machine and run."""

from collections.abc import Sequence

from benchmarks.peers.environments import PEERS
from benchmarks.peers.rows import PeerResult, PeerRow, cell
from benchmarks.peers.workloads import WORKLOADS
from benchmarks.rows import grouped, number

BEGIN = "<!-- peers:begin -->"
END = "<!-- peers:end -->"


def latest(rows: Sequence[PeerRow]) -> list[PeerRow]:
    """Return the last row of each cell of a machine, by workload, way of drawing and batch size."""
    kept: dict[tuple[object, ...], PeerRow] = {}
    for row in rows:
        kept[row.machine.name, row.case, row.sampling, row.batch] = row
    order = [*WORKLOADS]
    return sorted(
        kept.values(),
        key=lambda row: (
            row.machine.name,
            order.index(row.case),
            row.sampling != "T = 1",
            row.batch,
        ),
    )


def render(rows: Sequence[PeerRow]) -> str:
    """Return one table per machine and run, and the reasons of what is missing; "" without rows."""
    groups = grouped(latest(rows), lambda row: (row.machine.name, row.run))
    return "\n".join(part for group in groups.values() for part in _table(group))


def _table(rows: Sequence[PeerRow]) -> list[str]:
    found = {peer.name for row in rows for peer in row.peers}
    names = [name for name in PEERS if name in found]
    head = ("work", "batch", "drawing", "ours", *names, "best peer / ours", "parity, nats")
    parts = [
        f"{rows[0].machine.name}; {', '.join([_versions(rows), *rows[0].run])}. ms/step (threads).",
        "",
        f"| {' | '.join(head)} |",
        f"|{'---|' * len(head)}",
        *(_line(row, names) for row in rows),
        "",
    ]
    reasons = [
        f"- {peer.name}, {row.title}: {peer.reason}"
        for row in rows
        for peer in row.peers
        if peer.reason
    ]
    return [*parts, *reasons, ""] if reasons else parts


def _line(row: PeerRow, names: Sequence[str]) -> str:
    by_name = {peer.name: peer for peer in row.peers}
    none = PeerResult(name="", versions={})
    ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
    cells = (
        row.case,
        str(row.batch),
        row.sampling,
        f"{number(row.p50)} ({row.threads})",
        *(cell(by_name.get(name, none)) for name in names),
        f"{ratio}{'' if row.met is not False else ' **behind**'}",
        row.parity.words if row.parity.differences else "",
    )
    return f"| {' | '.join(cells)} |"


def _versions(rows: Sequence[PeerRow]) -> str:
    """Return the versions of our runtime and of every peer's packages, each once."""
    shown = {name: rows[0].machine.versions.get(name, "") for name in ("python", "onnxruntime")}
    for row in rows:
        for peer in row.peers:
            shown |= peer.versions
    return ", ".join(f"{name} {version}" for name, version in shown.items() if version)
