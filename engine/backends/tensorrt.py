"""TensorRT backend: runs the plans that `ancestral compile` made, many steps per launch.

It serves both modules, `tensorrt` and `tensorrt_rtx`. The GPU's memory, streams and CUDA graphs are
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
        weights: bytes of the engines' weights.
        scratch: bytes of the memory in which their layers compute.
        tensors: bytes of the given and carried tensors of bound loops.
    """

    weights: int
    scratch: int
    tensors: int


class TensorRtBackend:
    """Plans of a bundle on one GPU. Create one with `TensorRtBackend.open`."""

    name = "tensorrt"
    fills = False

    def __init__(
        self, bundle: Bundle, library: Library, target: str, lane: CudaLane, store: PlanStore
    ) -> None:
        """Create a backend from parts that match.

        Args:
            bundle: bundle that holds the graphs.
            library: library that runs their plans.
            target: GPU that the plans must be compiled for, as in `PlanKey.targets`.
            lane: lane in which they run.
            store: store that holds them.
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
        """Find the GPU and the module that serves it, and open the backend.

        Args:
            bundle: bundle that holds the graphs.
            device: "cuda" or "cuda:N".
            threads: not used, because the GPU computes.
            options: not used; the backend takes no options.
            store: store of plans; None means the user's own.

        Raises:
            BackendUnavailable: there is no such GPU, or no module that serves it.
            PlanError: the folder of plans is not private to the user.
        """
        gpu = gpu_of(device)
        store = PlanStore() if store is None else store
        weights = bundle.manifest.files[bundle.manifest.weights].sha256
        library = preferred(gpu.target, store.modules(weights))
        target = gpu.target if library.targets else gpu.itself
        return cls(bundle, library, target, CudaLane(device), store)

    @property
    def room(self) -> Budget:
        """Half of the GPU's free memory, and the rows that plans of loaded step graphs take."""
        most = [
            session.plans.most_rows()
            for session in tuple(self._sessions.values())
            if any(spec.name == OBSERVED for spec in session.signature.inputs)
        ]
        return Budget(self._lane.free() // 2, min(most, default=HOST_BUDGET.rows))

    @property
    def memory(self) -> GpuMemory:
        """Bytes of the GPU's memory that plans and loops take."""
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
            PlanError: no plan of the graph runs here; the message has the command that makes one.
        """
        bundle, library = self._bundle, self._library
        here = {"module": library.name, "version": library.version, "targets": (self._target,)}
        wanted = PlanKey.of_graph(bundle, graph, **here)
        choice = PlanChoice(wanted, tuple(self._store.records()[0]), bundle.path)
        signature = bundle.manifest.graphs[graph].signature
        plans = GraphPlans(signature, choice, self._store, library, self._lane)
        self._sessions[graph] = TensorRtSession(plans, bundle.manifest.data.levels)
        return self._sessions[graph]

    def threads(self, rows: int) -> int | None:
        return None

    def of(self, bundle: Bundle) -> "TensorRtBackend":
        return TensorRtBackend(bundle, self._library, self._target, self._lane, self._store)


def gpu_of(device: str) -> Gpu:
    """Return the GPU of a device, as plans are compiled for it.

    Raises:
        BackendUnavailable: there is no such GPU, or no TensorRT module is installed.
    """
    if device == "cpu":
        raise BackendUnavailable("backend 'tensorrt' runs on a CUDA GPU; pass device 'cuda'")
    if not installed_modules():
        raise BackendUnavailable(
            f"backend 'tensorrt' needs the tensorrt or tensorrt_rtx package: {INSTALL}"
        )
    if not torch.cuda.is_available():
        raise BackendUnavailable(
            f"device {device!r}: PyTorch finds no CUDA GPU on this machine; use backend 'torch' or "
            f"'onnxruntime' on device 'cpu'"
        )
    index = torch.device(device).index or 0
    if index >= torch.cuda.device_count():
        count = torch.cuda.device_count()
        raise BackendUnavailable(
            f"device {device!r}: PyTorch finds no such CUDA GPU; pass cuda:N with N < {count}"
        )
    major, minor = torch.cuda.get_device_capability(index)
    drivers = [gpu.driver for gpu in gpus()]
    return Gpu(
        name=torch.cuda.get_device_name(index),
        target=f"sm_{major}{minor}",
        memory=f"{torch.cuda.mem_get_info(index)[1] // 2**20} MiB",
        driver=drivers[0] if drivers else "unknown",
    )


def probe() -> Found:
    """Return the GPUs on which plans run; the remark has the modules and their releases.

    Raises:
        BackendUnavailable: an installed module does not load.
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
        return Found(devices, f"{versions}: runs plans that `ancestral compile` makes")
    served = "; ".join(
        f"{library.name} {library.version} serves "
        f"{', '.join(library.targets) or 'the GPU that it compiles on'}"
        for library in libraries
    )
    here = ", ".join(targets) or "no GPU"
    return Found([], f"needs a supported GPU ({served}), got {here}: {INSTALL}")
