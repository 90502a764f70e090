"""`ancestral verify --trace`: find the first node of a graph that differs from PyTorch."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ancestral.cli.installed import require
from ancestral.cli.output import check_target, say
from ancestral.errors import InvalidInput
from ancestral.threads import ThreadCount, is_measured

if TYPE_CHECKING:
    from ancestral.export.trace.report import Traced

TRACED = ("torch", "onnxruntime", "onnx")


def traces(
    path: Path,
    backends: Sequence[str],
    graphs: Sequence[str],
    save: Path | None,
    against: Sequence[Path],
    device: str,
    threads: ThreadCount,
) -> "list[Traced]":
    """Trace a bundle's graphs.

    Args:
        path: folder of the bundle.
        backends: names of the backends; onnxruntime if empty.
        graphs: names of the graphs; all if empty.
        save: file for the traced run, or None.
        against: saved runs: one to compare with instead of PyTorch, or two to compare with each
            other.
        device: device of the backends.
        threads: number of threads of the runtimes.

    Raises:
        InvalidInput: options cannot be combined, a backend cannot be traced, or a saved run is not
            valid or is of another graph.
        BundleError: the bundle is damaged or has no such graph.
        BackendUnavailable: a package is missing.
    """
    require("verify --trace", ("torch", "onnx", "onnxscript"), "export")
    from ancestral.export.trace.tracer import Tracer
    from ancestral.scalars import check_threads

    if len(against) > 2:
        raise InvalidInput(f"--against: expected one or two files, got {len(against)}")
    if len(against) == 2 and (backends or save):
        raise InvalidInput(
            "--against: two saved runs are compared without running a backend; leave out --backend "
            "and --save, or give one file"
        )
    if save is not None:
        check_target(save, (".safetensors",), option="--save", keep=(path, *against))
        if len(backends) > 1:
            raise InvalidInput(f"--save: expected one --backend, got {list(backends)}")
    if is_measured(threads):
        raise InvalidInput(
            "--threads: expected a number with --trace, got 'measure'; leave it out to let the "
            "runtime choose"
        )
    count = None if threads is None else check_threads(threads, "--threads")
    names = tuple(dict.fromkeys(backends)) or ("onnxruntime",)
    if len(against) < 2:
        _check_runtimes(names, device, compared=bool(save or against))
    tracer = Tracer(path, graphs, against, count, say)
    if len(against) == 2:
        return [tracer.compare()]
    return [tracer.run(name, device, save) for name in names]


def _check_runtimes(backends: Sequence[str], device: str, *, compared: bool) -> None:
    """Check that the backends can be traced on a device.

    Args:
        backends: names of the backends.
        device: device of the backends.
        compared: whether a run is saved, or compared with a saved one.

    Raises:
        InvalidInput: a backend cannot be traced, or not on this device.
        BackendUnavailable: ONNX Runtime is not installed.
    """
    if not re.fullmatch(r"cpu|cuda(:\d+)?", device):
        raise InvalidInput(f"--device: expected cpu, cuda or cuda:N, got {device!r}")
    for name in backends:
        if name not in TRACED:
            raise InvalidInput(
                f"--backend: expected one of {', '.join(TRACED)} with --trace, got {name!r}, which "
                f"cannot show the tensors inside a graph"
            )
        if name != "onnxruntime" and device != "cpu":
            raise InvalidInput(f"--device: expected cpu to trace {name}, got {device!r}")
        if name == "torch" and not compared:
            raise InvalidInput(
                "--backend: torch is the reference of a trace; name another backend, or add --save "
                "FILE or --against FILE"
            )
        if name == "onnxruntime":
            require("verify --trace --backend onnxruntime", ("onnxruntime",), "cpu")
