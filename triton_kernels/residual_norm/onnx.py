"""`residual_norm` in ONNX."""

from onnxscript.onnx_opset import opset24 as op

from ancestral.triton_kernels.onnx_nodes import FLOAT, Form, Translations, Value, contributed
from ancestral.triton_kernels.residual_norm import residual_norm

_NORMED = {"input": "T", "skip": "T", "gamma": "T"}
_SKIP_LAYER_NORM = contributed("SkipLayerNormalization", _NORMED | {"beta": "T?"}, 4, epsilon=FLOAT)
_SKIP_RMS_NORM = contributed("SkipSimplifiedLayerNormalization", _NORMED, 4, epsilon=FLOAT)


def translations(form: Form) -> Translations:
    """Return the ONNX nodes of the operator in one form."""
    return {residual_norm._opoverload: _fused if form == "onnxruntime" else _standard}


def _standard(
    x: Value, y: Value, weight: Value, bias: Value | None, epsilon: float, rms: bool
) -> tuple[Value, Value]:
    """Add, then LayerNormalization or RMSNormalization."""
    h = op.Add(x, y)
    if rms:
        return h, op.RMSNormalization(h, weight, axis=-1, epsilon=epsilon)
    normed, *_ = op.LayerNormalization(h, weight, bias, axis=-1, epsilon=epsilon)
    return h, normed


def _fused(
    x: Value, y: Value, weight: Value, bias: Value | None, epsilon: float, rms: bool
) -> tuple[Value, Value]:
    """SkipLayerNormalization or SkipSimplifiedLayerNormalization; their last output is the sum."""
    if rms:
        normed, _, _, h = _SKIP_RMS_NORM(x, y, weight, epsilon=epsilon)
    else:
        normed, _, _, h = _SKIP_LAYER_NORM(x, y, weight, bias, epsilon=epsilon)
    return h, normed
