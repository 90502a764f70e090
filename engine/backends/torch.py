"""PyTorch backend, the reference: runs the same programs that are exported."""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ancestral.bundles.bundle import Bundle
from ancestral.engine.backends.entry import Found, TorchOptions
from ancestral.engine.backends.programs import load_weights, program_of
from ancestral.engine.backends.tensor_binding import (
    TensorBinding,
    filled,
    initial_tensors,
    keep,
    to_host,
)
from ancestral.engine.budget import FEATURES, HOST_BUDGET, Budget, rows_in_block
from ancestral.engine.session import Array, Session, pieces, turns
from ancestral.errors import BackendUnavailable, InvalidInput
from ancestral.signature import GraphSignature, TensorSpec
from ancestral.step_tensors import OFFSETS, POSITION
from ancestral.train.models.autoregressive import AutoregressiveModel
from ancestral.train.models.precision import DTYPES, narrow
from ancestral.train.models.program import AutoregressiveProgram, Program
from ancestral.train.models.transformer import Transformer
from ancestral.triton_kernels.operators import in_place


class TorchBackend:
    """PyTorch on the CPU or on CUDA, in the bundle's type. Turns TF32 off for the whole process."""

    name = "torch"
    fills = True

    def __init__(
        self,
        bundle: Bundle,
        *,
        device: str,
        threads: int | None,
        options: TorchOptions,
    ) -> None:
        """Build the model and load its weights from the bundle.

        Args:
            bundle: bundle with the weights.
            device: "cpu", "cuda" or "cuda:N".
            threads: number of threads; in PyTorch they are those of the whole process.
            options: checked options.

        Raises:
            BackendUnavailable: there is no such device, or it cannot run the model.
            BundleError: the weights do not fit the model.
            InvalidInput: the bundle is quantised, and `options` has another type than the bundle.
        """
        self.check_device(device)
        if threads is not None:
            torch.set_num_threads(threads)
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False
        self.device, self.dtype = device, options.dtype or bundle.manifest.dtype
        if bundle.manifest.quantisation is not None and self.dtype != bundle.manifest.dtype:
            raise InvalidInput(
                f"dtype: expected {bundle.manifest.dtype} for a bundle with weights in "
                f"{bundle.manifest.quantisation.weights}, whose scales have no other type, got "
                f"{self.dtype}"
            )
        self._bundle, self._threads, self._options = bundle, threads, options
        loaded = narrow(load_weights(bundle, options.model), DTYPES[self.dtype])
        self._model = loaded.to(device).eval()

    @staticmethod
    def check_device(device: str) -> None:
        """Check that this process has the device.

        Raises:
            BackendUnavailable: the device is a GPU, and PyTorch sees no CUDA GPU.
        """
        if device != "cpu" and not torch.cuda.is_available():
            raise BackendUnavailable(
                f"device {device!r}: PyTorch finds no CUDA GPU on this machine; use backend "
                f"'torch' or 'onnxruntime' on device 'cpu'"
            )

    @property
    def room(self) -> Budget:
        return HOST_BUDGET

    def session(self, graph: str) -> "TorchSession":
        """Return a session over the program of a graph.

        Raises:
            BundleError: the bundle has no such graph.
        """
        return TorchSession(*self._program(graph))

    def threads(self, rows: int) -> int | None:
        return self._threads

    def of(self, bundle: Bundle) -> "TorchBackend":
        options = replace(self._options, model=None)
        return type(self)(bundle, device=self.device, threads=self._threads, options=options)

    def _program(self, graph: str) -> tuple[Program, GraphSignature, str, torch.dtype]:
        """Return the arguments of a session."""
        program, signature = program_of(graph, self._bundle, self._model)
        return program, signature, self.device, DTYPES[self.dtype]


