"""Odd arguments that are not numbers: prompts, sampling settings, choices, callbacks."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from ancestral.engine import Generated
from ancestral.sampling import Sampling
from tests.engine.odd_values import Missing, Value, Values, joined, maker, number, values, whole


def samplings(*, filters: bool) -> Values:
    """Return sampling settings with odd numbers."""

    def each(name: str, numbers: Values, **fixed: Any) -> Iterator[tuple[bool, Value]]:
        for value in (*numbers.good, *numbers.bad):
            plain = value.plain
            yield (
                plain is not None,
                Value(
                    f"{name} {value.name}",
                    lambda odd=value.odd: Sampling(**{name: odd(), **fixed}),
                    None if plain is None else lambda p=plain: Sampling(**{name: p(), **fixed}),
                ),
            )

    found = list(each("temperature", number(0.5, (-1.0, 1e7, 10.0**300))))
    if filters:
        found += each("top_k", whole(2, (0, -1), none=True))
        found += each("top_p", number(0.5, (0.0, 1.5)), temperature=0.75)
        found += each("min_p", number(0.25, (-0.5, 2.0)))
    others = {"None": None, "text": "cold", "number": 0.5, "dictionary": {"temperature": 1.0}}
    bad = tuple(Value(name, maker(other), None) for name, other in others.items())
    return Values(
        Sampling,
        tuple(value for good, value in found if good),
        (*(value for good, value in found if not good), *bad),
    )


def prompts(levels: int, length: int) -> Values:
    """Return forms of two prompts of different lengths."""
    plain = [[0, 1], [2]]
    good = {
        "tuple": ((0, 1), (2,)),
        "arrays": [np.array([0, 1]), np.array([2], np.uint8)],
        "tensors": [torch.tensor([0, 1]), torch.tensor([2])],
        "generator": lambda: (prompt for prompt in plain),
        "iterator": lambda: iter(plain),
        "map": lambda: map(list, plain),
        "object array": np.array([[0, 1], [2]], object),
        "values of a dictionary": {1: [0, 1], 2: [2]}.values(),
        "ranges": [range(2), range(2, 3)],
        "unmasked": [np.ma.array([0, 1]), [2]],
    }
    bad: dict[str, Any] = {
        "one prompt": [0, 1],
        "one prompt as an array": np.array([0, 1]),
        "nested": [[[0]], [[1]]],
        "ragged": [[[0], [1, 2]]],
        "text": "ab",
        "texts": ["ab", "c"],
        "bytes": b"ab",
        "bytes of each": [b"ab"],
        "bytearray": bytearray(b"\0\1"),
        "number": 3,
        "0-d": np.array(3),
        "0-d tensor": torch.tensor(3),
        "None": None,
        "None inside": [[0], None],
        "NA": [[0, Missing()]],
        "dictionary": {(0, 1): 1},
        "set": {(0, 1), (2,)},
        "none": [],
        "no more": lambda: iter(()),
        "beyond": [[levels]],
        "negative": [[-1]],
        "too long": [[0] * (length + 1)],
        "floats": [[0.0]],
        "masked": [np.ma.array([0, 1], mask=[False, True])],
        "rows of a masked array": np.ma.array([[0, 1]], mask=[[True, False]]),
        "bools": [[True, False]],
        "function": len,
        "endless": lambda: iter(int, 1),
    }
    return values(plain, good, bad)


def generated(levels: int, length: int) -> Values:
    """Two rows that were drawn."""

    def row(prompt: Any, tokens: Any) -> Generated:
        zeros = np.zeros(2, np.float32)
        return Generated(prompt, tokens, zeros, zeros, zeros, "max_new", 0)

    plain = [row(np.array([0, 1]), np.array([2])), row(np.array([2]), np.array([], int))]
    good = {
        "tuple": tuple(plain),
        "iterator": lambda: iter(plain),
        "lists": [row([0, 1], [2]), row([2], np.array([], np.uint8))],
    }
    one = np.array([0])
    bad: dict[str, Any] = {
        "one row": plain[0],
        "none": [],
        "None": None,
        "prompts": [[0, 1], [2]],
        "beyond": [row(one, np.array([levels]))],
        "negative": [row(np.array([-1]), one)],
        "too long": [row(one, np.zeros(length, int))],
        "nested": [row(one[None], one)],
        "floats": [row(one, np.array([0.5]))],
        "text": [row("a", "b")],
        "set": {1, 2},
    }
    return values(plain, good, bad)


def stops() -> Values:
    """Return forms of the values that end a row."""
    good = {
        "tuple": (1,),
        "set": {1},
        "array": np.array([1]),
        "tensor": torch.tensor([1]),
        "generator": lambda: (i for i in [1]),
        "numpy integers": [np.int64(1)],
    }
    bad = {"number": 1, "text": "1", "bytes": b"\1", "floats": [1.0], "nested": [[1]]}
    bad |= {"bools": [True], "negative": [-1], "None inside": [None], "dictionary": {1: 1}}
    bad |= {"masked": np.ma.array([1], mask=[True]), "0-d": np.array(1)}
    return values([1], good, bad)


def word(plain: str, others: Sequence[str]) -> Values:
    """Return choices of a string among `plain` and `others`."""
    found = [values(each, {"numpy": np.str_(each)}, {}) for each in (plain, *others)]
    bad = {"unknown": "zigzag", "None": None, "number": 1, "list": [plain], "NA": Missing()}
    return joined(*found, values(plain, {}, bad | {"array": np.array([plain, plain])}))


def flag() -> Values:
    """Return forms of True and False."""
    good = {"numpy": np.False_, "0-d": np.array(False)}
    bad = {
        "text": "yes",
        "None": None,
        "array": np.array([True, False]),
        "number": 2,
        "NA": Missing(),
    }
    return joined(values(False, good, {}), values(True, {"tensor": torch.tensor(True)}, bad))


def callback() -> Values:
    """Return callbacks; the plain value is None."""
    function = Value("function", lambda: _ignore, lambda: None)
    bad = (Value("number", lambda: 3, None), Value("text", lambda: "print", None))
    return Values(lambda: None, (function,), bad)


def _ignore(*_: object) -> None:
    """Do nothing; a valid callback."""
