"""Whose fault: nodes run once more as the ONNX standard says, on what a runtime gave them."""

from collections.abc import Iterable

from ancestral.export.trace.difference import Mismatch
from ancestral.export.trace.graph import Array, Graph, Node
from ancestral.export.trace.limits import compared, error_variance
from ancestral.export.trace.onnx_reference import OnnxNodes
from ancestral.export.trace.run import Trace


class Judge:
    """One run of a graph, beside what the standard says of each node alone."""

    def __init__(self, trace: Trace, graph: Graph) -> None:
        self._trace = trace
        self._standard = OnnxNodes(graph)

    def first_wrong(self, nodes: Iterable[Node]) -> tuple[str, Mismatch] | None:
        """Of some nodes in topological order the first that made something else of its inputs.

        What the run does not show goes from node to node as the standard has it.

        Returns:
            its tensor and how far it is off; None where all are right.

        Raises:
            NotImplementedError: none is wrong, but of one it cannot be told.
        """
        values: dict[str, Array] = self._trace.values
        unknown: list[str] = []
        for node in nodes:
            try:
                made = self._standard.run(node.outputs[0], values)
            except NotImplementedError as error:
                unknown.append(str(error))
                continue
            shown = {name: values.setdefault(name, expected) for name, expected in made.items()}
            variance = error_variance([node], values)
            for name, got in shown.items():
                found = compared(got, made[name], [node], values, variance)
                if found.mismatch is not None:
                    return name, found.mismatch
        if unknown:
            raise NotImplementedError("; ".join(unknown))
        return None
