"""The TensorRT that is installed: which of the two modules, for which GPUs, how engines are run.

The modules have no types of their own: they and their objects are Any. What one of them lacks is
asked for with hasattr: a capability is found, never derived from a version.
"""

import functools
from collections import deque
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from ancestral.errors import BackendUnavailable
from ancestral.plans.modules import INSTALL, Module, imported, installed_modules, portable_targets

DATA_CENTER = frozenset({"sm_80", "sm_90", "sm_100", "sm_103"})
"""A100, H100 and H200, B200 and B300."""
_REMEMBERED = 8
"""Errors of the library that a message may repeat."""


@dataclass(frozen=True, slots=True)
class Library:
    """A module of TensorRT, imported.

    Attributes:
        name: of the module.
        api: the module.
    """

    name: Module
    api: Any

    @property
    def version(self) -> str:
        """Its release, in full."""
        return str(self.api.__version__)

    @property
    def targets(self) -> tuple[str, ...]:
        """The GPUs that it serves, sm_89 say; empty where it serves the GPU that it compiles on."""
        return portable_targets(self.api)

    def serves(self, target: str) -> bool:
        """Whether its plans run on such a GPU."""
        return not self.targets or target in self.targets

    @property
    def log(self) -> Any:
        """The logger of the module: one for the process, as TensorRT wants it."""
        return _log(self.api)

    def told(self) -> str:
        """What the module said last of errors; it is forgotten then."""
        # Other threads may add to it meanwhile.
        said = [self.log.errors.popleft() for _ in range(len(self.log.errors))]
        return "; ".join(said) or "it gave no reason"

    def config(self, engine: Any, cache: Any, *, loop: bool) -> Any:
        """How a context of an engine is made: its scratch memory is ours.

        A module that compiles kernels at run time must not change them within a run: they are
        compiled for the shape of a loop when that first runs, and for no shape in particular
        elsewhere, where each call may have another. Graphs of a loop are captured by us: one of
        ours holds many steps, one of the module's a single one.

        Args:
            engine: of which it is.
            cache: for kernels that are compiled, as `new_cache` makes it; None without such.
            loop: whether one shape is run very often.
        """
        config = engine.create_runtime_config()
        config.set_execution_context_allocation_strategy(
            self.api.ExecutionContextAllocationStrategy.USER_MANAGED
        )
        if hasattr(config, "set_runtime_cache"):
            config.cuda_graph_strategy = self.api.CudaGraphStrategy.DISABLED
            strategies = self.api.DynamicShapesKernelSpecializationStrategy
            config.dynamic_shapes_kernel_specialization_strategy = (
                strategies.EAGER if loop else strategies.NONE
            )
            if cache is not None:
                config.set_runtime_cache(cache)
        return config


def new_cache(engine: Any) -> Any:
    """For kernels that are compiled at run time, so that contexts share them; else None."""
    config = engine.create_runtime_config()
    return config.create_runtime_cache() if hasattr(config, "create_runtime_cache") else None


def preferred(target: str, compiled: Collection[Module]) -> Library:
    """The module that runs plans on a GPU.

    Of two that serve it, the one that plans were compiled with; then `tensorrt` in a data center,
    and `tensorrt_rtx` elsewhere.

    Args:
        target: of the GPU.
        compiled: modules that plans of the bundle are kept of.

    Raises:
        BackendUnavailable: none is installed, or none that serves the GPU.
    """
    installed = installed_modules()
    names = installed if target in DATA_CENTER else installed[::-1]
    if not names:
        raise BackendUnavailable(f"backend 'tensorrt' needs TensorRT: {INSTALL}")
    for name in sorted(names, key=lambda name: name not in compiled):
        library = opened(name)
        if library.serves(target):
            return library
    raise BackendUnavailable(
        f"backend 'tensorrt': {library.name} {library.version} serves GPUs "
        f"{', '.join(library.targets)}, and here is {target}: there `tensorrt` runs: "
        f"pip install 'ancestral[tensorrt]'"
    )


def opened(name: Module) -> Library:
    """A module that is installed.

    Raises:
        BackendUnavailable: it does not load.
    """
    try:
        return Library(name, imported(name))
    except (ImportError, OSError, AttributeError) as error:
        raise BackendUnavailable(
            f"backend 'tensorrt': {name} is installed, but does not load ({error}): {INSTALL}"
        ) from error


@functools.cache
def _log(api: Any) -> Any:
    """A logger that remembers the last errors."""

    class Log(api.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            api.ILogger.__init__(self)
            self.errors: deque[str] = deque(maxlen=_REMEMBERED)

        def log(self, severity: Any, message: str) -> None:
            if severity.name in {"ERROR", "INTERNAL_ERROR"}:
                self.errors.append(message.strip())

    return Log()
