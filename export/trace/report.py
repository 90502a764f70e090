"""The results of comparing two runs of a graph."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from ancestral.export.trace.comparison import Mismatch
from ancestral.export.trace.graph import Graph


@dataclass(frozen=True, slots=True)
class Difference:
    """A tensor that differs, and the node that computes it.

    Attributes:
        index: index of the node in topological order, from 0.
        node: name of the node.
        op_type: operator of the node, after its domain unless that is ONNX's own.
        tensor: name of the tensor compared: an output of the node, or the same values moved.
        mismatch: how far apart the two are, and where.
        through: names of the nodes before it whose tensors the reference lacks; the fault may be in
            them.
        verdict: which side is wrong by the ONNX standard; empty if it was not checked.
    """

    index: int
    node: str
    op_type: str
    tensor: str
    mismatch: Mismatch
    through: tuple[str, ...] = ()
    verdict: str = ""

    @classmethod
    def at(
        cls,
        graph: Graph,
        through: Sequence[int],
        tensor: str,
        mismatch: Mismatch,
        verdict: str = "",
        index: int | None = None,
    ) -> "Difference":
        """Return a difference at the node that computes a tensor, or at the node of `index`.

        Args:
            graph: graph that was run.
            through: indices of the nodes that lead to the tensor.
            tensor: name of the tensor that differs.
            mismatch: how far apart the two are, and where.
            verdict: which side is wrong.
            index: index of the wrong node; None if it is unknown.
        """
        index = graph.computing(through) if index is None else index
        node = graph.nodes[index]
        operator = f"{node.domain}.{node.op_type}".lstrip(".")
        names = tuple(graph.nodes[i].name for i in through if i != index)
        return cls(index, node.name, operator, tensor, mismatch, names, verdict)


@dataclass(frozen=True, slots=True)
class TraceReport:
    """A graph on a runtime, compared with the reference tensor by tensor.

    Attributes:
        graph: name of the graph.
        form: form that the runtime ran.
        nodes: number of nodes.
        compared: number of tensors that both sides have.
        differences: differences in topological order.
        following: names of the tensors that differ after one of these.
        excused: names of the tensors that differ although both sides are right (a node magnified
            rounding, or chose differently at a near tie), and of those that follow from them.
        unmatched: names of the graph's tensors that one side lacks.
        outputs: differences between the optimised graph and node by node, on the same runtime.
        largest_share: largest error of a tensor that agrees, over its limit.
    """

    graph: str
    form: str
    nodes: int
    compared: int
    differences: tuple[Difference, ...]
    following: tuple[str, ...]
    excused: tuple[str, ...]
    unmatched: tuple[str, ...]
    outputs: tuple[Difference, ...]
    largest_share: float

    @property
    def first(self) -> Difference | None:
        """The first difference; None if there is none."""
        return next(iter(self.differences + self.outputs), None)

    @property
    def differing(self) -> int:
        """Number of tensors that differ and are not excused."""
        return len(self.differences) + len(self.following)

    @property
    def agreed(self) -> int:
        """Number of tensors that agree."""
        return self.compared - self.differing - len(self.excused)

    @property
    def passed(self) -> bool:
        """Whether tensors were compared, and none differs by more than rounding."""
        return self.first is None and self.compared > 0

    def to_json(self) -> dict[str, object]:
        """Return all fields as JSON values, with `passed`, `agreed`, `differing` and `first`."""
        more = {name: getattr(self, name) for name in ("passed", "agreed", "differing")}
        return {**more, "first": self.first and asdict(self.first), **asdict(self)}


@dataclass(frozen=True, slots=True)
class Traced:
    """The comparison of a run with another.

    Attributes:
        run: title of the runtime that ran.
        reference: title of the reference; empty if the run was only saved.
        reports: report of each graph.
    """

    run: str
    reference: str
    reports: Sequence[TraceReport]

    @property
    def passed(self) -> bool:
        """Whether all graphs passed."""
        return all(report.passed for report in self.reports)
