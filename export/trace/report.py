"""What a comparison of two runs of a graph found."""

from collections.abc import Container
from dataclasses import asdict, dataclass

from ancestral.export.trace.difference import Mismatch
from ancestral.export.trace.graph import Node, lead_to, producers, that_computes


@dataclass(frozen=True, slots=True)
class Difference:
    """A tensor that differs.

    Attributes:
        index: of the node in topological order, from 0.
        node: its name.
        op_type: its operator.
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
        cls, nodes: tuple[Node, ...], tensor: str, mismatch: Mismatch, known: Container[str]
    ) -> "Difference":
        """At the node that computed a tensor: not at one that only gives it another shape.

        Args:
            nodes: of the graph.
            tensor: that differs.
            mismatch: how far.
            known: tensors that the reference has.
        """
        made_by = producers(nodes)
        through = lead_to(made_by[tensor], made_by, known)
        node = that_computes(through)
        return cls(
            index=nodes.index(node),
            node=node.name,
            op_type=node.op_type,
            tensor=tensor,
            mismatch=mismatch,
            through=tuple(each.name for each in through if each is not node),
        )

    def moved(self, nodes: tuple[Node, ...], tensor: str, mismatch: Mismatch) -> "Difference":
        """The same at another of the nodes that it may be in."""
        node = producers(nodes)[tensor]
        through = tuple(name for name in (*self.through, self.node) if name != node.name)
        return Difference(
            nodes.index(node), node.name, node.op_type, tensor, mismatch, through, self.verdict
        )


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
        return {
            "passed": self.passed,
            "agreed": self.agreed,
            "differing": self.differing,
            "first": None if self.first is None else asdict(self.first),
            **asdict(self),
        }
