"""`ancestral verify --trace`: the first node of a graph at which a runtime parts from PyTorch."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ancestral.cli.installed import require
from ancestral.cli.output import check_target, say
from ancestral.cli.present.trace_table import Traced
from ancestral.errors import InvalidInput
from ancestral.threads import check_threads

if TYPE_CHECKING:
    from ancestral.bundles.bundle import Bundle
    from ancestral.export.trace.run import Run, Runtime
    from ancestral.export.trace.torch import TorchRuntime

_TRACED = ("torch", "onnxruntime", "onnx")


def traces(
    path: Path,
    backends: Sequence[str],
    graphs: Sequence[str],
    save: Path | None,
    against: Sequence[Path],
    device: str,
    threads: int | None,
) -> list[Traced]:
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
    _check(path, backends, save, against)
    names = tuple(dict.fromkeys(backends)) or ("onnxruntime",)
    if len(against) < 2:
        _check_runtimes(names, device)
    if threads is not None:
        check_threads(threads, "--threads")
    from ancestral.bundles.bundle import Bundle
    from ancestral.export.trace.finder import beside_run
    from ancestral.export.trace.run import load_run, save_run
    from ancestral.export.trace.torch import TorchRuntime

    bundle = Bundle.open(path, rehash=True)
    others = [load_run(file, bundle) for file in against]
    chosen = _graphs(bundle, graphs, others)
    if len(others) > 1:
        first, second = others
        reports = [beside_run(first.traces[name], second.traces[name]) for name in chosen]
        return [Traced(first.title, second.title, reports)]
    reference = others[0] if others else TorchRuntime(bundle, threads)
    found = []
    for name in names:
        if name == "torch" and isinstance(reference, TorchRuntime):
            runtime: Runtime = reference
        else:
            runtime = _runtime(name, bundle, device, threads)
        traced, run = _one(bundle, runtime, chosen, reference, keep=save is not None)
        found.append(traced)
        if save is not None:
            save_run(run, save)
            count = sum(len(each.tensors) for each in run.traces.values())
            say(f"{save}: {count} tensors of {len(run.traces)} graphs")
    return found


def _check(
    bundle: Path, backends: Sequence[str], save: Path | None, against: Sequence[Path]
) -> None:
    """Options that do not go together.

    Raises:
        InvalidInput: which, and what to do.
    """
    if len(against) > 2:
        raise InvalidInput(f"--against: expected one or two files, got {len(against)}")
    if len(against) == 2 and (backends or save):
        raise InvalidInput(
            "--against: two saved runs are compared without running anything: leave out --backend "
            "and --save, or give one file"
        )
    if save is not None:
        check_target(save, (".safetensors",), option="--save", keep=(bundle, *against))
        if len(backends) > 1:
            raise InvalidInput(f"--save: expected one --backend, got {list(backends)}")
    if "torch" in backends and not (save or against):
        raise InvalidInput(
            "--backend torch is what others are compared with: give --save FILE, or --against FILE"
        )


def _check_runtimes(backends: Sequence[str], device: str) -> None:
    """Refuse backends that cannot show what is inside a graph, or not on that device.

    Raises:
        InvalidInput: which.
        BackendUnavailable: ONNX Runtime is not installed.
    """
    if not re.fullmatch(r"cpu|cuda(:\d+)?", device):
        raise InvalidInput(f"device: expected cpu, cuda or cuda:N, got {device!r}")
    for name in backends:
        if name not in _TRACED:
            raise InvalidInput(
                f"backend: expected one of {list(_TRACED)} with --trace, got {name!r}: it cannot "
                f"show what is inside a graph"
            )
        if name != "onnxruntime" and device != "cpu":
            raise InvalidInput(f"device: {name!r} is traced on the cpu only, got {device!r}")
    if "onnxruntime" in backends:
        require("verify --trace --backend onnxruntime", ("onnxruntime",), "cpu")


def _runtime(name: str, bundle: "Bundle", device: str, threads: int | None) -> "Runtime":
    """The runtime of that name.

    Raises:
        BackendUnavailable: it has no such device here.
    """
    match name:
        case "torch":
            from ancestral.export.trace.torch import TorchRuntime

            return TorchRuntime(bundle, threads)
        case "onnx":
            from ancestral.export.trace.onnx_reference import OnnxReference

            return OnnxReference()
    from ancestral.export.trace.onnxruntime import OnnxRuntime

    return OnnxRuntime(device, threads)


def _graphs(bundle: "Bundle", wanted: Sequence[str], others: "Sequence[Run]") -> Sequence[str]:
    """Their names: those asked for, or all that the bundle and the saved runs have.

    Raises:
        BundleError: the bundle has not one that was asked for.
        InvalidInput: a saved run has not, or they have none in common.
    """
    for name in wanted:
        bundle.graph_file(name, "portable")
    saved = [other.traces.keys() for other in others]
    common = [name for name in bundle.manifest.graphs if all(name in each for each in saved)]
    names = list(dict.fromkeys(wanted)) or common
    if not names or not {*names} <= {*common}:
        expected = names or sorted(bundle.manifest.graphs)
        got = list(map(sorted, saved))
        raise InvalidInput(f"--against: expected graphs of {expected}, got {got}")
    return names


def _one(
    bundle: "Bundle",
    runtime: "Runtime",
    graphs: Sequence[str],
    reference: "Run | TorchRuntime",
    *,
    keep: bool,
) -> "tuple[Traced, Run]":
    """Run one backend; compare each graph before the next is run."""
    from ancestral.export.trace.finder import beside_run, beside_torch
    from ancestral.export.trace.graph import Graph
    from ancestral.export.trace.known_inputs import known_inputs
    from ancestral.export.trace.run import Run, Trace

    kept, reports, title = {}, [], ""
    if isinstance(reference, Run):
        title = reference.title
    elif reference is not runtime:
        title = f"torch {reference.version} cpu, given the same inputs at each node"
        _say_versions(bundle, reference.version)
    for name in graphs:
        graph = Graph.read(bundle, name, runtime.form)
        if isinstance(reference, Run):
            trace = Trace.of(runtime, graph, reference.traces[name].inputs)
            reports.append(beside_run(trace, reference.traces[name]))
        else:
            trace = Trace.of(runtime, graph, known_inputs(bundle, reference.model, name))
            if reference is not runtime:
                reports.append(beside_torch(trace, reference))
        if keep:
            kept[name] = trace
    run = Run(f"{runtime.name} {runtime.version} {runtime.device}", kept)
    return Traced(run.title, title, reports), run


def _say_versions(bundle: "Bundle", here: str) -> None:
    """Nodes are named by PyTorch's exporter, and another release of it may name them otherwise."""
    exported = bundle.manifest.written_by.get("torch", "")
    if exported.split(".")[:2] != here.split(".")[:2]:
        say(
            f"the bundle was exported by torch {exported}, this is {here}: where it names nodes "
            f"otherwise, tensors are not matched, or wrongly; a saved run of that torch is safe"
        )
