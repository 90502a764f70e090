"""`top_ids` in ONNX."""

from onnxscript.onnx_opset import opset24 as op

from ancestral.triton_kernels.onnx_nodes import Form, Translations, Value, ints
from ancestral.triton_kernels.top_ids import top_ids


def translations(_: Form) -> Translations:
    """Return the ONNX node of the operator, the same in every form."""
    return {top_ids._opoverload: _top_k}


def _top_k(z: Value, k: int) -> Value:
    """TopK; of equal values it takes the lower index first."""
    _, ids = op.TopK(z, ints(k), axis=-1, largest=1, sorted=1)
    return ids
