"""Odd values that users pass, each with the plain value that it means, if it means one.

Every call gets a new value, as an iterator can be read only once.
"""

import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np
import torch

Make = Callable[[], Any]


@dataclass(frozen=True, slots=True)
class Value:
    """One argument.

    Attributes:
        name: name of the odd value.
        odd: creates the odd value.
        plain: creates the plain value that it means; None if it has to be refused.
    """

    name: str
    odd: Make
    plain: Make | None


@dataclass(frozen=True, slots=True)
class Values:
    """Values to pass for an argument.

    Attributes:
        plain: creates the value that most calls pass.
        good: odd values that are accepted.
        bad: odd values that are refused.
    """

    plain: Make
    good: tuple[Value, ...]
    bad: tuple[Value, ...]


class Missing:
    """A value like pandas' NA: neither true nor false, equal to nothing."""

    def __bool__(self) -> bool:
        raise TypeError("boolean value of NA is ambiguous")

    def __eq__(self, other: object) -> Any:
        return self

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return "<NA>"


class Foreign:
    """An array of another library, with only numpy's array interface."""

    def __init__(self, values: np.ndarray) -> None:
        self._values = values

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self._values, dtype)


class Broken:
    """An object with numpy's array interface that has no data."""

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        raise ValueError("no data here")


def values(plain: Any, good: dict[str, Any], bad: dict[str, Any]) -> Values:
    """Return values from dictionaries of odd values or their makers; good ones mean `plain`."""
    return Values(
        maker(plain),
        tuple(Value(name, maker(odd), maker(plain)) for name, odd in good.items()),
        tuple(Value(name, maker(odd), None) for name, odd in bad.items()),
    )


def joined(*parts: Values) -> Values:
    """Return the values of all parts; the plain value is the first part's."""
    others = (Value("another", part.plain, part.plain) for part in parts[1:])
    good = (value for part in parts for value in part.good)
    return Values(
        parts[0].plain, (*others, *good), tuple(value for part in parts for value in part.bad)
    )


def whole(plain: int, outside: Sequence[int] = (), *, none: bool = False) -> Values:
    """Return forms of an integer; None is bad unless `none` is True."""
    narrow = {} if plain > 100 else {"uint8": np.uint8(plain), "int16": np.int16(plain)}
    wide = {"uint64": np.uint64(plain), "0-d uint64": np.array(plain, np.uint64)}
    signed = {} if plain >= 2**63 else {"int64": np.int64(plain), "tensor": torch.tensor(plain)}
    good = narrow | wide | signed | {"0-d object": np.array(plain, object)}
    good |= {"unmasked": np.ma.array(plain), "big endian": np.array(plain, ">u8")}
    good |= {"foreign": Foreign(np.array(plain))}
    bad = {f"{value}": value for value in outside} | _NOT_A_NUMBER
    bad |= {"bool": True, "numpy bool": np.True_, "float": float(plain), "0-d float": np.array(1.0)}
    bad |= {"one in a list": [plain], "one in an array": np.array([plain])}
    bad |= {"timedelta": np.timedelta64(plain % 100, "s"), "bytes": b"1"}
    return values(plain, good, bad if none else bad | {"None": None})


def number(plain: float, outside: Sequence[float] = ()) -> Values:
    """Return forms of a real number, which has to be exact in float16."""
    good = {
        "float32": np.float32(plain),
        "float16": np.float16(plain),
        "float64": np.float64(plain),
        "longdouble": np.longdouble(plain),
        "0-d": np.array(plain),
        "tensor": torch.tensor(plain, dtype=torch.float64),
        "unmasked": np.ma.array(plain),
        "object": np.array(plain, object),
    }
    bad = {f"{value}": value for value in outside} | _NOT_A_NUMBER
    bad |= {"bool": True, "numpy bool": np.True_, "None": None, "one in a list": [plain]}
    bad |= {"timedelta": np.timedelta64(1, "s"), "nan": float("nan"), "inf": np.float32("inf")}
    return values(plain, good, bad)


