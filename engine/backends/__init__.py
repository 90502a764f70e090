"""Backends: one file per runtime, named as on the command line. Only it imports the runtime."""

import pkgutil
import re
from collections.abc import Mapping

from ancestral.bundles.bundle import Bundle
from ancestral.engine.backends.entry import Entry, Found, TorchOptions, TritonOptions
from ancestral.engine.session import Backend
from ancestral.errors import BackendUnavailable, InvalidInput
from ancestral.plans.modules import INSTALL, MODULES
from ancestral.scalars import check_threads
from ancestral.threads import ThreadCount, is_measured

_ENTRIES = (
    Entry("torch", "TorchBackend", "pip install 'ancestral[train]'", (("torch",),), TorchOptions),
    Entry(
        "onnxruntime",
        "OnnxRuntimeBackend",
        "pip install 'ancestral[cpu]' (or 'ancestral[gpu]' with a CUDA GPU, not both)",
        (("onnxruntime",),),
        measures_threads=True,
    ),
    Entry(
        "triton",
        "TritonBackend",
        "pip install 'ancestral[gpu]'",
        (("triton",),),
        TritonOptions,
        gpu_only=True,
    ),
    Entry(
        "tensorrt",
        "TensorRtBackend.open",
        INSTALL,
        (MODULES, ("torch",)),
        gpu_only=True,
        compiled=True,
    ),
)
BACKENDS: Mapping[str, Entry] = {entry.name: entry for entry in _ENTRIES}
"""The table of backends, by name."""


def open_backend(
    name: str,
    bundle: Bundle,
    *,
    device: str,
    threads: ThreadCount,
    options: Mapping[str, object],
) -> Backend:
    """Open a backend for a bundle; arguments as in `Engine.load`.

    Raises:
        InvalidInput: the backend, device or number of threads does not exist, or the backend does
            not take an option.
        BackendUnavailable: the backend cannot run here; the message says what to install.
    """
    if threads is not None and not is_measured(threads):
        threads = check_threads(threads)
    if not isinstance(device, str) or not re.fullmatch(r"cpu|cuda(:\d+)?", device):
        raise InvalidInput(f"device: expected cpu, cuda or cuda:N, got {device!r}")
    if not isinstance(name, str) or name not in BACKENDS:
        raise InvalidInput(f"backend: expected one of {list(BACKENDS)}, got {name!r}")
    entry = BACKENDS[name]
    if is_measured(threads) and not (entry.measures_threads and device == "cpu"):
        raise InvalidInput(
            f"threads: expected a number for backend {name!r} on {device}, got 'measure', which "
            f"is for backend 'onnxruntime' on cpu"
        )
    chosen = _options(entry, options, bundle.manifest.dtype)
    entry.check_installed()
    opens = pkgutil.resolve_name(f"{__name__}.{name}:{entry.opens}")
    backend: Backend = opens(bundle, device=device, threads=threads, options=chosen)
    return backend


def probe(name: str) -> Found:
    """Return what an installed backend finds on this machine; imports its runtime."""
    try:
        found: Found = pkgutil.resolve_name(f"{__name__}.{name}:probe")()
    except BackendUnavailable as error:
        return Found([], str(error))
    return found


def _options(entry: Entry, given: Mapping[str, object], stored: str) -> object:
    """Return the checked options of a backend.

    An option that only other backends take is accepted if its value is what this one does anyway.

    Args:
        entry: entry of the backend.
        given: options by name.
        stored: type of the bundle.

    Raises:
        InvalidInput: an option is unknown or has the wrong type.
    """
    takes = f"takes only {', '.join(entry.takes)}" if entry.takes else "takes no options"
    usual = {"model": (None,), "dtype": (None, stored), "batch_invariant": (False,)}
    taken = {}
    for name, value in given.items():
        if name in entry.takes:
            taken[name] = value
        elif not any(type(value) is type(each) and value == each for each in usual.get(name, ())):
            others = [f"{other!r}" for other in BACKENDS if name in BACKENDS[other].takes]
            instead = f", or use backend {' or '.join(others)}" if others else ""
            raise InvalidInput(
                f"{name}: backend {entry.name!r} {takes}; leave the option out{instead}"
            )
    try:
        return entry.options(**taken)
    except InvalidInput as error:
        raise InvalidInput(f"backend {entry.name!r}, {error}") from None
