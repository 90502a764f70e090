"""Triton: the torch modules on our own kernels, many steps a launch.

Without a GPU, in a process that was started with TRITON_INTERPRET=1, the same code runs on the CPU
with the kernels interpreted: slow, and a proof.
"""

import torch
import triton

from ancestral.bundles.bundle import Bundle
from ancestral.engine.backends.programs import load_weights, program_of
from ancestral.engine.backends.triton_session import TritonSession
from ancestral.engine.budget import HOST_BUDGET, Budget
from ancestral.errors import BackendUnavailable, InvalidInput
from ancestral.train.models.families import Model
from ancestral.train.models.precision import DTYPES, narrow

OLDEST = (3, 6)
_MOST_ROWS = 4096
"""Of a batch on a GPU."""


class TritonBackend:
    """Our kernels on a CUDA GPU, or interpreted; TF32 is switched off, for the whole process."""

    name = "triton"

    def __init__(
        self,
        bundle: Bundle,
        *,
        device: str,
        threads: int | None,
        dtype: str | None = None,
        batch_invariant: bool = False,
        model: Model | None = None,
    ) -> None:
        """Build the model and load its weights from the bundle.

        Args:
            bundle: holds the weights.
            device: cuda with an index; cpu where Triton interprets.
            threads: of PyTorch's own operators on the CPU.
            dtype: float32, bfloat16 or float16: of weights, caches and activations; the bundle's
                where None. Logits, their softmax and all sums are float32.
            batch_invariant: use our own matrix product for any number of rows: then the bits of a
                row do not depend on the batch that it is in.
            model: of a class of the user's own; the bundle's weights are loaded into it.

        Raises:
            BackendUnavailable: there is no such GPU, or Triton is too old.
            InvalidInput: an unknown dtype.
            BundleError: the weights are not this model's.
        """
        check_here(device)
        dtype = bundle.manifest.dtype if dtype is None else dtype
        if dtype not in DTYPES:
            raise InvalidInput(f"dtype: expected one of {list(DTYPES)}, got {dtype!r}")
        if threads is not None:
            torch.set_num_threads(threads)
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False
        self.device, self.dtype = device, dtype
        self._bundle, self._threads, self._invariant = bundle, threads, batch_invariant
        loaded = narrow(load_weights(bundle, model), DTYPES[dtype])
        self._model = loaded.to(device).eval()

    @property
    def room(self) -> Budget:
        """Half of the GPU's free memory: the other half is for logits and graphs."""
        if self.device == "cpu":
            return HOST_BUDGET
        free, _ = torch.cuda.mem_get_info(self.device)
        return Budget(free // 2, _MOST_ROWS)

    def session(self, graph: str) -> TritonSession:
        """The program of a graph of the bundle.

        Raises:
            BundleError: the bundle has no such graph.
        """
        program, signature = program_of(graph, self._bundle, self._model)
        return TritonSession(program, signature, self.device, DTYPES[self.dtype], self._invariant)

    def of(self, bundle: Bundle) -> "TritonBackend":
        return TritonBackend(
            bundle,
            device=self.device,
            threads=self._threads,
            dtype=self.dtype,
            batch_invariant=self._invariant,
        )


def check_here(device: str) -> None:
    """Refuse a machine that cannot run the kernels.

    Raises:
        BackendUnavailable: with what is missing.
    """
    numbers = tuple(int(part) for part in triton.__version__.split(".")[:2])
    if numbers < OLDEST:
        raise BackendUnavailable(
            f"backend 'triton' needs triton {'.'.join(map(str, OLDEST))} or newer, got "
            f"{triton.__version__}: pip install --upgrade triton"
        )
    interpreted = bool(triton.knobs.runtime.interpret)
    if device == "cpu" and not interpreted:
        raise BackendUnavailable(
            "backend 'triton' runs on a CUDA GPU: device 'cuda'. (On the CPU its kernels are "
            "interpreted, slowly, in a process that is started with TRITON_INTERPRET=1.)"
        )
    if device != "cpu" and interpreted:
        raise BackendUnavailable(
            f"device {device!r}: TRITON_INTERPRET=1 interprets the kernels, on the CPU alone: "
            f"unset it, or take device 'cpu'"
        )
    if device != "cpu" and not torch.cuda.is_available():
        raise BackendUnavailable(f"device {device!r}: PyTorch sees no CUDA GPU here")
    if device != "cpu" and torch.cuda.get_device_capability(device) < (8, 0):
        name = torch.cuda.get_device_name(device)
        raise BackendUnavailable(
            f"device {device!r}: expected a GPU of compute capability 8.0 or newer (Ampere), "
            f"got {name}: take backend 'torch' or 'onnxruntime'"
        )
