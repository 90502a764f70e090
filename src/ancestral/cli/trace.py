"""`ancestral verify --trace`: the first node of a graph at which a runtime parts from PyTorch."""

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
    from ancestral.export.trace.bundle import Tracer
    from ancestral.export.trace.run import Run


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
    _check(path, wanted)
    from ancestral.bundles.bundle import Bundle
    from ancestral.export.trace.bundle import Tracer
    from ancestral.export.trace.run import load_run

    bundle = Bundle.open(path, rehash=True)
    tracer = Tracer(bundle, wanted.threads)
    others = [load_run(file) for file in wanted.against]
    names = _graphs(bundle, wanted, others)
    if len(others) > 1:
        first, second = others
        reports = [tracer.beside_run(first.traces[name], second) for name in names]
        return [Traced(first.title, second.title, reports)]
    against = others[0] if others else None
    return [_one(tracer, backend, names, against, wanted) for backend in _backends(wanted)]


def _check(bundle: Path, wanted: Wanted) -> None:
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
        if len(wanted.backends) > 1:
            raise InvalidInput(f"--save: expected one --backend, got {list(wanted.backends)}")
    if wanted.threads is not None:
        check_threads(wanted.threads, "--threads")
    if "torch" in wanted.backends and not (wanted.save or wanted.against):
        raise InvalidInput(
            "--backend torch is what others are compared with: give --save FILE, or --against FILE"
        )


def _backends(wanted: Wanted) -> Sequence[str]:
    """Their names, each once; installed.

    Raises:
        BackendUnavailable: ONNX Runtime is not.
    """
    names = tuple(dict.fromkeys(wanted.backends)) or ("onnxruntime",)
    if "onnxruntime" in names:
        from ancestral.engine.backends import BACKENDS

        BACKENDS["onnxruntime"].check_installed()
    return names


def _graphs(bundle: "Bundle", wanted: Wanted, others: "Sequence[Run]") -> Sequence[str]:
    """Their names: those asked for, or all that the bundle and the saved runs have.

    Raises:
        BundleError: the bundle has not one that was asked for.
        InvalidInput: a saved run has not, or they have none in common.
    """
    for name in wanted.graphs:
        bundle.graph_file(name, "portable")
        for other in others:
            if name not in other.traces:
                raise InvalidInput(
                    f"--against: expected graph {name!r}, got {sorted(other.traces)}"
                )
    if wanted.graphs:
        return tuple(dict.fromkeys(wanted.graphs))
    names = [
        name for name in bundle.manifest.graphs if all(name in other.traces for other in others)
    ]
    if not names:
        got = [sorted(other.traces) for other in others]
        raise InvalidInput(
            f"--against: expected graphs of {sorted(bundle.manifest.graphs)}, got {got}"
        )
    return names


def _one(
    tracer: "Tracer", backend: str, graphs: Sequence[str], against: "Run | None", wanted: Wanted
) -> Traced:
    """Run one backend; compare each graph before the next is run."""
    from ancestral.export.trace.run import Run, save_run
    from ancestral.export.trace.runtime import open_runtime

    runtime = open_runtime(backend, tracer.bundle, device=wanted.device, threads=wanted.threads)
    kept, reports, reference = {}, [], ""
    if against is None and backend != "torch":
        _say_versions(tracer)
    for each in tracer.traces(runtime, graphs, against):
        if against is not None:
            reports.append(tracer.beside_run(each, against))
            reference = against.title
        elif backend != "torch":
            reports.append(tracer.beside_torch(each))
            reference = f"torch {tracer.torch.version} cpu, given the same inputs at each node"
        if wanted.save is not None:
            kept[each.graph] = each
    run = Run(runtime.name, runtime.version, runtime.device, kept)
    if wanted.save is not None:
        save_run(run, wanted.save)
        count = sum(len(each.tensors) for each in kept.values())
        say(f"{wanted.save}: {count} tensors of {len(kept)} graphs")
    return Traced(run.title, reference, reports)


def _say_versions(tracer: "Tracer") -> None:
    """Nodes are named by PyTorch's exporter, and another release of it may name them otherwise."""
    exported, here = tracer.bundle.manifest.written_by.get("torch", ""), tracer.torch.version
    if exported.split(".")[:2] != here.split(".")[:2]:
        say(
            f"the bundle was exported by torch {exported}, this is {here}: where it names nodes "
            f"otherwise, tensors are not matched, or wrongly; a saved run of that torch is safe"
        )
