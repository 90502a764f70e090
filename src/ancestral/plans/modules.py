"""The two modules of TensorRT: which is installed, what it serves, what to install.

None is imported here.

tensorrt        the data-center library; compiles on the GPU that a plan is for
tensorrt_rtx    for GeForce and RTX GPUs; compiles for any of them, anywhere
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
"""What the modules call the types of signatures."""


def is_there(package: str) -> bool:
    """Whether a package is installed; a folder of type stubs alone is none."""
    found = importlib.util.find_spec(package)
    return found is not None and found.origin is not None


def installed_modules() -> tuple[Module, ...]:
    """The modules that are here."""
    return tuple(name for name in MODULES if is_there(name))


def imported(module: Module) -> Any:
    """A module that is installed; it and its objects have no types."""
    return importlib.import_module(module)


def portable_targets(api: Any) -> tuple[str, ...]:
    """The GPUs that a module compiles for without having one, sm_89 say; else none.

    Asked of the module itself: a release that serves more GPUs is used for them.
    """
    if not hasattr(api, "ComputeCapability"):
        return ()
    names = api.ComputeCapability.__members__
    return tuple(f"sm_{name[2:]}" for name in names if name.startswith("SM"))
