"""The first node at which two runs of a graph part, each on its own way through the graph.

Errors add up here, so the limit is wider; and a node may magnify them, or choose otherwise at a
near tie. Where both runs made of their own inputs what ONNX says, that is no fault of the node.
"""

import re
from dataclasses import dataclass, field, replace

from ancestral.errors import InvalidInput
from ancestral.export.trace.difference import Mismatch
from ancestral.export.trace.finder import UNTOLD, Found, reported
from ancestral.export.trace.graph import Graph, Node, lead_to, producers
from ancestral.export.trace.judge import Judge
from ancestral.export.trace.limits import compared, error_variance
from ancestral.export.trace.report import Difference, TraceReport
from ancestral.export.trace.run import Trace

_NUMBERED = re.compile(r"val_\d+")
"""What the exporter calls a value of none of the program's nodes: it counts anew in each form."""


@dataclass(frozen=True, slots=True)
class Side:
    """One of two runs.

    Attributes:
        trace: what it made.
        graph: of the bundle, in the form that it ran.
    """

    trace: Trace
    graph: Graph


def beside_run(side: Side, other: Side) -> TraceReport:
    """Compare each tensor with another run's of the same graph on the same inputs.

    Raises:
        InvalidInput: the runs are of another graph, or of different inputs.
    """
    for each in (side, other):
        each.trace.check_is_of(each.graph)
    _check_inputs(side.trace, other.trace)
    found = _compare_all(side.trace, other.trace)
    parting = _Parting(side, other, found)
    for node in side.trace.nodes:
        parting.sort(node)
    return reported(side.trace, found, parting.differences, parting.following, parting.excused)


@dataclass(slots=True)
class _Parting:
    """Sorts the tensors that differ, node by node in topological order."""

    side: Side
    other: Side
    found: Found
    differences: list[Difference] = field(default_factory=list)
    following: list[str] = field(default_factory=list)
    excused: list[str] = field(default_factory=list)
    _after: dict[str, bool] = field(default_factory=dict)
    """Tensors that differ, or that may and cannot be compared; whether they are excused."""

    def sort(self, node: Node) -> None:
        """Sort what a node made."""
        before = [self._after[name] for name in node.inputs if name in self._after]
        for name in node.outputs:
            if name not in self.found:
                if before:
                    self._after[name] = all(before)
            elif self.found[name].mismatch is not None:
                self._after[name] = self._sort(name, before)

    def _sort(self, name: str, before: list[bool]) -> bool:
        """Sort a tensor that differs; whether it is excused."""
        if not all(before):
            self.following.append(name)
            return False
        difference = self._judged(name, excused_before=bool(before))
        if difference is None:
            self.excused.append(name)
            return True
        self.differences.append(difference)
        return False

    def _judged(self, name: str, *, excused_before: bool) -> Difference | None:
        """A difference, with whose fault it is; None where it is nobody's."""
        mismatch = self.found[name].mismatch
        assert mismatch is not None
        nodes = self.side.trace.nodes
        difference = Difference.at(nodes, name, mismatch, self.found.keys() - {name})
        if mismatch.kind != "value":
            return difference
        try:
            wrong = self._first_wrong(self.side, name)
            if wrong is not None:
                verdict = "onnx.reference makes something else of the inputs of this run"
                return replace(difference.moved(nodes, *wrong), verdict=verdict)
            if self._first_wrong(self.other, name) is None:
                return None
        except NotImplementedError as error:
            return None if excused_before else replace(difference, verdict=f"{UNTOLD}: {error}")
        verdict = "onnx.reference makes of the inputs of this run what it made, not so of the other"
        return replace(difference, verdict=verdict)

    def _first_wrong(self, side: Side, name: str) -> tuple[str, Mismatch] | None:
        made_by = producers(side.trace.nodes)
        nodes = lead_to(made_by[name], made_by, self.found.keys() - {name})
        return Judge(side.trace, side.graph).first_wrong(nodes)


def _compare_all(trace: Trace, other: Trace) -> Found:
    shared = trace.tensors.keys() & other.tensors.keys()
    if trace.form != other.form:
        shared = {name for name in shared if not _NUMBERED.fullmatch(name)}
    values, found = trace.values, Found()
    variance = 0.0
    for node in trace.nodes:
        variance += error_variance([node], values)
        for name in shared.intersection(node.outputs):
            got, expected = trace.tensors[name], other.tensors[name]
            found[name] = compared(got, expected, [node], values, variance)
    return found


def _check_inputs(trace: Trace, other: Trace) -> None:
    """Compare what the two runs were given.

    Raises:
        InvalidInput: not the same.
    """
    differ = sorted(
        name
        for name in {*trace.inputs, *other.inputs}
        if name not in trace.inputs
        or name not in other.inputs
        or trace.inputs[name].tobytes() != other.inputs[name].tobytes()
    )
    if differ:
        raise InvalidInput(
            f"graph {trace.graph}: expected two runs on the same inputs, but {', '.join(differ)} "
            f"differs: make the second run with --against the first"
        )