_NOT_A_NUMBER: dict[str, Any] = {
    "text": "3",
    "numpy text": np.str_("3"),
    "huge": 10**5000,
    "2^70": 2**70,
    "complex": 1j,
    "decimal": Decimal(1),
    "object": object(),
    "NA": Missing(),
    "masked": np.ma.masked,
    "dictionary": {},
    "set": {1},
    "generator": lambda: (i for i in range(2)),
    "datetime": np.datetime64("2020-01-01"),
    "NaT": np.timedelta64("NaT"),
    "tensor of two": torch.tensor([1, 2]),
    "tensor of bools": torch.tensor(True),
    "bfloat16": torch.tensor(1.0, dtype=torch.bfloat16),
    "broken": Broken(),
    "ragged": [[1], [1, 2]],
    "type": int,
}
"""Values that are not a single number."""


def integers(plain: np.ndarray, outside: Sequence[int]) -> Values:
    """Return forms of an array of small integers; entries in `outside` are refused."""
    tensor = torch.from_numpy(plain.copy())
    good = {
        "list": plain.tolist(),
        "tuple": _tuples(plain.tolist()),
        "uint8": plain.astype(np.uint8) if plain.min() >= 0 else plain.astype(np.int8),
        "uint64": plain.astype(np.uint64) if plain.min() >= 0 else plain.astype(np.int16),
        "big endian": plain.astype(">i4"),
        "long long": plain.astype(np.longlong),
        "tensor": tensor,
        "int32 tensor": tensor.int(),
        "tensor of another order": tensor.t().contiguous().t() if plain.ndim == 2 else tensor,
        **_orders(plain),
    }
    bad = _not_an_array(plain) | {f"{value}": _with(plain, value) for value in outside}
    bad |= {"floats": plain.astype(np.float64), "float tensor": tensor.float()}
    bad |= {"nan": _with(plain.astype(np.float64), np.nan), "masked": _masked(plain)}
    bad |= {"beyond int64": _with(plain.astype(np.uint64), 2**64 - 1)}
    return values(plain, good, bad)


def reals(plain: np.ndarray, outside: Sequence[float]) -> Values:
    """Return forms of an array of float32 numbers, which have to be exact in float16."""
    tensor = torch.from_numpy(plain.copy())
    good = {
        "list": plain.tolist(),
        "tuple": _tuples(plain.tolist()),
        "float64": plain.astype(np.float64),
        "float16": plain.astype(np.float16),
        "longdouble": plain.astype(np.longdouble),
        "big endian": plain.astype(">f8"),
        "tensor": tensor,
        "double tensor": tensor.double(),
        "half tensor": tensor.half(),
        **_orders(plain),
    }
    bad = _not_an_array(plain) | {
        f"{value}": _with(plain.astype(np.float64), value) for value in outside
    }
    bad |= {"nan": _with(plain, np.nan), "inf": _with(plain, np.inf), "masked": _masked(plain)}
    bad |= {"beyond float32": _with(plain.astype(np.float64), 1e300)}
    bad |= {"needs a gradient": tensor.clone().requires_grad_(), "sparse": tensor.to_sparse()}
    return values(plain, good, bad)


def _orders(plain: np.ndarray) -> dict[str, Any]:
    """Return the same numbers with other memory layouts and containers."""
    frozen = plain.copy()
    frozen.flags.writeable = False
    found = {
        "Fortran": np.asfortranarray(plain),
        "strided": np.repeat(plain, 2, axis=0)[::2],
        "backwards": plain[::-1].copy()[::-1],
        "read only": frozen,
        "object": plain.astype(object),
        "unmasked": np.ma.array(plain),
        "unmasked by an array": np.ma.array(plain, mask=np.zeros(plain.shape, bool)),
        "list of arrays": list(plain),
        "list of tensors": [torch.from_numpy(np.array(each)) for each in plain],
        "foreign": Foreign(plain),
        "memory": lambda: memoryview(plain.copy()),
    }
    if plain.ndim == 1:
        code = "q" if plain.dtype.kind == "i" else "f"
        found["array.array"] = array.array(code, plain.tolist())
    return found


