"""The installed TensorRT: which of the two modules, for which GPUs, and how engines are run.

The modules have no types, so they and their objects are Any. What only one of them has is looked up
with hasattr: a capability is never derived from a version.
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
"""Number of the library's errors that a message may repeat."""


@dataclass(frozen=True, slots=True)
class Library:
    """An imported TensorRT module.

    Attributes:
        name: name of the module.
        api: the module.
    """

    name: Module
    api: Any

    @property
    def version(self) -> str:
        """Release of the module, in full."""
        return str(self.api.__version__)

    @property
    def targets(self) -> tuple[str, ...]:
        """GPUs that it serves, for example sm_89; empty if it serves those that it compiles on."""
        return portable_targets(self.api)

    def serves(self, target: str) -> bool:
        """Return whether its plans run on a GPU of this target."""
        return not self.targets or target in self.targets

    @property
    def log(self) -> Any:
        """Logger of the module: one per process, as TensorRT requires."""
        return _log(self.api)

    def taken_errors(self) -> str:
        """Return the last errors that the module logged, and clear them."""
        # Other threads may add errors meanwhile.
        errors = [self.log.errors.popleft() for _ in range(len(self.log.errors))]
        return "; ".join(errors) or "no reason given"

    def config(self, engine: Any, cache: Any, *, loop: bool) -> Any:
        """Return the configuration of a context, which uses our scratch memory.

        A module that compiles kernels at run time must not change them within a run. For a loop
        they are compiled for its shape when it first runs; elsewhere, where each call may have
        another shape, for no particular shape. CUDA graphs of a loop are ours, because one of ours
        holds many steps and one of the module's a single step.

        Args:
            engine: engine of the context.
            cache: cache of compiled kernels, as `new_cache` makes it, or None.
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
    """Return a cache by which contexts share kernels compiled at run time; None if unsupported."""
    config = engine.create_runtime_config()
    return config.create_runtime_cache() if hasattr(config, "create_runtime_cache") else None


def preferred(target: str, compiled: Collection[Module]) -> Library:
    """Return the module that runs plans on a GPU.

    If two serve it, the one that plans were compiled with comes first, then `tensorrt` on
    data-center GPUs and `tensorrt_rtx` on others.

    Args:
        target: target of the GPU.
        compiled: modules for which plans of the bundle are stored.

    Raises:
        BackendUnavailable: no module is installed, or none serves the GPU.
    """
    installed = installed_modules()
    names = installed if target in DATA_CENTER else installed[::-1]
    if not names:
        raise BackendUnavailable(
            f"backend 'tensorrt' needs the tensorrt or tensorrt_rtx package: {INSTALL}"
        )
    for name in sorted(names, key=lambda name: name not in compiled):
        library = opened(name)
        if library.serves(target):
            return library
    raise BackendUnavailable(
        f"backend 'tensorrt' needs the tensorrt package for a GPU {target} ({library.name} "
        f"{library.version} serves {', '.join(library.targets)}): "
        f"pip install 'ancestral[tensorrt]'"
    )


def opened(name: Module) -> Library:
    """Import an installed module.

    Raises:
        BackendUnavailable: it does not load.
    """
    try:
        return Library(name, imported(name))
    except (ImportError, OSError, AttributeError) as error:
        raise BackendUnavailable(
            f"backend 'tensorrt': {name} is installed but does not load ({error}): {INSTALL}"
        ) from error


@functools.cache
def _log(api: Any) -> Any:
    """Return a logger that keeps the last errors."""

    class Log(api.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            api.ILogger.__init__(self)
            self.errors: deque[str] = deque(maxlen=_REMEMBERED)

        def log(self, severity: Any, message: str) -> None:
            if severity.name in {"ERROR", "INTERNAL_ERROR"}:
                self.errors.append(message.strip())

    return Log()
