"""What is quantised in a bundle: a record of its manifest."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from ancestral import limits
from ancestral.signature import Record

Weights = Literal["int8", "int4"]
Compute = Literal["float32", "int8"]
GROUPS = (16, 32, 64, 128, 256)
"""Sizes of groups that ONNX Runtime's kernels take."""
TensorName = Annotated[str, Field(max_length=limits.NAME)]


class QuantisedTensor(Record):
    """How one weight is stored.

    Attributes:
        bits: bits of a number.
        group: numbers that share a scale.
        symmetric: whether the zero point is the middle of the codes.
    """

    bits: Literal[4, 8]
    group: int = Field(ge=2, le=limits.SIZE, multiple_of=2)
    symmetric: bool


class Quantisation(Record):
    """The quantised weights of a bundle.

    Attributes:
        compute: "float32", or "int8" if products round their activations to 8 bits at run time.
        scales: type of the scales in the file.
        tensors: how each quantised weight is stored, by its name in the model.
        kept: weights that stay in the bundle's type although they are large, with the reason.
    """

    compute: Compute
    scales: Literal["float32", "float16"]
    tensors: dict[TensorName, QuantisedTensor] = Field(min_length=1, max_length=limits.FILES)
    kept: dict[TensorName, TensorName] = Field(max_length=limits.FILES)

    @property
    def weights(self) -> str:
        """Types of the weights: int8, int4, or int4 and int8."""
        bits = sorted({tensor.bits for tensor in self.tensors.values()})
        return " and ".join(f"int{each}" for each in bits)

    @model_validator(mode="after")
    def _agrees(self) -> "Quantisation":
        both = sorted(self.tensors.keys() & self.kept.keys())
        if both:
            raise ValueError(f"quantisation: {both[0]!r} is both quantised and kept")
        return self
