"""PyTorch: the reference. The same programs that are exported, run as they are."""

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from ancestral.bundles.bundle import Bundle
from ancestral.engine.backends.host_arrays import filled, to_device, to_host
from ancestral.engine.backends.programs import load_weights, program_of
from ancestral.engine.budget import HOST_BUDGET, rows_in_block
from ancestral.engine.noise import Noise
from ancestral.engine.session import Array
from ancestral.errors import BackendUnavailable, InvalidInput
from ancestral.signature import GraphSignature
from ancestral.train.models.families import Model
from ancestral.train.models.graphs import AutoregressiveProgram
from ancestral.train.models.precision import DTYPES, narrow
from ancestral.train.models.program import Program
from ancestral.train.models.transformer import Transformer
from ancestral.triton_kernels.in_place import in_place


class TorchBackend:
    """PyTorch on the CPU or on CUDA, in the bundle's type; TF32 is off, for the whole process."""

    name = "torch"
    room = HOST_BUDGET

    def __init__(
        self,
        bundle: Bundle,
        *,
        device: str,
        threads: int | None,
        model: Model | None = None,
    ) -> None:
        """Build the model and load its weights from the bundle.

        Args:
            bundle: holds the weights.
            device: cpu, or cuda with an index.
            threads: of the whole process, as PyTorch has it.
            model: of a class of the user's own; the bundle's weights are loaded into it.

        Raises:
            BackendUnavailable: PyTorch has no such device.
            BundleError: the weights are not this model's.
        """
        if device != "cpu" and not torch.cuda.is_available():
            raise BackendUnavailable(f"device {device!r}: PyTorch sees no CUDA GPU here")
        if threads is not None:
            torch.set_num_threads(threads)
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False
        self.device, self.dtype = device, bundle.manifest.dtype
        self._threads = threads
        self._bundle = bundle
        loaded = narrow(load_weights(bundle, model), DTYPES[self.dtype])
        self._model = loaded.to(device).eval()

    def session(self, graph: str) -> "TorchSession":
        """The program of a graph of the bundle.

        Raises:
            BundleError: the bundle has no such graph.
        """
        program, signature = program_of(graph, self._bundle, self._model)
        return TorchSession(program, signature, self.device)

    def of(self, bundle: Bundle) -> "TorchBackend":
        return TorchBackend(bundle, device=self.device, threads=self._threads)


@dataclass(frozen=True, slots=True)
class TorchSession:
    """One program over the model."""

    program: Program
    signature: GraphSignature
    device: str

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        given = self.signature.inputs
        tensors = [to_device(inputs[spec.name], spec, self.device) for spec in given]
        with torch.no_grad():
            outputs = self.program(*tensors)
        named = zip(self.signature.outputs, outputs, strict=True)
        return {spec.name: to_host(tensor, spec) for spec, tensor in named}

    def bind(self, sizes: Mapping[str, int]) -> "TorchBinding":
        return TorchBinding(self, sizes)


class TorchBinding:
    """The tensors of a loop, by name."""

    def __init__(self, session: TorchSession, sizes: Mapping[str, int]) -> None:
        """Allocate; carried tensors start at their initial values."""
        self._owner = session
        initial = {pair.input: pair.initial for pair in session.signature.carried}
        self._state: dict[str, Tensor] = {
            spec.name: filled(
                spec.shape(sizes),
                initial.get(spec.name, 0.0),
                getattr(torch, spec.dtype),
                session.device,
            )
            for spec in session.signature.inputs
            if spec.name != "offsets"
        }

    def write(self, name: str, array: Array, rows: slice | None = None) -> None:
        target = self._tensor(name)[slice(None) if rows is None else rows]
        host = self._owner.signature.input(name).host
        if array.shape != target.shape or array.dtype != host:
            raise InvalidInput(
                f"tensor: expected {host} {tuple(target.shape)}, got {array.dtype} {array.shape}"
            )
        target.copy_(torch.tensor(array))

    def read(self, name: str) -> Array:
        return to_host(self._tensor(name), self._owner.signature.input(name))

    def draw_from(self, noise: Noise) -> None:
        u = self._tensor("u")
        self.write("u", noise.uniforms(*u.shape))

    def gather(self, rows: Array) -> None:
        index = torch.tensor(rows, device=self._owner.device)
        for pair in self._owner.signature.carried:
            self._state[pair.input] = self._tensor(pair.input)[index]

    def run(self, steps: int = 1, *, block: int = 1) -> None:
        signature, program = self._owner.signature, self._owner.program
        assert isinstance(program, AutoregressiveProgram)
        if program.model.takes_blocks:
            self._state["offsets"] = torch.arange(block, device=self._owner.device)
        outputs = [spec.name for spec in signature.outputs]
        size = len(self._tensor(signature.carried[0].input))
        rows = size if block == 1 else rows_in_block(block, program.model.data.levels)
        # A class of the user's own may read a cache that it appended to; ours does not.
        appends = in_place() if type(program.model) is Transformer else nullcontext()
        with torch.no_grad(), appends:
            for _ in range(steps):
                parts = [
                    program(*self._inputs(slice(start, start + rows)))
                    for start in range(0, size, rows)
                ]
                named = dict(zip(outputs, zip(*parts, strict=True), strict=True))
                for pair in signature.carried:
                    old, new = self._state[pair.input], named[pair.output]
                    if new[0].data_ptr() != old.data_ptr():
                        self._state[pair.input] = new[0] if len(new) == 1 else torch.cat(new)

    def _inputs(self, rows: slice) -> list[Tensor]:
        return [
            self._state[spec.name] if spec.name == "offsets" else self._state[spec.name][rows]
            for spec in self._owner.signature.inputs
        ]

    def _tensor(self, name: str) -> Tensor:
        if name not in self._state:
            raise InvalidInput(f"tensor: expected one of {sorted(self._state)}, got {name!r}")
        return self._state[name]
