"""TensorRT: the bundle's graphs as `ancestral compile` made plans of them, many steps a launch.

Written once for the modules `tensorrt` and `tensorrt_rtx`. The GPU's memory, streams and graphs are
PyTorch's (docs/decisions/0012-device-memory-by-torch.md).
"""

from typing import NamedTuple

import torch

from ancestral.bundles.bundle import Bundle
from ancestral.engine.backends.cuda_graphs import CudaLane
from ancestral.engine.backends.entry import Found, NoOptions
from ancestral.engine.backends.tensorrt_library import Library, opened, preferred
from ancestral.engine.backends.tensorrt_plans import GraphPlans
from ancestral.engine.backends.tensorrt_session import TensorRtSession
from ancestral.engine.budget import HOST_BUDGET, Budget
from ancestral.errors import BackendUnavailable
from ancestral.plans.choice import PlanChoice
from ancestral.plans.gpus import Gpu, gpus
from ancestral.plans.key import PlanKey
from ancestral.plans.modules import INSTALL, installed_modules
from ancestral.plans.store import PlanStore
from ancestral.step_tensors import OBSERVED


class GpuMemory(NamedTuple):
    """Bytes of a GPU that are in use.

    Attributes:
        weights: of the engines.
        scratch: in which their layers compute.
        tensors: of the loops that are bound: what is given and carried.
    """

    weights: int
    scratch: int
    tensors: int


class TensorRtBackend:
    """Plans of a bundle on one GPU. Make one with `TensorRtBackend.open`."""

    name = "tensorrt"

    def __init__(
        self, bundle: Bundle, library: Library, target: str, lane: CudaLane, store: PlanStore
    ) -> None:
        """A backend over parts that suit one another.

        Args:
            bundle: holds the graphs.
            library: that runs their plans.
            target: what the plans have to be compiled for, as in `PlanKey.targets`.
            lane: where they run.
            store: where they are.
        """
        self.device, self.dtype = lane.device, bundle.manifest.dtype
        self._bundle, self._library, self._target = bundle, library, target
        self._lane, self._store = lane, store
        self._sessions: dict[str, TensorRtSession] = {}

    @classmethod
    def open(
        cls,
        bundle: Bundle,
        *,
        device: str,
        threads: int | None = None,
        options: NoOptions | None = None,
        store: PlanStore | None = None,
    ) -> "TensorRtBackend":
        """Find the GPU, and the module that serves it.

        Args:
            bundle: holds the graphs.
            device: cuda with an index.
            threads: not used, as the GPU computes.
            options: not used, as there are none.
            store: of plans; the user's own where None.

        Raises:
            BackendUnavailable: there is no such GPU, or no module that serves it.
            PlanError: the folder of plans is not the user's alone.
        """
        gpu = gpu_of(device)
        store = PlanStore() if store is None else store
        weights = bundle.manifest.files[bundle.manifest.weights].sha256
        library = preferred(gpu.target, store.modules(weights))
        target = gpu.target if library.targets else gpu.itself
        return cls(bundle, library, target, CudaLane(device), store)

    @property
    def room(self) -> Budget:
        """Half of the GPU's free memory, and as many rows as the plans of open loops take."""
        most = [
            session.plans.most_rows()
            for session in tuple(self._sessions.values())
            if any(spec.name == OBSERVED for spec in session.signature.inputs)
        ]
        return Budget(self._lane.free() // 2, min(most, default=HOST_BUDGET.rows))

    @property
    def memory(self) -> GpuMemory:
        """Bytes of the GPU that plans and loops take."""
        sessions = tuple(self._sessions.values())
        with self._lane.active():
            loaded = [plan for session in sessions for plan in session.plans.loaded.values()]
        return GpuMemory(
            sum(plan.weights_bytes for plan in loaded),
            sum(plan.scratch_bytes for plan in loaded),
            sum(session.tensors_bytes for session in sessions),
        )

    def session(self, graph: str) -> TensorRtSession:
        """Load a plan of a graph.

        Raises:
            BundleError: the bundle has no such graph.
            PlanError: no plan serves it here; the message says what makes one.
        """
        bundle, library = self._bundle, self._library
        here = {"module": library.name, "version": library.version, "targets": (self._target,)}
        wanted = PlanKey.of_graph(bundle, graph, **here)
        choice = PlanChoice(wanted, tuple(self._store.records()[0]), bundle.path)
        signature = bundle.manifest.graphs[graph].signature
        plans = GraphPlans(signature, choice, self._store, library, self._lane)
        self._sessions[graph] = TensorRtSession(plans, bundle.manifest.data.levels)
        return self._sessions[graph]

    def of(self, bundle: Bundle) -> "TensorRtBackend":
        return TensorRtBackend(bundle, self._library, self._target, self._lane, self._store)


def gpu_of(device: str) -> Gpu:
    """The GPU of a device, as plans are compiled for it.

    Raises:
        BackendUnavailable: there is none, or nothing that would run plans on it.
    """
    if device == "cpu":
        raise BackendUnavailable("backend 'tensorrt' runs on a CUDA GPU: device 'cuda'")
    if not installed_modules():
        raise BackendUnavailable(f"backend 'tensorrt' needs TensorRT: {INSTALL}")
    if not torch.cuda.is_available():
        raise BackendUnavailable(f"device {device!r}: PyTorch sees no CUDA GPU here")
    index = torch.device(device).index or 0
    if index >= torch.cuda.device_count():
        count = torch.cuda.device_count()
        raise BackendUnavailable(f"device {device!r}: expected one of {count} CUDA GPUs")
    major, minor = torch.cuda.get_device_capability(index)
    drivers = [gpu.driver for gpu in gpus()]
    return Gpu(
        name=torch.cuda.get_device_name(index),
        target=f"sm_{major}{minor}",
        memory=f"{torch.cuda.mem_get_info(index)[1] // 2**20} MiB",
        driver=drivers[0] if drivers else "unknown",
    )


def probe() -> Found:
    """The GPUs where plans run; the modules and their releases are in the remark.

    Raises:
        BackendUnavailable: a module that is installed does not load.
    """
    libraries = [opened(name) for name in installed_modules()]
    count = torch.cuda.device_count()
    targets = ["sm_{}{}".format(*torch.cuda.get_device_capability(i)) for i in range(count)]
    devices = [
        f"cuda:{index}"
        for index, target in enumerate(targets)
        if any(library.serves(target) for library in libraries)
    ]
    if devices:
        versions = ", ".join(f"{library.name} {library.version}" for library in libraries)
        return Found(devices, f"{versions}: runs what `ancestral compile` makes")
    served = "; ".join(
        f"{library.name} {library.version} serves "
        f"{', '.join(library.targets) or 'the GPU that it compiles on'}"
        for library in libraries
    )
    here = ", ".join(targets) or "none"
    return Found([], f"needs a GPU that it serves ({served}), got {here}: {INSTALL}")
