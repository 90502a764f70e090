"""`ancestral verify --trace`: the first node of a graph at which a runtime parts from PyTorch."""

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ancestral.cli.installed import require
from ancestral.cli.output import check_target, say
from ancestral.cli.present.trace_table import Traced
from ancestral.errors import InvalidInput

if TYPE_CHECKING:
    from ancestral.bundles.bundle import Bundle
    from ancestral.export.trace.run import Run, Runtime
    from ancestral.export.trace.torch import TorchRuntime

_TRACED = ("torch", "onnxruntime", "onnx")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the command line asks for.

    Attributes:
        backends: names; onnxruntime where there are none.
        graphs: names; all where there are none.
        save: where the run goes.
        against: saved runs: one to compare with instead of PyTorch, or two to compare.
        device: where the backend runs.
        threads: of the runtimes.
    """

    backends: Sequence[str]
    graphs: Sequence[str]
    save: Path | None
    against: Sequence[Path]
    device: str = "cpu"
    threads: int | None = None


def traces(path: Path, wanted: Wanted) -> list[Traced]:
    """Trace a bundle's graphs.

    Raises:
        InvalidInput: options that do not go together, a backend that cannot be traced, or a saved
            run that is none or of another graph.
        BundleError: the bundle is not sound or has no such graph.
        BackendUnavailable: a package is missing.
    """
    require("verify --trace", ("torch", "onnx", "onnxscript"), "export")
    names = tuple(dict.fromkeys(wanted.backends)) or ("onnxruntime",)
    _check(path, names, wanted)
    if len(wanted.against) < 2:
        _check_runtimes(names, wanted.device)
    from ancestral.bundles.bundle import Bundle
    from ancestral.export.trace.finder import beside_run
    from ancestral.export.trace.run import load_run
    from ancestral.export.trace.torch import TorchRuntime

    bundle = Bundle.open(path, rehash=True)
    others = [load_run(file, bundle) for file in wanted.against]
    graphs = _graphs(bundle, wanted, others)
    if len(others) > 1:
        first, second = others
        reports = [beside_run(first.traces[name], second.traces[name]) for name in graphs]
        return [Traced(first.title, second.title, reports)]
    # Built once, and only where it is needed: a saved run may be of a model of the user's own.
    torch = functools.cache(functools.partial(TorchRuntime, bundle, wanted.threads))
    against = others[0] if others else torch()
    return [
        _one(
            bundle, torch() if name == "torch" else _runtime(name, wanted), graphs, against, wanted
        )
        for name in names
    ]


def _check(bundle: Path, backends: Sequence[str], wanted: Wanted) -> None:
    """Options that do not go together.

    Raises:
        InvalidInput: which, and what to do.
    """
    from ancestral.threads import check_threads

    if len(wanted.against) > 2:
        raise InvalidInput(f"--against: expected one or two files, got {len(wanted.against)}")
    if len(wanted.against) == 2 and (wanted.backends or wanted.save):
        raise InvalidInput(
            "--against: two saved runs are compared without running anything: leave out --backend "
            "and --save, or give one file"
        )
    if wanted.save is not None:
        keep = (bundle, *wanted.against)
        check_target(wanted.save, (".safetensors",), option="--save", keep=keep)
        if len(backends) > 1:
            raise InvalidInput(f"--save: expected one --backend, got {list(backends)}")
    if wanted.threads is not None:
        check_threads(wanted.threads, "--threads")
    if "torch" in backends and not (wanted.save or wanted.against):
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


def _runtime(name: str, wanted: Wanted) -> "Runtime":
    """The runtime of that name.

    Raises:
        BackendUnavailable: it has no such device here.
    """
    if name == "onnx":
        from ancestral.export.trace.onnx_reference import OnnxReference

        return OnnxReference()
    from ancestral.export.trace.onnxruntime import OnnxRuntime

    return OnnxRuntime(wanted.device, wanted.threads)


def _graphs(bundle: "Bundle", wanted: Wanted, others: "Sequence[Run]") -> Sequence[str]:
    """Their names: those asked for, or all that the bundle and the saved runs have.

    Raises:
        BundleError: the bundle has not one that was asked for.
        InvalidInput: a saved run has not, or they have none in common.
    """
    common = [
        name for name in bundle.manifest.graphs if all(name in other.traces for other in others)
    ]
    for name in wanted.graphs:
        bundle.graph_file(name, "portable")
    names = list(dict.fromkeys(wanted.graphs)) or common
    if not names or not {*names} <= {*common}:
        got = [sorted(other.traces) for other in others]
        expected = names or sorted(bundle.manifest.graphs)
        raise InvalidInput(f"--against: expected graphs of {expected}, got {got}")
    return names


def _one(
    bundle: "Bundle",
    runtime: "Runtime",
    graphs: Sequence[str],
    against: "Run | TorchRuntime",
    wanted: Wanted,
) -> Traced:
    """Run one backend; compare each graph before the next is run."""
    from ancestral.export.trace.finder import beside_run, beside_torch
    from ancestral.export.trace.graph import Graph
    from ancestral.export.trace.known_inputs import known_inputs
    from ancestral.export.trace.run import Run, Trace, save_run

    kept, reports, reference = {}, [], ""
    if isinstance(against, Run):
        reference = against.title
    elif against is not runtime:
        reference = f"torch {against.version} cpu, given the same inputs at each node"
        _say_versions(bundle, against.version)
    for name in graphs:
        graph = Graph.read(bundle, name, runtime.form)
        if isinstance(against, Run):
            trace = Trace.of(runtime, graph, against.traces[name].inputs)
            reports.append(beside_run(trace, against.traces[name]))
        else:
            trace = Trace.of(runtime, graph, known_inputs(bundle, against.model, name))
            if against is not runtime:
                reports.append(beside_torch(trace, against))
        if wanted.save is not None:
            kept[name] = trace
    run = Run(f"{runtime.name} {runtime.version} {runtime.device}", kept)
    if wanted.save is not None:
        save_run(run, wanted.save)
        count = sum(len(each.tensors) for each in kept.values())
        say(f"{wanted.save}: {count} tensors of {len(kept)} graphs")
    return Traced(run.title, reference, reports)


def _say_versions(bundle: "Bundle", here: str) -> None:
    """Nodes are named by PyTorch's exporter, and another release of it may name them otherwise."""
    exported = bundle.manifest.written_by.get("torch", "")
    if exported.split(".")[:2] != here.split(".")[:2]:
        say(
            f"the bundle was exported by torch {exported}, this is {here}: where it names nodes "
            f"otherwise, tensors are not matched, or wrongly; a saved run of that torch is safe"
        )
