"""ONNX Runtime backend: runs the bundle's graphs as they are, on the CPU or on CUDA."""

from functools import partial

import onnxruntime as ort

from ancestral import parity
from ancestral.bundles.bundle import Bundle
from ancestral.engine.backends.entry import Found, NoOptions, check_release
from ancestral.engine.backends.measured_threads import MeasuredSession, MeasuredThreads
from ancestral.engine.backends.onnxruntime_session import OnnxRuntimeSession, in_words
from ancestral.engine.budget import HOST_BUDGET
from ancestral.engine.session import Session
from ancestral.engine.thread_choice import ThreadKey, ThreadStore
from ancestral.errors import BackendUnavailable
from ancestral.step_tensors import STEP_GRAPHS
from ancestral.threads import ThreadCount

_OLDEST = (1, 25)
"""The first release whose CPU provider runs opset 24's TensorScatter."""
_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
"""Execution provider for each kind of device."""


class OnnxRuntimeBackend:
    """ONNX Runtime on the CPU; or on CUDA, with tensors bound on the device and TF32 off.

    On the CPU, operators of a float16 bundle that have no float16 kernel run in float32.
    """

    name = "onnxruntime"
    room = HOST_BUDGET
    fills = True

    def __init__(
        self, bundle: Bundle, *, device: str, threads: ThreadCount, options: NoOptions
    ) -> None:
        """Check that the installed onnxruntime can run the bundle on the device.

        Args:
            bundle: bundle that holds the graphs.
            device: "cpu", "cuda" or "cuda:N".
            threads: number of threads of each graph; None lets ONNX Runtime choose. "measure"
                measures it for the steps, and lets ONNX Runtime choose for the other graphs.
            options: not used; the backend takes no options.

        Raises:
            BackendUnavailable: the installed onnxruntime is too old, has no such device, or does
                not compute in the bundle's type.
        """
        check_release(self.name, _OLDEST, ort.__version__)
        self.device, self.dtype = device, bundle.manifest.dtype
        if self.dtype not in parity.dtypes(self.name):
            raise BackendUnavailable(
                f"{bundle.path}: expected a bundle of float32 or float16 for backend "
                f"'onnxruntime', got {self.dtype}; use backend 'torch', 'triton' or 'tensorrt', or "
                f"export the model in float16"
            )
        self._bundle, self._threads, self._options = bundle, threads, options
        self._provider = _PROVIDERS[device.partition(":")[0]]
        if self._provider not in ort.get_available_providers():
            raise BackendUnavailable(
                f"device {device!r} needs the onnxruntime-gpu package: "
                f"pip uninstall onnxruntime && pip install 'ancestral[gpu]'"
            )
        self._count = None if isinstance(threads, str) else threads
        self._measured = None
        if isinstance(threads, str) and "step" in bundle.manifest.graphs:
            self._measured = MeasuredThreads(
                lambda rows: ThreadKey.here(
                    bundle.manifest.sha256, rows, f"onnxruntime {ort.__version__}"
                ),
                partial(self._loaded, "step"),
                bundle.manifest.data.length,
                ThreadStore.of_user(),
            )

    def session(self, graph: str) -> Session:
        """Load a graph; one whose threads are measured is loaded when its batch is known.

        Threads can be measured for the step graphs; the number that suits `step` is used for all.

        Raises:
            BundleError: the bundle has no such graph, or ONNX Runtime refuses the file.
            BackendUnavailable: the device could not be used.
        """
        if self._measured is not None and graph in STEP_GRAPHS:
            # An error about a graph that does not exist must come now.
            self._bundle.graph_name(graph, "portable")
            signature = self._bundle.manifest.graphs[graph].signature
            return MeasuredSession(signature, self._measured, partial(self._loaded, graph))
        return self._loaded(graph, self._count)

    def threads(self, rows: int) -> int | None:
        if self._measured is not None:
            return self._measured.of(rows)
        return self._count

    def _loaded(self, graph: str, threads: int | None) -> OnnxRuntimeSession:
        """Load a graph with a number of threads.

        Raises:
            BundleError: ONNX Runtime refuses the file.
            BackendUnavailable: the device could not be used.
        """
        # GroupQueryAttention has no fp32 kernel on CUDA.
        form = "onnxruntime" if self.device == "cpu" else "portable"
        name = self._bundle.graph_name(graph, form)
        file = self._bundle.file(name)
        options = ort.SessionOptions()
        # ONNX Runtime must not print: the errors that it raises have the same text.
        options.log_severity_level = 4
        # Small weights of 8 and 4 bits are dequantised once, when the graph is loaded. ONNX Runtime
        # (1.31) otherwise keeps each DequantizeLinear for kernels that it does not have here.
        options.add_session_config_entry("session.disable_quant_qdq", "1")
        if threads is not None:
            options.intra_op_num_threads = threads
        signature = self._bundle.manifest.graphs[graph].signature
        if graph not in STEP_GRAPHS:
            # The threads of a session spin for a while after a run; those of a graph that runs
            # rarely would take the cores from the next session.
            options.add_session_config_entry("session.force_spinning_stop", "1")
        with self._bundle.reading(name, self._bundle.manifest.weights):
            try:
                session = ort.InferenceSession(
                    file, options, providers=[self._provider_options()], enable_fallback=0
                )
            except Exception as error:
                raise in_words(str(file), "refuses it", error) from error
        if session.get_providers()[0] != self._provider:
            raise BackendUnavailable(
                f"device {self.device!r}: ONNX Runtime cannot use it, only "
                f"{session.get_providers()}; check the GPU's driver and the CUDA libraries, or "
                f"pass device 'cpu'"
            )
        levels = self._bundle.manifest.data.levels
        return OnnxRuntimeSession(session, signature, self.device, levels, str(file))

    def of(self, bundle: Bundle) -> "OnnxRuntimeBackend":
        return OnnxRuntimeBackend(
            bundle, device=self.device, threads=self._threads, options=self._options
        )

    def _provider_options(self) -> tuple[str, dict[str, str]]:
        if self.device == "cpu":
            return self._provider, {}
        index = self.device.partition(":")[2] or "0"
        return self._provider, {"device_id": index, "use_tf32": "0"}


def probe() -> Found:
    """Return the kinds of devices of the installed onnxruntime.

    Raises:
        BackendUnavailable: it is too old.
    """
    check_release("onnxruntime", _OLDEST, ort.__version__)
    there = ort.get_available_providers()
    return Found([kind for kind, provider in _PROVIDERS.items() if provider in there])
