"""One graph in ONNX Runtime: run once, or bound to a loop that appends to its caches in place.

ONNX Runtime does not know that an input and an output share memory, and reads in its own order.
Only pairs that the signature calls an append share a buffer, because their operator writes no slot
that another node still reads. Each other carried pair has two buffers that take turns.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime as ort

from ancestral.engine.budget import FEATURES, positions_in_block, rows_in_block
from ancestral.engine.noise import Noise
from ancestral.engine.session import Array, Part, Session, check_part, pieces, tensor_of, turns
from ancestral.errors import AncestralError, BundleError, InvalidInput
from ancestral.signature import GraphSignature, TensorSpec, Update
from ancestral.step_tensors import OFFSETS, POSITION, U

_LONGEST_REASON = 500
"""Characters of ONNX Runtime's message that an error repeats."""
_MEMORY = re.compile("bad_alloc|[Aa]llocat")


@dataclass(frozen=True, slots=True)
class OnnxRuntimeSession:
    """One graph in one InferenceSession."""

    session: Any
    signature: GraphSignature
    device: str
    levels: int
    file: str

    def __post_init__(self) -> None:
        """Compare the graph with its signature.

        Raises:
            BundleError: the names of its inputs or outputs differ.
        """
        for side, values, specs in (
            ("inputs", self.session.get_inputs(), self.signature.inputs),
            ("outputs", self.session.get_outputs(), self.signature.outputs),
        ):
            got, expected = [value.name for value in values], [spec.name for spec in specs]
            if got != expected:
                raise BundleError(
                    f"{self.file}: expected {side} {expected}, got {got}; export the model again"
                )

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run once.

        Raises:
            BundleError: ONNX Runtime fails, or an output does not match the signature.
            InvalidInput: there is not enough memory.
        """
        names = [spec.name for spec in self.signature.outputs]
        try:
            found = self.session.run(names, dict(inputs))
        except Exception as error:
            raise in_words(self.file, "cannot run it", error) from error
        sizes: dict[str | int, int] = {}
        for spec in self.signature.inputs:
            sizes.update(zip(spec.axes, inputs[spec.name].shape, strict=False))
        for spec, array in zip(self.signature.outputs, found, strict=True):
            expected = tuple(sizes.get(axis, axis) for axis in spec.axes)
            if array.shape != expected or array.dtype != spec.host:
                raise BundleError(
                    f"{self.file}: expected output {spec.name} to be {spec.dtype} "
                    f"{list(expected)}, got {array.dtype} {list(array.shape)}; export the model "
                    f"again"
                )
        return dict(zip(names, found, strict=True))

    def bind(self, sizes: Mapping[str, int]) -> "OnnxRuntimeBinding":
        """Allocate the tensors of a loop.

        Raises:
            InvalidInput: there is not enough memory.
        """
        try:
            return OnnxRuntimeBinding(self, sizes)
        except (MemoryError, ValueError, RuntimeError) as error:
            if isinstance(error, AncestralError):
                raise
            raise in_words(self.file, "cannot hold its tensors", error) from error


class OnnxRuntimeBinding:
    """The tensors of a loop, and the prepared bindings that take turns over them."""

    def __init__(self, session: OnnxRuntimeSession, sizes: Mapping[str, int]) -> None:
        """Allocate the tensors; carried ones start at their initial values."""
        self._owner, self._signature = session, session.signature
        self._rows = sizes["b"]
        self._turn = 0
        self._prepared: dict[tuple[int, int, int, int], Any] = {}
        self._run = session.session.run_with_iobinding
        self._takes_blocks = any(spec.name == OFFSETS for spec in self._signature.given)
        given = {
            spec.name: _Buffer(spec, sizes, session.device)
            for spec in self._signature.given
            if spec.name != OFFSETS
        }
        # The inputs of each of the two turns.
        self._buffers = (given, dict(given))
        for pair in self._signature.carried:
            spec = self._signature.input(pair.input)
            first = second = _Buffer(spec, sizes, session.device, pair.initial)
            if pair.update is Update.REPLACE:
                second = _Buffer(spec, sizes, session.device, pair.initial)
            self._buffers[0][pair.input], self._buffers[1][pair.input] = first, second

    def write(self, name: str, array: Array, part: Part | None = None) -> None:
        tensor_of(self._buffers[self._turn], name).write(array, part)

    def read(self, name: str, part: Part | None = None) -> Array:
        return tensor_of(self._buffers[self._turn], name).read(part)

    def copy(self, name: str, source: Part, target: Part) -> None:
        tensor_of(self._buffers[self._turn], name).copy(source, target)

    def draw_from(self, noise: Noise) -> None:
        shape = self._signature.input(U).shape({"b": self._rows})
        self.write(U, noise.uniforms(*shape))

    def gather(self, rows: Array) -> None:
        for pair in self._signature.carried:
            self.write(pair.input, self.read(pair.input)[rows])

    def run(self, steps: int = 1, *, block: int = 1, rows: slice | None = None) -> None:
        some = slice(0, self._rows) if rows is None else rows
        try:
            if block > 1:
                taken = self._run_block(steps, block, some)
            else:
                both = [self._binding(turn, 1, some) for turn in (self._turn, 1 - self._turn)]
                for step in range(steps):
                    self._run(both[step % 2])
                taken = steps
        except AncestralError:
            raise
        except Exception as error:
            raise in_words(self._owner.file, "cannot run it", error) from error
        if taken % 2 and rows is None:
            self._turn = 1 - self._turn
        elif taken % 2:
            self._move_back(some, self._signature)

    def fill(self, session: Session, position: int, block: int, rows: slice) -> None:
        assert isinstance(session, OnnxRuntimeSession)
        try:
            for some, start, size in pieces(rows, block, FEATURES):
                at = np.full(some.stop - some.start, position + start, np.int64)
                self.write(POSITION, at, some)
                session.session.run_with_iobinding(self._filling(session, size, some))
                self._move_back(some, session.signature)
        except AncestralError:
            raise
        except Exception as error:
            raise in_words(session.file, "cannot run it", error) from error

    def _filling(self, session: "OnnxRuntimeSession", block: int, rows: slice) -> Any:
        """Bind the graph `prefill` to some rows of this loop's tensors."""
        binding = session.session.io_binding()
        now, later = self._buffers[self._turn], self._buffers[1 - self._turn]
        for spec in session.signature.inputs:
            if spec.name != OFFSETS:
                binding.bind_input(spec.name, *now[spec.name].place(rows))
        for pair in session.signature.carried:
            binding.bind_output(pair.output, *later[pair.input].place(rows))
        binding.bind_cpu_input(OFFSETS, np.arange(block))
        return binding

    def _run_block(self, steps: int, block: int, rows: slice) -> int:
        """Run few rows at a time, or a long block in pieces, so that logits take bounded memory.

        Returns:
            The number of turns that each row took.
        """
        most = min(rows.stop - rows.start, rows_in_block(block, self._owner.levels))
        # Several rows must take the block whole: over a cache that is not empty,
        # GroupQueryAttention takes more than one position for a single row only.
        piece = block if most > 1 else positions_in_block(block, self._owner.levels)
        pieces = [part.stop - part.start for part in turns(slice(0, block), piece)]
        taken = 0
        for _ in range(steps):
            for some in turns(rows, most):
                for number, size in enumerate(pieces):
                    self._run(self._binding((self._turn + taken + number) % 2, size, some))
            taken += len(pieces)
        return taken

    def _move_back(self, rows: slice, signature: GraphSignature) -> None:
        """Copy what some rows wrote in the other turn into this one, where all other rows are."""
        for pair in signature.carried:
            if pair.update is Update.REPLACE:
                written = self._buffers[1 - self._turn][pair.input]
                self._buffers[self._turn][pair.input].write(written.read(rows), rows)

    def _binding(self, turn: int, block: int, rows: slice) -> Any:
        if block > 1 and rows.stop - rows.start < self._rows:
            # There are too many blocks of some rows to keep a binding of each.
            return self._prepare(turn, block, rows)
        key = (turn, block, rows.start, rows.stop)
        if key not in self._prepared:
            self._prepared[key] = self._prepare(turn, block, rows)
        return self._prepared[key]

    def _prepare(self, turn: int, block: int, rows: slice) -> Any:
        binding = self._owner.session.io_binding()
        for name, buffer in self._buffers[turn].items():
            binding.bind_input(name, *buffer.place(rows))
        for pair in self._signature.carried:
            binding.bind_output(pair.output, *self._buffers[1 - turn][pair.input].place(rows))
        if self._takes_blocks:
            binding.bind_cpu_input(OFFSETS, np.arange(block))
        return binding


