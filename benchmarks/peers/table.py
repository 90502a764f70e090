"""The rows of the peers as tables in Markdown, one for each machine."""

from collections.abc import Sequence

from benchmarks.peers.environments import PEERS
from benchmarks.peers.rows import PeerResult, PeerRow, cell
from benchmarks.peers.workloads import WORKLOADS
from benchmarks.rows import number

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
    """Return one table per machine, with the reasons of what is missing; "" without rows."""
    groups: dict[str, list[PeerRow]] = {}
    for row in latest(rows):
        groups.setdefault(row.machine.name, []).append(row)
    return "\n".join(part for group in groups.values() for part in _table(group))


def _table(rows: Sequence[PeerRow]) -> list[str]:
    last = max(rows, key=lambda row: row.date)
    found = {peer.name for row in rows for peer in row.peers}
    names = [name for name in PEERS if name in found]
    head = ("work", "batch", "drawing", "ours", *names, "best peer / ours", "parity, nats")
    parts = [
        f"{last.machine.name}; {_versions(rows)}, commit {last.commit}, {last.date[:10]}. "
        "ms/step (threads).",
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
    last = max(rows, key=lambda row: row.date)
    shown = {name: last.machine.versions.get(name, "") for name in ("python", "onnxruntime")}
    for row in rows:
        for peer in row.peers:
            shown |= peer.versions
    return ", ".join(f"{name} {version}" for name, version in shown.items() if version)
