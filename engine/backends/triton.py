"""Triton backend: runs the PyTorch modules on our own kernels, many steps per launch.

Without a GPU, in a process started with TRITON_INTERPRET=1, the same code runs on the CPU with
interpreted kernels: slow, but enough to test them.

A step is about thirty kernels of one to a few microseconds each; launching them one by one would
take the host longer than the GPU needs to run them. A CUDA graph of STEPS steps is launched in 10
to 20 microseconds, so the launch takes under 5% of the time if a step takes 25 microseconds or
more. Inside a graph nothing is allocated and nothing waits for the host.
"""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

import torch
import triton

from ancestral.engine.backends.cuda_graphs import CudaGraphs, launches
from ancestral.engine.backends.entry import Found, TritonOptions, check_release
from ancestral.engine.backends.torch import TorchBackend, TorchBinding, TorchSession
from ancestral.engine.budget import HOST_BUDGET, Budget
from ancestral.engine.noise import Noise
from ancestral.engine.session import Array, Part
from ancestral.errors import BackendUnavailable
from ancestral.philox import seed_key
from ancestral.signature import Update
from ancestral.step_tensors import POSITION, U
from ancestral.triton_kernels.operators import table
from ancestral.triton_kernels.overridable import Kernels, Seeds, turn
from ancestral.triton_kernels.sample_token.kernel import LARGEST

_OLDEST = (3, 6)
_CAPABILITY = (8, 0)
"""Compute capability of the oldest supported GPUs (Ampere)."""
_MOST_ROWS = 4096
"""Largest number of rows of a batch on a GPU."""


class TritonBackend(TorchBackend):
    """Our kernels on a CUDA GPU, or interpreted. Turns TF32 off for the whole process."""

    name = "triton"

    @staticmethod
    def check_device(device: str) -> None:
        """Check that this machine can run the kernels on the device.

        Raises:
            BackendUnavailable: it cannot; the message says what is missing.
        """
        check_release("triton", _OLDEST, triton.__version__)
        interpreted = bool(triton.knobs.runtime.interpret)
        if device == "cpu" and not interpreted:
            raise BackendUnavailable(
                "backend 'triton' runs on a CUDA GPU; pass device 'cuda' (on the CPU its kernels "
                "are interpreted, slowly, in a process started with TRITON_INTERPRET=1)"
            )
        if device != "cpu" and interpreted:
            raise BackendUnavailable(
                f"device {device!r}: TRITON_INTERPRET=1 interprets the kernels, on the CPU only; "
                f"unset it, or pass device 'cpu'"
            )
        TorchBackend.check_device(device)
        if device != "cpu" and torch.cuda.get_device_capability(device) < _CAPABILITY:
            name = torch.cuda.get_device_name(device)
            raise BackendUnavailable(
                f"device {device!r}: expected a GPU of compute capability 8.0 or newer (Ampere), "
                f"got {name}; use backend 'torch' or 'onnxruntime'"
            )

    @property
    def room(self) -> Budget:
        """Half of the GPU's free memory; the other half is for logits and CUDA graphs."""
        if self.device == "cpu":
            return HOST_BUDGET
        free, _ = torch.cuda.mem_get_info(self.device)
        return Budget(free // 2, _MOST_ROWS)

    def session(self, graph: str) -> "TritonSession":
        assert isinstance(self._options, TritonOptions)
        return TritonSession(*self._program(graph), self._options.batch_invariant)


@dataclass(frozen=True, slots=True)
class TritonSession(TorchSession):
    """One program over the model, on our kernels.

    Attributes:
        batch_invariant: whether the bits of a row must not depend on its batch.
    """

    batch_invariant: bool

    def bind(self, sizes: Mapping[str, int]) -> "TritonBinding":
        return TritonBinding(self, sizes)

    @contextmanager
    def kernels(self, seeds: Seeds | None = None) -> Iterator[None]:
        """Run our kernels within this context; with seeds, they draw from them instead of u."""
        kernels = Kernels(table(seeds, batch_invariant=self.batch_invariant))
        with turn(self.device), kernels:
            yield


class TritonBinding(TorchBinding):
    """The tensors of a loop at fixed addresses, and the graphs that were captured over them."""

    fixed = True

    def __init__(self, session: TritonSession, sizes: Mapping[str, int]) -> None:
        """Allocate the tensors; carried ones start at their initial values."""
        super().__init__(session, sizes)
        self._seeds = Seeds(
            torch.zeros(3, dtype=torch.int64, device=session.device),
            torch.zeros(self._rows, dtype=torch.int64, device=session.device),
        )
        self._seeded = False
        self._drawing_by = session.kernels
        self._graphs = CudaGraphs(session.device)

    def write(self, name: str, array: Array, part: Part | None = None) -> None:
        super().write(name, array, part)
        if name == U:
            self._seeded = False

    def draw_from(self, noise: Noise) -> None:
        """Draw from seeds if the drawing kernel can make its own uniforms, otherwise from u."""
        if not self._program.settings or self._program.model.data.levels > LARGEST:
            super().draw_from(noise)
            return
        noise.check(self._rows)
        self._seeds.key.copy_(torch.tensor([*seed_key(noise.seed), noise.stream]))
        self._seeds.index.copy_(torch.from_numpy(noise.indices(self._rows)))
        self._seeded = True

    def run(self, steps: int = 1, *, block: int = 1, rows: slice | None = None) -> None:
        if block > 1 or rows is not None or self._session.device == "cpu":
            super().run(steps, block=block, rows=rows)
            return
        for count in launches(steps):
            self._launch(count)

    def _kernels(self, rows: slice) -> AbstractContextManager[object]:
        seeds = Seeds(self._seeds.key, self._seeds.index[rows]) if self._seeded else None
        return self._drawing_by(seeds)

    def _launch(self, steps: int) -> None:
        """Launch the CUDA graph of `steps` steps."""

        def work() -> None:
            for _ in range(steps):
                self._step(slice(0, self._rows), 1)

        self._graphs.launch((self._seeded, steps), work, self.idle_step)

    def idle_step(self) -> None:
        """Run a step that does not change what is drawn, whenever it is run.

        All rows are put at the end of the event. What the step writes there, each row writes again
        before it reads it. Tensors without a slot for each position are restored after the step.
        """
        model = self._program.model
        slots = {
            entry.name
            for entry in model.cache_spec
            if entry.update is Update.APPEND and entry.axes[entry.axis] == model.data.length
        }
        carried = {pair.input for pair in self._signature.carried}
        kept = {name: self._tensors[name].clone() for name in carried - slots}
        self._tensors[POSITION].fill_(model.data.length)
        self._step(slice(0, self._rows), 1)
        for name, tensor in kept.items():
            self._put(name, tensor)


def probe() -> Found:
    """Return the GPUs that PyTorch sees and that can run the kernels.

    Raises:
        BackendUnavailable: Triton is too old.
    """
    check_release("triton", _OLDEST, triton.__version__)
    count = torch.cuda.device_count()
    served = [i for i in range(count) if torch.cuda.get_device_capability(i) >= _CAPABILITY]
    needs = "needs a CUDA GPU of compute capability 8.0 (Ampere) or newer"
    return Found([f"cuda:{index}" for index in served], "" if served else needs)
