"""ONNX Runtime: pre-bound loops, caches appended in place, everything else double-buffered.

ONNX Runtime knows nothing of memory that an input and an output share, and reads in its own order:
only what the signature calls an append is bound to one buffer, for its operator writes no slot that
any node still reads.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime as ort

from ancestral.bundles.bundle import Bundle
from ancestral.engine.backends import computes_in
from ancestral.engine.budget import HOST_BUDGET, positions_in_block, rows_in_block
from ancestral.engine.noise import Noise
from ancestral.engine.session import Array
from ancestral.errors import AncestralError, BackendUnavailable, BundleError, InvalidInput
from ancestral.signature import GraphSignature, TensorSpec, Update

_SAID = 500
"""Characters of ONNX Runtime's own words that an error repeats."""
_MEMORY = re.compile("bad_alloc|[Aa]llocat")
OLDEST = (1, 25)
"""The first release whose CPU provider runs opset 24's TensorScatter."""


class OnnxRuntimeBackend:
    """ONNX Runtime on the CPU; or on CUDA, tensors bound on the device, TF32 off.

    Of a float16 bundle it runs in float32 what has no kernel of float16 on the CPU.
    """

    name = "onnxruntime"
    room = HOST_BUDGET

    def __init__(self, bundle: Bundle, *, device: str, threads: int | None) -> None:
        """Check that this runtime can do it.

        Raises:
            BackendUnavailable: the installed onnxruntime is too old, or has no such device, or
                none that computes in the bundle's type.
        """
        _check_version(ort.__version__)
        self.device, self.dtype = device, bundle.manifest.dtype
        if not computes_in(self.name, self.dtype):
            raise BackendUnavailable(
                f"{bundle.path}: expected a bundle of float32 or float16 for backend "
                f"'onnxruntime', got one of {self.dtype}: take backend 'torch', 'triton' or "
                f"'tensorrt', or export the model in float16"
            )
        self._bundle = bundle
        self._threads = threads
        kind = device.partition(":")[0]
        self._provider = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}[kind]
        if self._provider not in ort.get_available_providers():
            raise BackendUnavailable(
                f"device {device!r} needs the {self._provider}, which this onnxruntime has not: "
                f"pip uninstall onnxruntime; pip install 'ancestral[gpu]'"
            )

    def session(self, graph: str) -> "OnnxRuntimeSession":
        """Load a graph.

        Raises:
            BundleError: ONNX Runtime refuses the file.
            BackendUnavailable: the device could not be used.
        """
        # GroupQueryAttention has no fp32 kernel on CUDA.
        form = "onnxruntime" if self.device == "cpu" else "portable"
        name = self._bundle.graph_name(graph, form)
        file = self._bundle.file(name)
        options = ort.SessionOptions()
        # What it would print itself, names of nodes among it, is in the errors that it raises.
        options.log_severity_level = 4
        if self._threads is not None:
            options.intra_op_num_threads = self._threads
        signature = self._bundle.manifest.graphs[graph].signature
        if not signature.carried:
            # Each session has threads of its own, which spin for a while after a run: those of a
            # graph that runs once in a while would take the cores from the next session's.
            options.add_session_config_entry("session.force_spinning_stop", "1")
        with self._bundle.reading(name, self._bundle.manifest.weights):
            try:
                session = ort.InferenceSession(
                    file, options, providers=[self._provider_options()], enable_fallback=0
                )
            except Exception as error:
                raise _in_words(str(file), "refuses it", error) from error
        if session.get_providers()[0] != self._provider:
            raise BackendUnavailable(
                f"device {self.device!r} was asked for, but {session.get_providers()} would run"
            )
        _check_signature(session, signature, str(file))
        return OnnxRuntimeSession(
            session, signature, self.device, self._bundle.manifest.data.levels, str(file)
        )

    def of(self, bundle: Bundle) -> "OnnxRuntimeBackend":
        return OnnxRuntimeBackend(bundle, device=self.device, threads=self._threads)

    def _provider_options(self) -> tuple[str, dict[str, str]]:
        if self.device == "cpu":
            return self._provider, {}
        index = self.device.partition(":")[2] or "0"
        return self._provider, {"device_id": index, "use_tf32": "0"}


