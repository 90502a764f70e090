"""Signatures: shapes by named axes, given inputs, and initial values."""

import pytest
from pydantic import ValidationError

from ancestral.errors import InvalidInput
from ancestral.signature import CacheEntry, Carried, Dtype, GraphSignature, TensorSpec, Update

U = TensorSpec(name="u", dtype="float32", axes=("b", 9))
H = TensorSpec(name="h", dtype="float32", axes=("b", "s", 4))
H_NEXT = H.model_copy(update={"name": "h_next"})
SIGNATURE = GraphSignature(
    inputs=(U, H),
    outputs=(H_NEXT,),
    carried=(Carried(input="h", output="h_next", update=Update.REPLACE, initial=0.5),),
)


def test_shape() -> None:
    assert H.shape({"b": 2, "s": 3, "other": 1}) == (2, 3, 4)
    with pytest.raises(InvalidInput, match=r"h: expected a size for \['s'\]"):
        H.shape({"b": 2})


def test_given_inputs_are_not_carried() -> None:
    assert SIGNATURE.given == (U,)


def test_by_name() -> None:
    assert SIGNATURE.input("h") is H
    assert SIGNATURE.output("h_next") is H_NEXT
    with pytest.raises(InvalidInput, match=r"expected one of \['u', 'h'\], got 'h_next'"):
        SIGNATURE.input("h_next")
    with pytest.raises(InvalidInput, match="got 'u'"):
        SIGNATURE.output("u")


def test_json_round_trip() -> None:
    assert GraphSignature.model_validate_json(SIGNATURE.model_dump_json()) == SIGNATURE


@pytest.mark.parametrize(
    "change",
    [{"dtype": "float64"}, {"axes": (1.5,)}, {"surprise": 1}],
    ids=["dtype", "axis", "field"],
)
def test_unknown_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        TensorSpec.model_validate(U.model_dump() | change)


@pytest.mark.parametrize(
    ("dtype", "initial"),
    [
        ("int64", 2.0**63),
        ("int64", -1e300),
        ("int32", 2.0**31),
        ("int64", 0.5),
        ("bool", 2),
        ("bool", 0.5),
        ("float32", 1e39),
        ("float16", -1e300),
    ],
)
def test_initial_that_the_type_cannot_have(dtype: Dtype, initial: float) -> None:
    with pytest.raises(ValidationError, match=f"'h'.initial: expected a value of {dtype}"):
        CacheEntry(name="h", dtype=dtype, axes=("b",), initial=initial)
    into, out = (TensorSpec(name=name, dtype=dtype, axes=("b",)) for name in ("h", "h_next"))
    pair = Carried(input="h", output="h_next", update=Update.REPLACE, initial=initial)
    with pytest.raises(ValidationError, match=f"'h'.initial: expected a value of {dtype}"):
        GraphSignature(inputs=(into,), outputs=(out,), carried=(pair,))


@pytest.mark.parametrize(
    ("dtype", "initial"),
    [("int64", -(2.0**63)), ("int32", 2.0**31 - 1), ("bool", 1), ("float16", -1e9)],
)
def test_initial_that_the_type_can_have(dtype: Dtype, initial: float) -> None:
    assert CacheEntry(name="h", dtype=dtype, axes=("b",), initial=initial).initial == initial