@dataclass(frozen=True, slots=True)
class TorchSession:
    """One program over the model.

    Attributes:
        program: program of the graph.
        signature: signature of the graph in the bundle; users see arrays of its types.
        device: "cpu", "cuda" or "cuda:N".
        dtype: type of weights, activations and floating-point caches.
    """

    program: Program
    signature: GraphSignature
    device: str
    dtype: torch.dtype

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        # Copies: a cache may be written in place.
        tensors = {
            spec.name: torch.tensor(inputs[spec.name], device=self.device, dtype=self.stored(spec))
            for spec in self.signature.inputs
        }
        outputs = self.outputs(tensors, self.kernels())
        return {spec.name: to_host(outputs[spec.name], spec) for spec in self.signature.outputs}

    def bind(self, sizes: Mapping[str, int]) -> "TorchBinding":
        return TorchBinding(self, sizes)

    def kernels(self) -> AbstractContextManager[object]:
        """Return a context in which appends are in place if the model allows it."""
        # A user's own model may read a cache after appending to it; our Transformer does not.
        return in_place() if type(self.program.model) is Transformer else nullcontext()

    def outputs(
        self, inputs: Mapping[str, Tensor], kernels: AbstractContextManager[object]
    ) -> dict[str, Tensor]:
        """Run the program, and return its outputs by name."""
        with torch.no_grad(), kernels:
            found = self.program(*(inputs[spec.name] for spec in self.signature.inputs))
        return dict(zip((spec.name for spec in self.signature.outputs), found, strict=True))

    @property
    def numbers(self) -> int:
        """Numbers that a block of the graph `prefill` holds for each position."""
        model = self.program.model
        assert isinstance(model, AutoregressiveModel)
        whole = type(model).extend_cache is AutoregressiveModel.extend_cache
        return max(FEATURES, model.data.levels) if whole else FEATURES

    def stored(self, spec: TensorSpec) -> torch.dtype:
        """Return the dtype of an input on the device; caches have that of the model."""
        cached = isinstance(self.program, AutoregressiveProgram) and (
            spec.name in self.program.cache_names
        )
        if cached and spec.dtype in DTYPES:
            return self.dtype
        found: torch.dtype = getattr(torch, spec.dtype)
        return found


class TorchBinding(TensorBinding):
    """The tensors of a loop over a step program; a step may replace them by its outputs."""

    fixed = False

    def __init__(self, session: TorchSession, sizes: Mapping[str, int]) -> None:
        """Allocate the tensors; carried ones start at their initial values."""
        assert isinstance(session.program, AutoregressiveProgram)
        self._session, self._program = session, session.program
        self._rows = sizes["b"]
        # Whether each tensor has memory of its own, which steps of some rows write into.
        self._apart = False

        def make(spec: TensorSpec, initial: float) -> Tensor:
            return filled(spec.shape(sizes), initial, session.stored(spec), session.device)

        super().__init__(session.signature, initial_tensors(session.signature, make))

    def run(self, steps: int = 1, *, block: int = 1, rows: slice | None = None) -> None:
        levels = self._program.model.data.levels
        some = slice(0, self._rows) if rows is None else rows
        most = self._rows if block == 1 else rows_in_block(block, levels)
        self._take_apart(rows is not None or most < self._rows)
        for _ in range(steps):
            for part in turns(some, most):
                self._step(part, block)

    def fill(self, session: Session, position: int, block: int, rows: slice) -> None:
        assert isinstance(session, TorchSession)
        self._take_apart(True)
        for some, start, size in pieces(rows, block, session.numbers):
            self.write(POSITION, np.full(some.stop - some.start, position + start), some)
            names = (spec.name for spec in session.signature.inputs if spec.name != OFFSETS)
            inputs = {name: self._tensors[name][some] for name in names}
            inputs[OFFSETS] = torch.arange(size, device=self._session.device)
            outputs = session.outputs(inputs, session.kernels())
            keep(inputs, {pair.input: outputs[pair.output] for pair in session.signature.carried})

    def _take_apart(self, apart: bool) -> None:
        """Give each tensor memory of its own before parts of it are written.

        Outputs of a step may share memory between tensors or rows.
        """
        if apart and not self._apart and not self.fixed:
            self._tensors = {name: tensor.clone() for name, tensor in self._tensors.items()}
        self._apart = apart

    def _step(self, rows: slice, block: int) -> None:
        """Run the program over some rows, and store its outputs in their tensors."""
        inputs = {name: tensor[rows] for name, tensor in self._tensors.items()}
        if self._program.model.takes_blocks:
            inputs[OFFSETS] = torch.arange(block, device=self._session.device)
        outputs = self._session.outputs(inputs, self._kernels(rows))
        new = {pair.input: outputs[pair.output] for pair in self._signature.carried}
        if self.fixed or self._apart:
            keep(inputs, new)
        else:
            self._tensors.update(new)

    def _kernels(self, rows: slice) -> AbstractContextManager[object]:
        """Return the context in which this backend runs these rows."""
        return self._session.kernels()


def probe() -> Found:
    """Return the CPU and the GPUs that PyTorch sees."""
    return Found(["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))])
