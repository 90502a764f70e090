"""`gru` and `lstm` in ONNX, where positions are the first axis."""

from onnxscript.onnx_opset import opset24 as op

from ancestral.triton_kernels.onnx_nodes import Form, Translations, Value, ints
from ancestral.triton_kernels.recurrence import gru, lstm


def translations(_: Form) -> Translations:
    """Return the ONNX nodes of both operators, the same in every form."""
    return {gru._opoverload: _gru, lstm._opoverload: _lstm}


def _gru(x: Value, h: Value, w: Value, r: Value, bias: Value) -> tuple[Value, Value]:
    """GRU with the reset gate after the product."""
    given = _given(x, h, w, r, bias)
    y, last = op.GRU(*given, hidden_size=int(r.shape[2]), linear_before_reset=1)
    return _batch_first(y), op.Squeeze(last, ints(0))


def _lstm(
    x: Value, h: Value, c: Value, w: Value, r: Value, bias: Value
) -> tuple[Value, Value, Value]:
    given = (*_given(x, h, w, r, bias), op.Unsqueeze(c, ints(0)))
    y, last, cell = op.LSTM(*given, hidden_size=int(r.shape[2]))
    return _batch_first(y), op.Squeeze(last, ints(0)), op.Squeeze(cell, ints(0))


def _given(x: Value, h: Value, w: Value, r: Value, bias: Value) -> tuple[Value, ...]:
    """Return the inputs of an ONNX layer, without sequence lengths."""
    return op.Transpose(x, perm=[1, 0, 2]), w, r, bias, None, op.Unsqueeze(h, ints(0))


def _batch_first(y: Value) -> Value:
    """[s, 1, b, d] -> [b, s, d]."""
    return op.Transpose(op.Squeeze(y, ints(1)), perm=[1, 0, 2])