@dataclass(frozen=True, slots=True)
class OnnxRuntimeSession:
    """One graph in one InferenceSession."""

    session: Any
    signature: GraphSignature
    device: str
    levels: int
    file: str

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run once.

        Raises:
            BundleError: ONNX Runtime cannot, or an output is not what the signature says.
            InvalidInput: memory ends.
        """
        names = [spec.name for spec in self.signature.outputs]
        try:
            found = self.session.run(names, dict(inputs))
        except Exception as error:
            raise _in_words(self.file, "cannot run it", error) from error
        sizes: dict[str | int, int] = {}
        for spec in self.signature.inputs:
            sizes.update(zip(spec.axes, inputs[spec.name].shape, strict=False))
        for spec, array in zip(self.signature.outputs, found, strict=True):
            expected = tuple(sizes.get(axis, axis) for axis in spec.axes)
            if array.shape != expected or array.dtype != spec.host:
                raise BundleError(
                    f"{self.file}: expected output {spec.name} to be {spec.dtype} "
                    f"{list(expected)}, got {array.dtype} {list(array.shape)}: the graph does not "
                    f"keep its signature"
                )
        return dict(zip(names, found, strict=True))

    def bind(self, sizes: Mapping[str, int]) -> "OnnxRuntimeBinding":
        """Allocate the tensors of a loop.

        Raises:
            InvalidInput: memory ends.
        """
        try:
            return OnnxRuntimeBinding(self, sizes)
        except (MemoryError, ValueError, RuntimeError) as error:
            if isinstance(error, AncestralError):
                raise
            raise _in_words(self.file, "cannot hold its tensors", error) from error


class OnnxRuntimeBinding:
    """The tensors of a loop and the prepared bindings that take turns over them."""

    def __init__(self, session: OnnxRuntimeSession, sizes: Mapping[str, int]) -> None:
        """Allocate; carried tensors start at their initial values."""
        self._owner, self._file = session, session.file
        self._rows = sizes["b"]
        self._turn = 0
        self._prepared: dict[tuple[int, int, int, int], Any] = {}
        self._run = session.session.run_with_iobinding
        signature = session.signature
        self._offsets: dict[int, _Buffer] = {}
        self._buffers: dict[str, tuple[_Buffer, _Buffer]] = {}
        for spec in signature.given:
            if spec.name != "offsets":
                buffer = _Buffer(spec, sizes, session.device)
                self._buffers[spec.name] = (buffer, buffer)
        for pair in signature.carried:
            spec = signature.input(pair.input)
            first = _Buffer(spec, sizes, session.device, pair.initial)
            second = first
            if pair.update is Update.REPLACE:
                second = _Buffer(spec, sizes, session.device, pair.initial)
            self._buffers[pair.input] = (first, second)

    def write(self, name: str, array: Array, rows: slice | None = None) -> None:
        self._buffer(name).write(array, rows)

    def read(self, name: str) -> Array:
        return self._buffer(name).read()

    def draw_from(self, noise: Noise) -> None:
        shape = self._owner.signature.input("u").shape({"b": self._rows})
        self.write("u", noise.uniforms(*shape))

    def gather(self, rows: Array) -> None:
        for pair in self._owner.signature.carried:
            buffer = self._buffer(pair.input)
            buffer.write(buffer.read()[rows], None)

    def run(self, steps: int = 1, *, block: int = 1) -> None:
        try:
            if block > 1:
                self._run_block(steps, block)
                return
            every = slice(0, self._rows)
            turns = [self._binding(turn, 1, every) for turn in (self._turn, 1 - self._turn)]
            for step in range(steps):
                self._run(turns[step % 2])
        except AncestralError:
            raise
        except Exception as error:
            raise _in_words(self._file, "cannot run it", error) from error
        self._turn = (self._turn + steps) % 2

    def _run_block(self, steps: int, block: int) -> None:
        """Rows in turns, and a long block piece by piece, so that logits take bounded memory."""
        rows = min(self._rows, rows_in_block(block, self._owner.levels))
        # Several rows go through whole blocks alone: GroupQueryAttention takes more than one
        # position over a cache that is not empty of one row at a time.
        piece = block if rows > 1 else positions_in_block(block, self._owner.levels)
        pieces = [min(piece, block - done) for done in range(0, block, piece)]
        for _ in range(steps):
            for start in range(0, self._rows, rows):
                part = slice(start, min(start + rows, self._rows))
                for number, size in enumerate(pieces):
                    self._run(self._binding((self._turn + number) % 2, size, part))
            self._turn = (self._turn + len(pieces)) % 2

    def _buffer(self, name: str) -> "_Buffer":
        if name not in self._buffers:
            raise InvalidInput(f"tensor: expected one of {sorted(self._buffers)}, got {name!r}")
        return self._buffers[name][self._turn]

    def _binding(self, turn: int, block: int, rows: slice) -> Any:
        key = (turn, block, rows.start, rows.stop)
        if key not in self._prepared:
            self._prepared[key] = self._prepare(turn, block, rows)
        return self._prepared[key]

    def _prepare(self, turn: int, block: int, rows: slice) -> Any:
        signature = self._owner.signature
        binding = self._owner.session.io_binding()
        for name, buffers in self._buffers.items():
            buffers[turn].bind_input(binding, name, rows)
        for pair in signature.carried:
            self._buffers[pair.input][1 - turn].bind_output(binding, pair.output, rows)
        if any(spec.name == "offsets" for spec in signature.given):
            if block not in self._offsets:
                spec = signature.input("offsets")
                self._offsets[block] = _Buffer(spec, {"s": block}, self._owner.device)
                self._offsets[block].write(np.arange(block), None)
            self._offsets[block].bind_input(binding, "offsets", slice(0, block))
        return binding


class _Buffer:
    """One tensor at a fixed address: a numpy array on the CPU, an OrtValue elsewhere."""

    def __init__(
        self, spec: TensorSpec, sizes: Mapping[str, int], device: str, initial: float = 0.0
    ) -> None:
        shape = spec.shape(sizes)
        # Of zeros, memory is taken only where a loop writes.
        # A value beyond float16, -1e9 say, becomes infinite.
        with np.errstate(over="ignore"):
            host = np.full(shape, initial, spec.host) if initial else np.zeros(shape, spec.host)
        self._shape, self._dtype = host.shape, host.dtype
        kind, _, index = device.partition(":")
        self._place = (kind, int(index or 0))
        self._value: Any = host
        if kind != "cpu":
            self._value = ort.OrtValue.ortvalue_from_numpy(host, *self._place)

    def write(self, array: Array, rows: slice | None) -> None:
        part = slice(None) if rows is None else rows
        shape = (len(range(*part.indices(self._shape[0]))), *self._shape[1:])
        if array.shape != shape or array.dtype != self._dtype:
            raise InvalidInput(
                f"tensor: expected {self._dtype} {shape}, got {array.dtype} {array.shape}"
            )
        if self._place[0] == "cpu":
            self._value[part] = array
            return
        host = self.read()
        host[part] = array
        self._value.update_inplace(host)

    def read(self) -> Array:
        if self._place[0] == "cpu":
            return self._value.copy()  # type: ignore[no-any-return]
        return self._value.numpy()  # type: ignore[no-any-return]

    def bind_input(self, binding: Any, name: str, rows: slice) -> None:
        binding.bind_input(name, *self._place, self._dtype, *self._part(rows))

    def bind_output(self, binding: Any, name: str, rows: slice) -> None:
        binding.bind_output(name, *self._place, self._dtype, *self._part(rows))

    def _part(self, rows: slice) -> tuple[tuple[int, ...], int]:
        """Shape and address of some rows: they lie side by side."""
        address = self._value.ctypes.data if self._place[0] == "cpu" else self._value.data_ptr()
        count = rows.stop - rows.start
        stride = self._dtype.itemsize * int(np.prod(self._shape[1:]))
        return (count, *self._shape[1:]), address + rows.start * stride


def _check_version(got: str) -> None:
    numbers = tuple(int(part) for part in got.split(".")[:2])
    if numbers < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        raise BackendUnavailable(
            f"backend 'onnxruntime' needs onnxruntime {oldest} or newer, got {got}: "
            f"pip install --upgrade onnxruntime"
        )


def _in_words(file: str, what: str, error: Exception) -> AncestralError:
    """An error of ONNX Runtime, which is of none of our classes, or of numpy's memory.

    Args:
        file: of the graph.
        what: ONNX Runtime does.
        error: that it raised.
    """
    reason = " ".join(str(error).split())[:_SAID]
    if isinstance(error, MemoryError) or _MEMORY.search(reason):
        return InvalidInput(
            f"{file}: expected tensors that fit in memory, got none ({reason}): take smaller "
            f"batches"
        )
    return BundleError(f"{file}: ONNX Runtime {what}: {reason}")


def _check_signature(session: Any, signature: GraphSignature, file: str) -> None:
    for side, values, specs in (
        ("inputs", session.get_inputs(), signature.inputs),
        ("outputs", session.get_outputs(), signature.outputs),
    ):
        got, expected = [value.name for value in values], [spec.name for spec in specs]
        if got != expected:
            raise BundleError(f"{file}: expected {side} {expected}, got {got}")