class _Buffer:
    """One tensor at a fixed address: a numpy array on the CPU, an OrtValue elsewhere."""

    def __init__(
        self, spec: TensorSpec, sizes: Mapping[str, int], device: str, initial: float = 0.0
    ) -> None:
        self._spec, self._shape, self._dtype = spec, spec.shape(sizes), spec.host
        # Zeros take memory only where a loop writes.
        # A value beyond float16, for example -1e9, becomes infinite.
        with np.errstate(over="ignore"):
            shape, dtype = self._shape, self._dtype
            host = np.full(shape, initial, dtype) if initial else np.zeros(shape, dtype)
        kind, _, index = device.partition(":")
        self._place = (kind, int(index or 0))
        self._value: Any = host
        if kind != "cpu":
            self._value = ort.OrtValue.ortvalue_from_numpy(host, *self._place)

    def write(self, array: Array, part: Part | None = None) -> None:
        host = self._value if self._place[0] == "cpu" else self.read()
        target = host[slice(None) if part is None else part]
        check_part(self._spec.name, array, target.shape, self._dtype)
        target[:] = array
        if self._place[0] != "cpu":
            self._value.update_inplace(host)

    def read(self, part: Part | None = None) -> Array:
        some = slice(None) if part is None else part
        if self._place[0] == "cpu":
            return self._value[some].copy()  # type: ignore[no-any-return]
        return self._value.numpy()[some]  # type: ignore[no-any-return]

    def copy(self, source: Part, target: Part) -> None:
        if self._place[0] == "cpu":
            self._value[target] = self._value[source]
        else:
            self.write(self.read(source), target)

    def place(self, rows: slice) -> tuple[Any, ...]:
        """Return device, type, shape and address of some rows, which are contiguous."""
        address = self._value.ctypes.data if self._place[0] == "cpu" else self._value.data_ptr()
        dtype, count = self._dtype, rows.stop - rows.start
        stride = dtype.itemsize * int(np.prod(self._shape[1:]))
        shape = (count, *self._shape[1:])
        return *self._place, dtype, shape, address + rows.start * stride


def in_words(file: str, what: str, error: Exception) -> AncestralError:
    """Return one of our errors for an error that ONNX Runtime or numpy raised.

    Args:
        file: file of the graph.
        what: what ONNX Runtime did not do, for the message.
        error: error that was raised.
    """
    reason = " ".join(str(error).split())[:_LONGEST_REASON]
    if isinstance(error, MemoryError) or _MEMORY.search(reason):
        return InvalidInput(
            f"{file}: not enough memory for the tensors ({reason}); use smaller batches"
        )
    return BundleError(
        f"{file}: ONNX Runtime {what} ({reason}); use another backend, or export the model again"
    )
