"""Runtimes: a file for each, named as on the command line; only it imports that runtime."""

import importlib.util
import re
from collections.abc import Mapping
from typing import Any, Literal, get_args

from ancestral.bundle import Bundle
from ancestral.engine.inputs import count
from ancestral.engine.session import Backend
from ancestral.errors import BackendUnavailable, InvalidInput

BackendName = Literal["torch", "onnxruntime", "triton"]
BACKENDS: tuple[BackendName, ...] = get_args(BackendName)
INSTALL: Mapping[str, str] = {
    "torch": "pip install 'ancestral[train]'",
    "onnxruntime": "pip install 'ancestral[cpu]' (or 'ancestral[gpu]' with a CUDA GPU, not both)",
    "triton": "pip install 'ancestral[gpu]'",
}


def open_backend(
    name: str,
    bundle: Bundle,
    *,
    device: str,
    threads: int | None,
    model: Any = None,
    dtype: str = "float32",
    batch_invariant: bool = False,
) -> Backend:
    """The backend of that name over a bundle; the arguments are those of `Engine.load`.

    Raises:
        InvalidInput: no such backend, device or number of threads; or what only another backend
            takes.
        BackendUnavailable: it cannot run here; the message says what to install.
    """
    if threads is not None:
        count("threads", threads, 1)
    if not isinstance(device, str) or not re.fullmatch(r"cpu|cuda(:\d+)?", device):
        raise InvalidInput(f"device: expected cpu, cuda or cuda:N, got {device!r}")
    if name not in BACKENDS:
        raise InvalidInput(f"backend: expected one of {list(BACKENDS)}, got {name!r}")
    if model is not None and name == "onnxruntime":
        raise InvalidInput(f"model: backend {name!r} runs the bundle's graphs; give none")
    if name != "triton" and (dtype != "float32" or batch_invariant):
        raise InvalidInput(
            f"dtype, batch_invariant: backend {name!r} computes in the bundle's float32, by the "
            f"runtime's own matrix products; 'triton' takes them, got {dtype!r}, {batch_invariant}"
        )
    if importlib.util.find_spec(name) is None:
        raise BackendUnavailable(f"backend {name!r} needs the {name} package: {INSTALL[name]}")
    match name:
        case "torch":
            from ancestral.engine.backends.torch import TorchBackend

            return TorchBackend(bundle, device=device, threads=threads, model=model)
        case "onnxruntime":
            from ancestral.engine.backends.onnxruntime import OnnxRuntimeBackend

            return OnnxRuntimeBackend(bundle, device=device, threads=threads)
        case _:
            from ancestral.engine.backends.triton import TritonBackend

            return TritonBackend(
                bundle,
                device=device,
                threads=threads,
                model=model,
                dtype=dtype,
                batch_invariant=batch_invariant,
            )
