"""The two modules of TensorRT: which one is installed, its GPUs, and how to install it.

tensorrt        for data-center GPUs; compiles a plan on the GPU that runs it
tensorrt_rtx    for GeForce and RTX GPUs; compiles for any of them on any machine

Neither is imported when this module is.
"""

import importlib
import importlib.util
from typing import Any, Literal

Module = Literal["tensorrt", "tensorrt_rtx"]
MODULES: tuple[Module, ...] = ("tensorrt", "tensorrt_rtx")
INSTALL = (
    "pip install 'ancestral[tensorrt]' for a data-center GPU (Ampere, Hopper, Blackwell), or "
    "pip install 'ancestral[tensorrt-rtx]' for a GeForce or RTX one (Turing to Blackwell)"
)
DTYPES = {
    "FLOAT": "float32",
    "HALF": "float16",
    "BF16": "bfloat16",
    "INT64": "int64",
    "INT32": "int32",
    "BOOL": "bool",
}
"""Dtypes of signatures, by their names in TensorRT."""


def is_there(package: str) -> bool:
    """Return whether a package is installed; a folder with only type stubs does not count."""
    found = importlib.util.find_spec(package)
    return found is not None and found.origin is not None


def installed_modules() -> tuple[Module, ...]:
    """Return the modules that are installed."""
    return tuple(name for name in MODULES if is_there(name))


def imported(module: Module) -> Any:
    """Import an installed module; it and its objects are untyped."""
    return importlib.import_module(module)


def portable_targets(api: Any) -> tuple[str, ...]:
    """Return the GPUs, such as "sm_89", that a module can compile for on any machine.

    The module itself lists them, so that a newer release can be used for newer GPUs. The result is
    empty if the module compiles only for the GPU of this machine.
    """
    if not hasattr(api, "ComputeCapability"):
        return ()
    names = api.ComputeCapability.__members__
    return tuple(f"sm_{name[2:]}" for name in names if name.startswith("SM"))
