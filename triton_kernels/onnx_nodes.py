"""Shared code of our operators' ONNX forms: constants, and ONNX Runtime's own operators.

portable      standard operators only, in shapes that every runtime handles correctly
onnxruntime   GroupQueryAttention, which appends to the cache itself and reads only the valid
              length; small buffers are appended in place too
tensorrt      the portable form with attention marked decomposable, as TensorRT requires for fp32
"""

from collections.abc import Callable, Mapping
from typing import Any, Literal, get_args

from onnx.defs import OpSchema
from onnxscript.onnx_opset import opset24 as op
from onnxscript.values import Op, Opset

Form = Literal["portable", "onnxruntime", "tensorrt"]
FORMS: tuple[Form, ...] = get_args(Form)
Translations = Mapping[Callable[..., Any], Callable[..., Any]]
"""torch operator -> function that writes ONNX nodes."""
Value = Any  # a symbolic ONNX value while a graph is being built

INT, FLOAT = OpSchema.AttrType.INT, OpSchema.AttrType.FLOAT
_SINGLE, _OPTIONAL = OpSchema.FormalParameterOption.Single, OpSchema.FormalParameterOption.Optional

_TYPES = {
    "T": (["tensor(float)", "tensor(float16)"], "activations and caches"),
    "M": (["tensor(int32)"], "lengths"),
    "I": (["tensor(int64)"], "indices"),
    "Q": (["tensor(uint8)"], "codes of quantised weights"),
}
"""Types that an input may have, and what it is, by the letter of the type."""


def ints(*values: int) -> Value:
    """Return a 1-D int64 constant."""
    return op.Constant(value_ints=list(values))


def number(value: float) -> Value:
    """Return a scalar float32 constant."""
    return op.Constant(value_float=value)


def integer(value: int) -> Value:
    """Return a scalar int64 constant."""
    return op.Constant(value_int=value)


def positions(position: Value, block: Value) -> Value:
    """Return position .. position + s - 1 of each row, [b, s], for a block [b, s, ...]."""
    steps = op.Range(integer(0), op.Squeeze(op.Shape(block, start=1, end=2)), integer(1))
    return op.Add(op.Unsqueeze(position, ints(1)), steps)


def contributed(name: str, types: Mapping[str, str], outputs: int, **attributes: Any) -> Op:
    """Return an operator of ONNX Runtime's own domain, which has no schema in the onnx package.

    Args:
        name: name of the operator.
        types: type of each input, in order, a key of `_TYPES`, with a "?" if it is optional.
        outputs: number of outputs.
        attributes: type of each attribute.
    """
    parameter = OpSchema.FormalParameter
    schema = OpSchema(
        name,
        "com.microsoft",
        1,
        inputs=[
            parameter(each, kind.rstrip("?"), param_option=_OPTIONAL if "?" in kind else _SINGLE)
            for each, kind in types.items()
        ],
        outputs=[parameter(f"output_{i}", "T") for i in range(outputs)],
        type_constraints=[
            (kind, *_TYPES[kind])
            for kind in dict.fromkeys(("T", *(each.rstrip("?") for each in types.values())))
        ],
        attributes=[OpSchema.Attribute(each, kind) for each, kind in attributes.items()],
    )
    return Op(Opset("com.microsoft", 1), name, schema)
