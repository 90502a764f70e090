"""`mass_threshold` in ONNX."""

from onnxscript.onnx_opset import opset24 as op

from ancestral.triton_kernels.mass_threshold import BISECTIONS, LOWEST, mass_threshold
from ancestral.triton_kernels.onnx_nodes import Form, Translations, Value, ints, number


def translations(_: Form) -> Translations:
    """Return the ONNX nodes of the operator, the same in every form."""
    return {mass_threshold._opoverload: _unrolled}


def _unrolled(z: Value, w: Value, mass: Value, inclusive: bool) -> Value:
    """The bisection unrolled: no loop, no sort, seven nodes per halving."""
    compare = op.GreaterOrEqual if inclusive else op.Greater
    zero, last = number(0.0), ints(-1)
    low = number(LOWEST)
    for halving in range(1, BISECTIONS + 1):
        width = number(-LOWEST * 2.0**-halving)
        middle = op.Add(low, width)
        held = op.GreaterOrEqual(
            op.ReduceSum(op.Where(compare(z, middle), w, zero), last, keepdims=1), mass
        )
        low = op.Add(low, op.Where(held, width, zero))
    return low
