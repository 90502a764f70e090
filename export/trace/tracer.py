"""Graphs of a bundle traced on runtimes, each compared with PyTorch or with another run."""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from ancestral.bundles.bundle import Bundle
from ancestral.errors import InvalidInput
from ancestral.export.trace.finder import beside_run, beside_torch
from ancestral.export.trace.graph import Graph
from ancestral.export.trace.known_inputs import known_inputs
from ancestral.export.trace.onnx_reference import ONNX_REFERENCE
from ancestral.export.trace.report import Traced
from ancestral.export.trace.run import Run, Runtime, Trace, load_run, save_run
from ancestral.export.trace.torch import TorchReference


class Tracer:
    """Traces graphs of one bundle."""

    def __init__(
        self,
        path: Path,
        graphs: Sequence[str],
        against: Sequence[Path],
        threads: int | None,
        say: Callable[[str], None],
    ) -> None:
        """Open the bundle and the saved runs; build the model in PyTorch where there are none.

        Args:
            path: of the bundle.
            graphs: their names; all that the bundle and the saved runs have where there are none.
            against: files of runs.
            threads: of the runtimes.
            say: called with sentences for the user.

        Raises:
            BundleError: the bundle is not sound, or has no such graph.
            InvalidInput: a file is not a run of this bundle, or lacks a graph; or the model is of
                a class of the user's own.
        """
        self.bundle = Bundle.open(path, rehash=True)
        self.runs = [load_run(file, self.bundle) for file in against]
        self.graphs = _chosen(self.bundle, graphs, self.runs)
        self._threads, self._say = threads, say
        self._reference = self.runs[0] if self.runs else TorchReference(self.bundle, threads)

    def compare(self) -> Traced:
        """The two saved runs."""
        first, second = self.runs
        reports = [beside_run(first.traces[name], second.traces[name]) for name in self.graphs]
        return Traced(first.title, second.title, reports)

    def run(self, backend: str, device: str, save: Path | None) -> Traced:
        """Run one backend; compare each graph before the next is run.

        Raises:
            BackendUnavailable: it has no such device here.
            BundleError: the runtime refuses a graph.
        """
        runtime, reference = self._runtime(backend, device), self._reference
        title = reference.title if isinstance(reference, Run) else ""
        if isinstance(reference, TorchReference) and runtime is not reference.runtime:
            title = f"{reference.runtime.title}, given the same inputs at each node"
            self._say_versions(torch.__version__)
        kept: dict[str, Trace] = {}
        reports = []
        for name in self.graphs:
            graph = Graph.read(self.bundle, name, runtime.form)
            if isinstance(reference, Run):
                trace = runtime.trace(graph, reference.traces[name].inputs)
                reports.append(beside_run(trace, reference.traces[name]))
            else:
                trace = runtime.trace(graph, known_inputs(self.bundle, reference.model, name))
                if runtime is not reference.runtime:
                    reports.append(beside_torch(trace, reference))
            if save is not None:
                kept[name] = trace
        if save is not None:
            save_run(Run(runtime.title, kept), save)
            count = sum(len(each.tensors) for each in kept.values())
            self._say(f"{save}: {count} tensors of {len(kept)} graphs")
        return Traced(runtime.title, title, reports)

    def _runtime(self, name: str, device: str) -> Runtime:
        if name == "onnx":
            return ONNX_REFERENCE
        if name == "torch":
            if isinstance(self._reference, TorchReference):
                return self._reference.runtime
            return TorchReference(self.bundle, self._threads).runtime
        from ancestral.export.trace.onnxruntime import onnxruntime

        return onnxruntime(device, self._threads)

    def _say_versions(self, here: str) -> None:
        """Nodes are named by PyTorch's exporter, and another release may name them otherwise."""
        exported = self.bundle.manifest.written_by.get("torch", "")
        if exported.split(".")[:2] != here.split(".")[:2]:
            self._say(
                f"the bundle was exported by torch {exported}, this is {here}: where it names "
                f"nodes otherwise, tensors are not matched, or wrongly; a saved run of that torch "
                f"is safe"
            )


def _chosen(bundle: Bundle, wanted: Sequence[str], runs: Sequence[Run]) -> Sequence[str]:
    """Names of the graphs.

    Raises:
        BundleError: the bundle has not one that was asked for.
        InvalidInput: a saved run has not, or they have none in common.
    """
    for name in wanted:
        bundle.graph_file(name, "portable")
    common = [name for name in bundle.manifest.graphs if all(name in run.traces for run in runs)]
    names = list(dict.fromkeys(wanted)) or common
    if not names or not {*names} <= {*common}:
        expected, got = names or sorted(bundle.manifest.graphs), [sorted(r.traces) for r in runs]
        raise InvalidInput(f"--against: expected graphs of {expected}, got {got}")
    return names
