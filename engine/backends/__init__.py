"""Runtimes: a file for each, named as on the command line; only it imports that runtime."""

import re
from collections.abc import Mapping
from typing import Any, Literal, get_args

from ancestral.bundles.bundle import Bundle
from ancestral.engine.arguments import flag
from ancestral.engine.session import Backend
from ancestral.errors import BackendUnavailable, InvalidInput
from ancestral.plans.modules import INSTALL as INSTALL_TENSORRT
from ancestral.plans.modules import MODULES as TENSORRT_MODULES
from ancestral.plans.modules import is_there
from ancestral.threads import check_threads

BackendName = Literal["torch", "onnxruntime", "triton", "tensorrt"]
BACKENDS: tuple[BackendName, ...] = get_args(BackendName)
INSTALL: Mapping[str, str] = {
    "torch": "pip install 'ancestral[train]'",
    "onnxruntime": "pip install 'ancestral[cpu]' (or 'ancestral[gpu]' with a CUDA GPU, not both)",
    "triton": "pip install 'ancestral[gpu]'",
    "tensorrt": INSTALL_TENSORRT,
}
_PACKAGES: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "tensorrt": (TENSORRT_MODULES, ("torch",)),
}
"""What a backend needs that is not of its own name: of each row one."""


def missing(name: str) -> str | None:
    """The package that a backend needs and that is not here; None where it has all."""
    for packages in _PACKAGES.get(name, ((name,),)):
        if not any(is_there(package) for package in packages):
            return " or ".join(packages)
    return None


def computes_in(name: str, dtype: str) -> bool:
    """Whether a backend computes in a bundle's type: ONNX Runtime's CPU has no bfloat16 kernels."""
    return name != "onnxruntime" or dtype != "bfloat16"


def _check_words(name: object, device: object, dtype: object) -> None:
    """Refuse what is not the name of a backend, of a device or of a type.

    Raises:
        InvalidInput: it is not.
    """
    if not isinstance(device, str) or not re.fullmatch(r"cpu|cuda(:\d+)?", device):
        raise InvalidInput(f"device: expected cpu, cuda or cuda:N, got {device!r}")
    if not isinstance(name, str) or name not in BACKENDS:
        raise InvalidInput(f"backend: expected one of {list(BACKENDS)}, got {name!r}")
    if dtype is not None and not isinstance(dtype, str):
        raise InvalidInput(f"dtype: expected the name of a type or None, got {dtype!r}")


def open_backend(
    name: str,
    bundle: Bundle,
    *,
    device: str,
    threads: int | None,
    options: Mapping[str, Any],
) -> Backend:
    """The backend of that name over a bundle; the arguments are those of `Engine.load`.

    Raises:
        InvalidInput: no such backend, device or number of threads; or what only another backend
            takes.
        BackendUnavailable: it cannot run here; the message says what to install.
    """
    threads = None if threads is None else check_threads(threads)
    unknown = sorted(set(options) - {"model", "dtype", "batch_invariant"})
    if unknown:
        raise InvalidInput(f"options: expected model, dtype, batch_invariant, got {unknown}")
    model, dtype = options.get("model"), options.get("dtype")
    batch_invariant = flag("batch_invariant", options.get("batch_invariant", False))
    _check_words(name, device, dtype)
    if model is not None and name in {"onnxruntime", "tensorrt"}:
        raise InvalidInput(f"model: backend {name!r} runs the bundle's graphs; give none")
    stored = bundle.manifest.dtype
    if name != "triton" and (dtype not in {None, stored} or batch_invariant):
        raise InvalidInput(
            f"dtype, batch_invariant: backend {name!r} computes in the bundle's {stored}, by the "
            f"runtime's own matrix products; 'triton' takes them, got {dtype!r}, {batch_invariant}"
        )
    lacking = missing(name)
    if lacking is not None:
        raise BackendUnavailable(f"backend {name!r} needs the {lacking} package: {INSTALL[name]}")
    match name:
        case "torch":
            from ancestral.engine.backends.torch import TorchBackend

            return TorchBackend(bundle, device=device, threads=threads, model=model)
        case "onnxruntime":
            from ancestral.engine.backends.onnxruntime import OnnxRuntimeBackend

            return OnnxRuntimeBackend(bundle, device=device, threads=threads)
        case "tensorrt":
            from ancestral.engine.backends.tensorrt import TensorRtBackend

            return TensorRtBackend.open(bundle, device=device)
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
