"""Trace a bundle's graphs on a runtime, and compare them with PyTorch or with another run."""

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
    """Traces the graphs of one bundle, and compares their tensors.

    Attributes:
        bundle: bundle to trace.
        runs: saved runs to compare with.
        graphs: names of the graphs to trace.
    """

    def __init__(
        self,
        path: Path,
        graphs: Sequence[str],
        against: Sequence[Path],
        threads: int | None,
        say: Callable[[str], None],
    ) -> None:
        """Open the bundle and the saved runs; without saved runs, build the model in PyTorch.

        Args:
            path: directory of the bundle.
            graphs: names of the graphs to trace; empty for all that the bundle and the saved runs
                have.
            against: files of saved runs to compare with; empty to compare with PyTorch.
            threads: number of CPU threads of the runtimes; None for their own choice.
            say: called with sentences for the user.

        Raises:
            BundleError: the bundle is missing, altered or damaged, or has no such graph.
            InvalidInput: a file is not a run of this bundle, or lacks a graph; or there is no saved
                run and the model is of the user's own class.
        """
        self.bundle = Bundle.open(path, rehash=True)
        self.runs = [load_run(file, self.bundle) for file in against]
        self.graphs = _chosen(self.bundle, graphs, self.runs)
        self._threads, self._say = threads, say
        self._reference = self.runs[0] if self.runs else TorchReference(self.bundle, threads)

    def compare(self) -> Traced:
        """Compare the first saved run with the second, graph by graph.

        Returns:
            Comparison of the two, with a report for each graph.

        Raises:
            InvalidInput: the inputs of the two runs differ.
        """
        first, second = self.runs
        reports = [beside_run(first.traces[name], second.traces[name]) for name in self.graphs]
        return Traced(first.title, second.title, reports)

    def run(self, backend: str, device: str, save: Path | None) -> Traced:
        """Run the graphs on a backend, and compare each before the next is run.

        Args:
            backend: "onnxruntime", "onnx" or "torch".
            device: "cpu"; or "cuda" or "cuda:N" with onnxruntime.
            save: file to save the run to; None to save nothing.

        Returns:
            Comparison of the run, with a report for each graph; no reports if PyTorch runs and
            there is no saved run.

        Raises:
            BackendUnavailable: the backend does not support the device.
            BundleError: the runtime cannot load or run a graph.
            InvalidInput: the runtime lacks an operator, or the inputs of a saved run differ.
            OSError: the run could not be saved.
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
        """Warn if another release of PyTorch, which may name nodes otherwise, made the bundle."""
        exported = self.bundle.manifest.written_by.get("torch", "")
        if exported.split(".")[:2] != here.split(".")[:2]:
            self._say(
                f"the bundle was exported with torch {exported}, this is torch {here}, which may "
                f"name nodes differently: tensors may be unmatched or matched wrongly; to avoid "
                f"that, compare with a run saved under torch {exported}"
            )


def _chosen(bundle: Bundle, wanted: Sequence[str], runs: Sequence[Run]) -> Sequence[str]:
    """Return the names of the graphs to trace.

    Raises:
        BundleError: the bundle lacks a requested graph.
        InvalidInput: a saved run lacks a requested graph, or bundle and runs share no graph.
    """
    for name in wanted:
        bundle.graph_file(name, "portable")
    common = [name for name in bundle.manifest.graphs if all(name in run.traces for run in runs)]
    names = list(dict.fromkeys(wanted)) or common
    if not names or not {*names} <= {*common}:
        expected, got = names or sorted(bundle.manifest.graphs), [sorted(r.traces) for r in runs]
        raise InvalidInput(f"--against: expected runs with graphs {expected}, got {got}")
    return names
