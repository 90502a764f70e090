"""The graphs of a bundle, traced on a runtime and compared with PyTorch or with another run."""

from collections.abc import Iterator, Sequence

from ancestral.bundles.bundle import Bundle
from ancestral.errors import InvalidInput
from ancestral.export.operators import FORMS
from ancestral.export.trace.finder import beside_torch
from ancestral.export.trace.graph import Graph
from ancestral.export.trace.known_inputs import known_inputs
from ancestral.export.trace.report import TraceReport
from ancestral.export.trace.run import Run, Trace
from ancestral.export.trace.runtime import Runtime
from ancestral.export.trace.torch import TorchRuntime
from ancestral.export.trace.two_runs import Side, beside_run


class Tracer:
    """Traces graphs of one bundle."""

    def __init__(self, bundle: Bundle, threads: int | None = None) -> None:
        """Args: the bundle, which is open; threads of PyTorch."""
        self.bundle = bundle
        self._threads = threads
        self._torch: TorchRuntime | None = None

    @property
    def torch(self) -> TorchRuntime:
        """The reference, made when it is first needed.

        Raises:
            InvalidInput: the model is of a class of the user's own.
        """
        if self._torch is None:
            self._torch = TorchRuntime(self.bundle, self._threads)
        return self._torch

    def traces(
        self, runtime: Runtime, graphs: Sequence[str], against: Run | None = None
    ) -> Iterator[Trace]:
        """Run graphs on what is known of them, or on what another run was given.

        Raises:
            BundleError: the bundle has no such graph.
            InvalidInput: nor has the other run, or it is of another bundle.
        """
        for name in graphs:
            graph = Graph.read(self.bundle, name, runtime.form)
            if against is None:
                inputs = known_inputs(self.bundle, self.torch.model, name)
            else:
                other = _of(against, name)
                other.check_is_of(graph)
                inputs = dict(other.inputs)
            yield Trace.of(runtime, graph, inputs)

    def beside_torch(self, trace: Trace) -> TraceReport:
        """Each node beside PyTorch's, given the same inputs."""
        return beside_torch(trace, self._graph(trace), self.torch)

    def beside_run(self, trace: Trace, other: Run) -> TraceReport:
        """Each tensor beside another run's.

        Raises:
            InvalidInput: the other run is of another graph or of other inputs.
        """
        sides = (Side(each, self._graph(each)) for each in (trace, _of(other, trace.graph)))
        return beside_run(*sides)

    def _graph(self, trace: Trace) -> Graph:
        """The graph in the form that was run.

        Raises:
            InvalidInput: the bundle's is another.
        """
        for form in FORMS:
            graph = Graph.read(self.bundle, trace.graph, form)
            if graph.form == trace.form:
                return graph
        raise InvalidInput(
            f"graph {trace.graph}: expected one of the forms {FORMS}, got {trace.form!r}"
        )


def _of(run: Run, graph: str) -> Trace:
    if graph not in run.traces:
        raise InvalidInput(f"{run.title}: expected graph {graph!r}, got {sorted(run.traces)}")
    return run.traces[graph]
