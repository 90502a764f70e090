"""The binding that all slots share, exchanged when a request needs a wider step graph."""

from contextlib import AbstractContextManager, ExitStack
from types import TracebackType

from ancestral.engine import row_loop, step_graph
from ancestral.engine.runner import Runner
from ancestral.engine.session import Binding
from ancestral.signature import GraphSignature
from ancestral.step_tensors import StepGraph


class Exchange(AbstractContextManager["Exchange"]):
    """A binding of a step graph, taken with the first request.

    It is that of the graph for the request's settings. A later request that needs a wider graph
    exchanges it for a binding of that graph, in which all rows go on. The end of a `with` block
    gives the binding back.
    """

    def __init__(self, runner: Runner, rows: int) -> None:
        """Take no binding yet.

        Args:
            runner: the engine.
            rows: number of rows of the binding.
        """
        self._runner, self._rows = runner, rows
        self._held = ExitStack()
        self._graph: StepGraph = "step"
        self._taken: tuple[GraphSignature, Binding] | None = None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._held.__exit__(kind, error, trace)

    @property
    def loop(self) -> tuple[GraphSignature, Binding]:
        """Signature of the step graph, and its binding; one must have been taken."""
        assert self._taken is not None
        return self._taken

    @property
    def graph(self) -> StepGraph:
        """Name of the step graph."""
        return self._graph

    @property
    def signature(self) -> GraphSignature:
        """Signature of the step graph."""
        return self.loop[0]

    @property
    def binding(self) -> Binding:
        """The binding."""
        return self.loop[1]

    def take(self, graph: StepGraph) -> tuple[GraphSignature, Binding]:
        """Return signature and binding; take one if there is none, or none of so wide a graph."""
        graph = step_graph.wider(graph, self._graph)
        if self._taken is not None and self._graph == graph:
            return self._taken
        before, old = self._held, self._taken
        signature = self._runner.session(graph).signature
        self._held = ExitStack()
        with before:
            lent: AbstractContextManager[Binding] = self._runner.binding(graph, self._rows)
            binding = self._held.enter_context(lent)
            row_loop.clear_settings(signature, binding, self._rows, self._runner.data.levels)
            if old is not None:
                row_loop.move(old[1], binding, old[0])
        self._taken, self._graph = (signature, binding), graph
        return self._taken
