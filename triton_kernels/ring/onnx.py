"""`ring` in ONNX."""

from collections.abc import Sequence

from onnxscript.onnx_opset import opset24 as op

from ancestral.triton_kernels.onnx_nodes import Form, Translations, Value, integer, ints, number
from ancestral.triton_kernels.ring import ring


def translations(form: Form) -> Translations:
    """Return the ONNX nodes of the operator in one form."""
    write = _in_place if form == "onnxruntime" else _scattered

    def translated(
        buffer: Value, value: Value, position: Value, offsets: Sequence[int]
    ) -> tuple[Value, Value]:
        slot, index = _slots(buffer, position, offsets)
        written = write(buffer, op.Unsqueeze(value, ints(1)), slot)
        return _taps(written, position, offsets, index), written

    return {ring._opoverload: translated}


def _scattered(buffer: Value, block: Value, slot: Value) -> Value:
    """ScatterElements at position mod R.

    tensorrt_rtx's builder crashes on a graph with several TensorScatter nodes of small rings.
    """
    slot = op.Expand(op.Unsqueeze(slot, ints(1, 2, 3)), op.Shape(block))
    return op.ScatterElements(buffer, slot, block, axis=2)


def _in_place(buffer: Value, block: Value, slot: Value) -> Value:
    """TensorScatter at position mod R, which ONNX Runtime runs in place."""
    return op.TensorScatter(buffer, block, slot, axis=-2)


def _slots(buffer: Value, position: Value, offsets: Sequence[int]) -> tuple[Value, Value]:
    """Return the slot written, [b], and the index read at each tap and feature, [b, 1, n, d]."""
    length, width = integer(int(buffer.shape[2])), int(buffer.shape[3])
    at = op.Unsqueeze(op.Add(op.Unsqueeze(position, ints(1)), ints(*offsets)), ints(1, 3))
    index = op.Expand(op.Mod(at, length), ints(1, 1, 1, width))
    return op.Mod(position, length), index


def _taps(written: Value, position: Value, offsets: Sequence[int], index: Value) -> Value:
    at = op.Add(op.Unsqueeze(position, ints(1)), ints(*offsets))
    taps = op.Squeeze(op.GatherElements(written, index, axis=2), ints(1))
    return op.Where(op.Less(op.Unsqueeze(at, ints(2)), integer(0)), number(0.0), taps)
