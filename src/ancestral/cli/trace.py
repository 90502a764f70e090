"""`ancestral verify --trace`: the first node of a graph at which a runtime parts from PyTorch.

Runs of graphs beside the reference, checked, traced, and printed for people and as JSON.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ancestral.cli.installed import require
from ancestral.cli.output import check_target, say, table
from ancestral.errors import InvalidInput

if TYPE_CHECKING:
    from rich.table import Table

    from ancestral.export.trace.report import Difference, Traced, TraceReport

TRACED = ("torch", "onnxruntime", "onnx")
_TOLD = 8
"""Names that a sentence gives."""


def traces(
    path: Path,
    backends: Sequence[str],
    graphs: Sequence[str],
    save: Path | None,
    against: Sequence[Path],
    device: str,
    threads: int | None,
) -> "list[Traced]":
    """Trace a bundle's graphs.

    Args:
        path: of the bundle.
        backends: names; onnxruntime where there are none.
        graphs: names; all where there are none.
        save: where the run goes.
        against: saved runs: one to compare with instead of PyTorch, or two to compare.
        device: where the backend runs.
        threads: of the runtimes.

    Raises:
        InvalidInput: options that do not go together, a backend that cannot be traced, or a saved
            run that is none or of another graph.
        BundleError: the bundle is not sound or has no such graph.
        BackendUnavailable: a package is missing.
    """
    require("verify --trace", ("torch", "onnx", "onnxscript"), "export")
    from ancestral.export.trace.tracer import Tracer

    if len(against) > 2:
        raise InvalidInput(f"--against: expected one or two files, got {len(against)}")
    if len(against) == 2 and (backends or save):
        raise InvalidInput(
            "--against: two saved runs are compared without running anything: leave out --backend "
            "and --save, or give one file"
        )
    if save is not None:
        check_target(save, (".safetensors",), option="--save", keep=(path, *against))
        if len(backends) > 1:
            raise InvalidInput(f"--save: expected one --backend, got {list(backends)}")
    if threads is not None:
        from ancestral.scalars import check_threads

        check_threads(threads, "--threads")
    names = tuple(dict.fromkeys(backends)) or ("onnxruntime",)
    if len(against) < 2:
        _check_runtimes(names, device, compared=bool(save or against))
    tracer = Tracer(path, graphs, against, threads, say)
    if len(against) == 2:
        return [tracer.compare()]
    return [tracer.run(name, device, save) for name in names]


def _check_runtimes(backends: Sequence[str], device: str, *, compared: bool) -> None:
    """Refuse backends that cannot show what is inside a graph, or not on that device.

    Args:
        backends: names.
        device: where they are to run.
        compared: whether a run is saved, or compared with another one.

    Raises:
        InvalidInput: which.
        BackendUnavailable: ONNX Runtime is not installed.
    """
    if not re.fullmatch(r"cpu|cuda(:\d+)?", device):
        raise InvalidInput(f"device: expected cpu, cuda or cuda:N, got {device!r}")
    for name in backends:
        if name not in TRACED:
            raise InvalidInput(
                f"backend: expected one of {list(TRACED)} with --trace, got {name!r}: it cannot "
                f"show what is inside a graph"
            )
        if name != "onnxruntime" and device != "cpu":
            raise InvalidInput(f"device: {name!r} is traced on the cpu only, got {device!r}")
        if name == "torch" and not compared:
            raise InvalidInput(
                "--backend torch is what others are compared with: give --save FILE, or --against "
                "FILE"
            )
        if name == "onnxruntime":
            require("verify --trace --backend onnxruntime", ("onnxruntime",), "cpu")


def trace_document(path: Path, found: "Sequence[Traced]") -> dict[str, Any]:
    """One JSON document: whether all agree, and each report."""
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
    """For people: a graph a row."""
    heads = ("graph", "nodes", "tensors agree", "differ", "excused", "unmatched", "of the limit")
    for each in found:
        if each.reports:
            rows = []
            for r in each.reports:
                counts = (r.nodes, r.agreed, r.differing, len(r.excused), len(r.unmatched))
                rows.append((f"{r.graph} ({r.form})", *map(str, counts), f"{r.largest_share:.0%}"))
            yield table(f"{each.run} beside {each.reference}", heads, rows)


def say_first(found: "Sequence[Traced]") -> bool:
    """Say of each graph where it differs first; whether all agree."""
    for each in found:
        for report in each.reports:
            about = f"{each.run}, graph {report.graph}"
            if report.first is not None:
                say(f"{about}: {_sentence(report, report.first)}")
            elif not report.passed:
                say(f"{about}: no tensor could be matched: were the names made by another torch?")
    return all(each.passed for each in found)


def _sentence(report: "TraceReport", first: "Difference") -> str:
    """Where, what, how far, and who is wrong."""
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
        more = ", ..." if len(first.through) > _TOLD else ""
        through = f"; or one of these, unmatched: {', '.join(first.through[:_TOLD])}{more}"
    others = report.differing - 1
    after = f". {others} other tensors differ" if others > 0 else ""
    verdict = f". {first.verdict[0].upper()}{first.verdict[1:]}" if first.verdict else ""
    return where + what + through + verdict + after
