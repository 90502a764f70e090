"""What a graph takes and gives: the contract between exporter, sessions and the loop."""

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
"""Of one element."""
_WHOLE = frozenset({"bool", "int32", "int64"})
_FLOAT32_MAX = float(np.finfo(np.float32).max)


class Record(BaseModel):
    """Values of a file, each checked; no others."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Update(StrEnum):
    """How a carried tensor changes from step to step."""

    APPEND = "append"
    """Slots from the position on are written, no others: input and output may share memory."""
    REPLACE = "replace"
    """Every element may change: input and output must not share memory."""


Name = Annotated[str, Field(min_length=1, max_length=NAME)]
Axis = Name | Annotated[int, Field(ge=0, le=ELEMENTS)]


class TensorSpec(Record):
    """Name, element type and axes of one tensor; an axis is a name ("b", say) or a fixed length."""

    name: Name
    dtype: Dtype
    axes: tuple[Axis, ...] = Field(max_length=AXES)

    @model_validator(mode="after")
    def _fits_in_memory(self) -> "TensorSpec":
        if math.prod(axis for axis in self.axes if isinstance(axis, int)) > ELEMENTS:
            raise ValueError(f"axes: expected at most {ELEMENTS:,} numbers, got {self.axes}")
        return self

    def shape(self, sizes: Mapping[str, int]) -> tuple[int, ...]:
        """The shape at the given sizes of the named axes.

        Raises:
            InvalidInput: a named axis has no size.
        """
        missing = [axis for axis in self.axes if isinstance(axis, str) and axis not in sizes]
        if missing:
            raise InvalidInput(f"{self.name}: no size given for axes {missing}, got {dict(sizes)}")
        return tuple(sizes[axis] if isinstance(axis, str) else axis for axis in self.axes)

    def fits(self, shape: tuple[int, ...]) -> bool:
        """Whether a runtime's shape, -1 where it is open, can be this tensor's."""
        return len(shape) == len(self.axes) and all(
            isinstance(axis, str) or size in (-1, axis)
            for axis, size in zip(self.axes, shape, strict=True)
        )

    @property
    def host(self) -> np.dtype[Any]:
        """What holds it in an array on the host: numpy has no bfloat16, and float32 holds each."""
        return np.dtype("float32" if self.dtype == "bfloat16" else self.dtype)


def _check_initial(name: str, dtype: Dtype, initial: float) -> None:
    """Refuse an initial value that elements of a type cannot have.

    Floats of 16 bits may overflow: the caches of a float32 model are exported in 16 bits too.
    """
    low, high = {
        "bool": (0, 1),
        "int32": (-(2**31), 2**31 - 1),
        "int64": (-(2**63), 2**63 - 1),
    }.get(dtype, (-_FLOAT32_MAX, _FLOAT32_MAX))
    if not low <= initial <= high or (dtype in _WHOLE and initial != int(initial)):
        raise ValueError(f"{shown(name)}: initial: expected a value of {dtype}, got {initial}")


class CacheEntry(TensorSpec):
    """One tensor that a model carries from step to step, declared once.

    Attributes:
        initial: value of every element before the first step.
        update: append along `axis`, or replaced.
        axis: where append writes.
    """

    initial: float = Field(default=0.0, allow_inf_nan=False)
    update: Update = Update.REPLACE
    axis: int = -2

    @model_validator(mode="after")
    def _initial_fits(self) -> "CacheEntry":
        _check_initial(self.name, self.dtype, self.initial)
        return self


class Carried(Record):
    """An output that feeds an input of the next step."""

    input: Name
    output: Name
    update: Update
    initial: float = Field(default=0.0, allow_inf_nan=False)


class GraphSignature(Record):
    """Inputs (given, or carried), outputs, and the pairs that a loop carries."""

    inputs: tuple[TensorSpec, ...] = Field(max_length=TENSORS)
    outputs: tuple[TensorSpec, ...] = Field(max_length=TENSORS)
    carried: tuple[Carried, ...] = Field(default=(), max_length=TENSORS)

    @model_validator(mode="after")
    def _agrees(self) -> "GraphSignature":
        """Names are unique, and what is carried comes out as it goes in."""
        inputs = {spec.name: spec for spec in self.inputs}
        outputs = {spec.name: spec for spec in self.outputs}
        if len(inputs) != len(self.inputs) or len(outputs) != len(self.outputs):
            raise ValueError("expected tensors of different names on each side")
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
                raise ValueError("carried: expected each tensor in one pair")
        return self

    @property
    def given(self) -> tuple[TensorSpec, ...]:
        """Inputs that are written once before the loop."""
        fed = {pair.input for pair in self.carried}
        return tuple(spec for spec in self.inputs if spec.name not in fed)

    def with_dtype(self, caches: Collection[str], dtype: FloatDtype) -> "GraphSignature":
        """The same with floating caches, and what they become, in another type.

        Args:
            caches: names of carried inputs.
            dtype: theirs.
        """
        named = {*caches, *(pair.output for pair in self.carried if pair.input in caches)}

        def changed(spec: TensorSpec) -> TensorSpec:
            floating = spec.dtype not in _WHOLE
            meant = floating and spec.name in named
            return spec.model_copy(update={"dtype": dtype}) if meant else spec

        sides = {"inputs": self.inputs, "outputs": self.outputs}
        return self.model_copy(update={k: tuple(map(changed, v)) for k, v in sides.items()})

    def input(self, name: str) -> TensorSpec:
        """The input of that name.

        Raises:
            InvalidInput: there is none.
        """
        return _named(self.inputs, name)

    def output(self, name: str) -> TensorSpec:
        """The output of that name.

        Raises:
            InvalidInput: there is none.
        """
        return _named(self.outputs, name)


def _named(specs: tuple[TensorSpec, ...], name: str) -> TensorSpec:
    for spec in specs:
        if spec.name == name:
            return spec
    raise InvalidInput(f"tensor: expected one of {[s.name for s in specs]}, got {name!r}")
