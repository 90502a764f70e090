"""Signature of a graph: the contract between the exporter, the sessions and the decode loop."""

import math
from collections.abc import Collection, Mapping
from enum import StrEnum
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from ancestral.arrays import shown
from ancestral.errors import InvalidInput
from ancestral.limits import AXES, ELEMENTS, NAME, TENSORS

Dtype = Literal["float32", "float16", "bfloat16", "int64", "int32", "bool"]
FloatDtype = Literal["float32", "float16", "bfloat16"]
BYTES: Mapping[Dtype, int] = {
    "float32": 4,
    "float16": 2,
    "bfloat16": 2,
    "int64": 8,
    "int32": 4,
    "bool": 1,
}
"""Bytes of one element of each dtype."""
_WHOLE = frozenset({"bool", "int32", "int64"})
_FLOAT32_MAX = float(np.finfo(np.float32).max)


class Record(BaseModel):
    """Checked fields of a file; unknown fields are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Update(StrEnum):
    """Way in which a carried tensor changes from step to step."""

    APPEND = "append"
    """A step writes only the slots from its position on; input and output may share memory."""
    REPLACE = "replace"
    """Every element may change; input and output must not share memory."""


Name = Annotated[str, Field(min_length=1, max_length=NAME)]
Axis = Name | Annotated[int, Field(ge=0, le=ELEMENTS)]


class TensorSpec(Record):
    """Name, dtype and axes of a tensor; an axis is a name such as "b" or a fixed length."""

    name: Name
    dtype: Dtype
    axes: tuple[Axis, ...] = Field(max_length=AXES)

    @model_validator(mode="after")
    def _fits_in_memory(self) -> "TensorSpec":
        if math.prod(axis for axis in self.axes if isinstance(axis, int)) > ELEMENTS:
            raise ValueError(f"axes: expected at most {ELEMENTS:,} numbers, got {self.axes}")
        return self

    def shape(self, sizes: Mapping[str, int]) -> tuple[int, ...]:
        """Return the shape at the given sizes of the named axes.

        Raises:
            InvalidInput: `sizes` lacks a named axis.
        """
        missing = [axis for axis in self.axes if isinstance(axis, str) and axis not in sizes]
        if missing:
            raise InvalidInput(f"{self.name}: expected a size for {missing}, got {dict(sizes)}")
        return tuple(sizes[axis] if isinstance(axis, str) else axis for axis in self.axes)

    def fits(self, shape: tuple[int, ...]) -> bool:
        """Return whether a shape of a runtime, with -1 for open axes, suits this tensor."""
        return len(shape) == len(self.axes) and all(
            isinstance(axis, str) or size in (-1, axis)
            for axis, size in zip(self.axes, shape, strict=True)
        )

    @property
    def host(self) -> np.dtype[Any]:
        """Dtype of its numpy array on the host; float32 for bfloat16, which numpy lacks."""
        return np.dtype("float32" if self.dtype == "bfloat16" else self.dtype)


def _check_initial(name: str, dtype: Dtype, initial: float) -> None:
    """Refuse an initial value that elements of a dtype cannot have.

    The range of float32 applies to 16-bit floats too, although the value may overflow there: the
    caches of a float32 model are also exported in 16 bits.
    """
    low, high = {
        "bool": (0, 1),
        "int32": (-(2**31), 2**31 - 1),
        "int64": (-(2**63), 2**63 - 1),
    }.get(dtype, (-_FLOAT32_MAX, _FLOAT32_MAX))
    if not low <= initial <= high or (dtype in _WHOLE and initial != int(initial)):
        raise ValueError(f"{shown(name)}.initial: expected a value of {dtype}, got {initial}")


class CacheEntry(TensorSpec):
    """Tensor that a model carries from step to step; a model declares each one once.

    Attributes:
        initial: value of every element before the first step.
        update: whether a step appends along `axis` or replaces every element.
        axis: axis along which a step appends.
    """

    initial: float = Field(default=0.0, allow_inf_nan=False)
    update: Update = Update.REPLACE
    axis: int = -2

    @model_validator(mode="after")
    def _initial_fits(self) -> "CacheEntry":
        _check_initial(self.name, self.dtype, self.initial)
        return self


class Carried(Record):
    """Pair of an output and the input of the next step that it becomes."""

    input: Name
    output: Name
    update: Update
    initial: float = Field(default=0.0, allow_inf_nan=False)


class GraphSignature(Record):
    """Inputs (given or carried) and outputs of a graph, and the pairs that a loop carries."""

    inputs: tuple[TensorSpec, ...] = Field(max_length=TENSORS)
    outputs: tuple[TensorSpec, ...] = Field(max_length=TENSORS)
    carried: tuple[Carried, ...] = Field(default=(), max_length=TENSORS)

    @model_validator(mode="after")
    def _agrees(self) -> "GraphSignature":
        """Check that names are unique and that carried outputs match their inputs."""
        inputs = {spec.name: spec for spec in self.inputs}
        outputs = {spec.name: spec for spec in self.outputs}
        if len(inputs) != len(self.inputs) or len(outputs) != len(self.outputs):
            raise ValueError("expected different names for all inputs, and for all outputs")
        for pair in self.carried:
            into, out = inputs.get(pair.input), outputs.get(pair.output)
            if into is None or out is None:
                raise ValueError(
                    f"carried: expected an input and an output, got {shown(pair.input)} and "
                    f"{shown(pair.output)}"
                )
            if (into.dtype, into.axes) != (out.dtype, out.axes):
                raise ValueError(
                    f"carried: expected {shown(pair.output)} to be like {shown(pair.input)}, "
                    f"{into.dtype} {into.axes}, got {out.dtype} {out.axes}"
                )
            _check_initial(pair.input, into.dtype, pair.initial)
        for names in ([p.input for p in self.carried], [p.output for p in self.carried]):
            if len(set(names)) != len(names):
                raise ValueError("carried: expected each tensor in only one pair")
        return self

    @property
    def given(self) -> tuple[TensorSpec, ...]:
        """Inputs that are written once, before the loop."""
        fed = {pair.input for pair in self.carried}
        return tuple(spec for spec in self.inputs if spec.name not in fed)

    def with_dtype(self, caches: Collection[str], dtype: FloatDtype) -> "GraphSignature":
        """Return the signature with floating-point caches, inputs and outputs, in another dtype.

        Args:
            caches: names of carried inputs.
            dtype: new dtype of the caches.
        """
        named = {*caches, *(pair.output for pair in self.carried if pair.input in caches)}

        def changed(spec: TensorSpec) -> TensorSpec:
            floating = spec.dtype not in _WHOLE
            meant = floating and spec.name in named
            return spec.model_copy(update={"dtype": dtype}) if meant else spec

        sides = {"inputs": self.inputs, "outputs": self.outputs}
        return self.model_copy(update={k: tuple(map(changed, v)) for k, v in sides.items()})

    def input(self, name: str) -> TensorSpec:
        """Return the input of that name.

        Raises:
            InvalidInput: no input has that name.
        """
        return _named(self.inputs, name)

    def output(self, name: str) -> TensorSpec:
        """Return the output of that name.

        Raises:
            InvalidInput: no output has that name.
        """
        return _named(self.outputs, name)


def _named(specs: tuple[TensorSpec, ...], name: str) -> TensorSpec:
    for spec in specs:
        if spec.name == name:
            return spec
    raise InvalidInput(f"tensor: expected one of {[s.name for s in specs]}, got {name!r}")
