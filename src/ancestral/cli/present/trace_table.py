"""Tables and messages of `verify --trace`."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ancestral.cli.output import say, table

if TYPE_CHECKING:
    from rich.table import Table

    from ancestral.export.trace.report import Difference, Traced, TraceReport

_NAMED = 8
"""Maximum number of names in a message."""


def trace_document(path: Path, found: "Sequence[Traced]") -> dict[str, Any]:
    """Return one JSON document: whether all runs agree, and each report."""
    return {
        "bundle": str(path),
        "passed": all(each.passed for each in found),
        "runs": [
            {
                "run": each.run,
                "reference": each.reference,
                "passed": each.passed,
                "graphs": [report.to_json() for report in each.reports],
            }
            for each in found
        ],
    }


def trace_tables(found: "Sequence[Traced]") -> "Iterator[Table]":
    """Return tables with a row per graph."""
    heads = ("graph", "nodes", "tensors agree", "differ", "excused", "unmatched", "error/limit")
    for each in found:
        if each.reports:
            rows = []
            for r in each.reports:
                counts = (r.nodes, r.agreed, r.differing, len(r.excused), len(r.unmatched))
                rows.append((f"{r.graph} ({r.form})", *map(str, counts), f"{r.largest_share:.0%}"))
            yield table(f"{each.run} compared with {each.reference}", heads, rows)


def say_first(found: "Sequence[Traced]") -> bool:
    """Report the first difference of each graph; return whether all agree."""
    for each in found:
        for report in each.reports:
            about = f"{each.run}, graph {report.graph}"
            if report.first is not None:
                say(f"{about}: {_sentence(report, report.first)}")
            elif not report.passed:
                say(
                    f"{about}: no tensor could be matched; the names may come from another version "
                    f"of PyTorch"
                )
    return all(each.passed for each in found)


def _sentence(report: "TraceReport", first: "Difference") -> str:
    """Return where the first difference is, its size, and which side is wrong."""
    m = first.mismatch
    where = (
        f"node {first.index} of {report.nodes}, {first.node} ({first.op_type}), differs first: "
        f"{first.tensor}"
    )
    if m.kind == "value":
        at = f"[{', '.join(map(str, m.place))}]" if m.place else ""
        what = (
            f"{at} is {m.got:.9g}, expected {m.expected:.9g}: {m.absolute:.3g} apart, "
            f"{m.relative:.3g} of the largest magnitude, limit {m.limit:.3g}; {m.count} of "
            f"{m.size} numbers"
        )
    else:
        what = f" is {m.got}, expected {m.expected}"
    through = ""
    if first.through:
        more = ", ..." if len(first.through) > _NAMED else ""
        names = ", ".join(first.through[:_NAMED])
        through = f"; the fault may also be in a node without a counterpart: {names}{more}"
    others = report.differing - 1
    after = f". {others} other tensors differ" if others > 0 else ""
    verdict = f". {first.verdict[0].upper()}{first.verdict[1:]}" if first.verdict else ""
    return where + what + through + verdict + after
