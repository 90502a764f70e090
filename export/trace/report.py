"""What a comparison of two runs of a graph found."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from ancestral.export.trace.comparison import Mismatch
from ancestral.export.trace.graph import Graph


@dataclass(frozen=True, slots=True)
class Difference:
    """A tensor that differs.

    Attributes:
        index: of the node in topological order, from 0.
        node: its name.
        op_type: its operator, after a domain other than ONNX's own.
        tensor: that was compared: what it made, or that in another shape.
        mismatch: how far, and where.
        through: nodes before it whose tensors the reference has not: the fault may be in them.
        verdict: whose fault it is by the ONNX standard; empty where it was not asked.
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
        """A difference at the node that computes the tensor, or at that of the index, or between.

        Args:
            graph: that was run.
            through: indices of the nodes that lead to the tensor.
            tensor: that differs.
            mismatch: how far, and where.
            verdict: whose fault it is.
            index: of the node that is wrong, where that is known.
        """
        index = graph.computing(through) if index is None else index
        node = graph.nodes[index]
        operator = f"{node.domain}.{node.op_type}".lstrip(".")
        names = tuple(graph.nodes[i].name for i in through if i != index)
        return cls(index, node.name, operator, tensor, mismatch, names, verdict)


@dataclass(frozen=True, slots=True)
class TraceReport:
    """A graph on a runtime, tensor by tensor beside the reference.

    Attributes:
        graph: its name.
        form: that the runtime ran.
        nodes: their number.
        compared: tensors that both have.
        differences: in topological order.
        following: tensors that differ after one of these.
        excused: tensors that differ because a node magnified rounding, or fell to the other side of
            a near tie, on both sides as it should; and what follows from them.
        unmatched: tensors of the graph that one of the two has not.
        outputs: what differs between the graph as users run it and node by node, on one runtime.
        largest_share: the largest error of a tensor that agrees, over its limit.
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
        """The first difference, if any."""
        return next(iter(self.differences + self.outputs), None)

    @property
    def differing(self) -> int:
        """Tensors that differ and are not excused."""
        return len(self.differences) + len(self.following)

    @property
    def agreed(self) -> int:
        """Tensors that agree."""
        return self.compared - self.differing - len(self.excused)

    @property
    def passed(self) -> bool:
        """Whether something was compared, and nothing differs but by rounding."""
        return self.first is None and self.compared > 0

    def to_json(self) -> dict[str, object]:
        """All fields, with `passed`, `agreed`, `differing` and `first`."""
        more = {name: getattr(self, name) for name in ("passed", "agreed", "differing")}
        return {**more, "first": self.first and asdict(self.first), **asdict(self)}


@dataclass(frozen=True, slots=True)
class Traced:
    """One run compared with another.

    Attributes:
        run: what ran, for people.
        reference: what it was compared with; empty where it was only saved.
        reports: a graph each.
    """

    run: str
    reference: str
    reports: Sequence[TraceReport]

    @property
    def passed(self) -> bool:
        """Whether nothing differs."""
        return all(report.passed for report in self.reports)