def _not_an_array(plain: np.ndarray) -> dict[str, Any]:
    """Return values that are not an array of numbers of the shape of `plain`."""
    missing = plain.astype(object)
    missing.reshape(-1)[-1] = Missing()
    recursive: list[Any] = []
    recursive.append(recursive)
    tensor = torch.from_numpy(plain.copy())
    return {
        "None inside": _with(plain.astype(object), None),
        "NA inside": missing,
        "text inside": _with(plain.astype(object), "1"),
        "2^70 inside": _with(plain.astype(object), 2**70),
        "bools": plain > 0,
        "text": plain.astype(str),
        "bytes": plain.astype("S"),
        "complex": plain.astype(complex),
        "records": plain.astype([("a", plain.dtype)]),
        "datetimes": plain.astype(np.int64).astype("datetime64[D]"),
        "timedeltas": plain.astype(np.int64).astype("timedelta64[s]"),
        "one axis more": plain[..., None, None],
        "absurd": np.broadcast_to(plain.reshape(-1)[0], (2**33, 2**9)),
        "ragged": [plain.tolist(), [plain.tolist()]],
        "recursive": recursive,
        "deep": _deep(200),
        "masked inside a list": [np.ma.masked, *plain.tolist()[1:]],
        "list of masked": [np.ma.array(each, mask=True) for each in plain],
        "object": object(),
        "broken": Broken(),
        "set": {1, 2},
        "dictionary": {"x": plain},
        "generator": lambda: (each for each in plain),
        "a text": "0 1 2",
        "some bytes": b"012",
        "NA": Missing(),
        "function": len,
        "bfloat16": tensor.bfloat16(),
        "meta": tensor.to("meta"),
        "tensors of bfloat16": [each.bfloat16() for each in tensor],
        "released": _released,
    }


def observed(plain: np.ndarray, levels: int) -> Values:
    """Return forms of events with free values: masked entries mean -1."""
    common = integers(plain, (-2, levels))
    mask = np.zeros(plain.shape, bool)
    mask[..., -1] = True
    free = np.where(mask, -1, plain)
    garbage = np.where(mask, 99, plain)
    mine = tuple(
        Value(name, maker(np.ma.array(data, mask=mask)), free.copy)
        for name, data in {
            "masked": garbage,
            "masked bytes": np.maximum(garbage, 0).astype(np.uint8)
            if plain.min() >= 0
            else garbage,
            "masked None": np.where(mask, None, plain.astype(object)),
        }.items()
    )
    bad = tuple(value for value in common.bad if value.name != "masked")
    return Values(common.plain, (*common.good, *mine), bad)


def optional(required: Values) -> Values:
    """Return the values of an argument that may be None, which is now the plain value."""
    usual = Value("given", required.plain, required.plain)
    return without(Values(lambda: None, (usual, *required.good), required.bad), "None")


def without(every: Values, *names: str) -> Values:
    """Return the values without some bad ones, which an argument accepts."""
    bad = tuple(each for each in every.bad if each.name not in names)
    return Values(every.plain, every.good, bad)


def extreme(plain: np.ndarray, *numbers: float) -> Values:
    """Return arrays with a number that fits in float32 but may overflow in a model."""
    good = []
    for value in numbers:
        odd, single = _with(plain.astype(np.float64), value), _with(plain, value)
        good.append(Value(f"{value}", maker(odd), maker(single)))
    return Values(maker(plain), tuple(good), ())


def maker(value: Any) -> Make:
    """Return a function that creates the value; a lambda is such a function already."""
    if getattr(value, "__name__", "") in {"<lambda>", "_released"}:
        return value  # type: ignore[no-any-return]
    return lambda: value


def _with(plain: np.ndarray, value: Any) -> np.ndarray:
    result = plain.copy()
    result.reshape(-1)[-1] = value
    return result


def _masked(plain: np.ndarray) -> Any:
    mask = np.zeros(plain.shape, bool)
    mask.reshape(-1)[0] = True
    return np.ma.array(plain, mask=mask)


def _tuples(nested: Any) -> Any:
    return tuple(map(_tuples, nested)) if isinstance(nested, list) else nested


def _deep(depth: int) -> list[Any]:
    nested: list[Any] = [1]
    for _ in range(depth):
        nested = [nested]
    return nested


def _released() -> memoryview:
    memory = memoryview(b"012")
    memory.release()
    return memory
