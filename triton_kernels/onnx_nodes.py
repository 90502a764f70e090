"""What the ONNX forms of our operators share: constants, and ONNX Runtime's own operators.

portable      standard operators only, in the shapes that every runtime reads rightly
onnxruntime   GroupQueryAttention, which appends by itself and reads only the valid length;
              small buffers appended in place too
tensorrt      the portable form with attention marked decomposable, which fp32 needs there
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
Value = Any  # a symbolic ONNX value while a graph is being made

INT, FLOAT = OpSchema.AttrType.INT, OpSchema.AttrType.FLOAT
_SINGLE, _OPTIONAL = OpSchema.FormalParameterOption.Single, OpSchema.FormalParameterOption.Optional


def ints(*values: int) -> Value:
    """A constant with one axis."""
    return op.Constant(value_ints=list(values))


def number(value: float) -> Value:
    """A constant float32 without axes."""
    return op.Constant(value_float=value)


def integer(value: int) -> Value:
    """A constant int64 without axes."""
    return op.Constant(value_int=value)


def positions(position: Value, block: Value) -> Value:
    """position .. position + s - 1 of each row, [b, s], for a block [b, s, ...]."""
    steps = op.Range(integer(0), op.Squeeze(op.Shape(block, start=1, end=2)), integer(1))
    return op.Add(op.Unsqueeze(position, ints(1)), steps)


def contributed(name: str, types: Mapping[str, str], outputs: int, **attributes: Any) -> Op:
    """An operator of ONNX Runtime's own domain, of which the onnx package has no schema.

    Args:
        name: of the operator.
        types: of its inputs, in order: T (activations and caches) or M (int32 lengths).
        outputs: their number.
        attributes: type of each.
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
            ("T", ["tensor(float)", "tensor(float16)"], "activations and caches"),
            *([("M", ["tensor(int32)"], "lengths")] if "M" in types.values() else []),
        ],
        attributes=[OpSchema.Attribute(each, kind) for each, kind in attributes.items()],
    )
    return Op(Opset("com.microsoft", 1), name, schema)
