"""Each form of cached attention equals the formula; slots beyond a position do not matter."""

from collections.abc import Callable
from functools import partial

import numpy as np
import onnxruntime as ort
import pytest
import torch
from torch import Tensor

from ancestral.export.operators import Form
from ancestral.triton_kernels.cached_attention import cached_attention
from tests.triton_kernels.single import ROUNDING, Call, exported, run

T, D = 7, 8


def attention_inputs(
    position: list[int], s: int, heads: int, group: int, beyond: float = 0.0
) -> tuple[Tensor, ...]:
    """Return q, k, v, caches (`beyond` after each row's position), and positions."""
    generator, b = torch.manual_seed(0), len(position)
    q = 2 * torch.randn(b, s, heads * D, generator=generator)
    k, v = (torch.randn(b, s, group * D, generator=generator) for _ in range(2))
    caches = []
    for _ in range(2):
        cache = torch.randn(b, group, T, D, generator=generator)
        for row, at in enumerate(position):
            cache[row, :, at:] = beyond
        caches.append(cache)
    return q, k, v, *caches, torch.tensor(position)


CASES = {
    "one": ([2], 1, 4, 4),
    "ragged": ([0, 3, 6], 1, 4, 4),
    "ragged grouped": ([5, 0, 3], 1, 4, 2),
    "block": ([0, 0], 3, 4, 4),
    "block grouped": ([0, 0], T, 4, 2),
}


@pytest.fixture(scope="module")
def attention() -> Callable[..., ort.InferenceSession]:
    """Return a function that exports each form, number of heads and window once."""
    made: dict[tuple[Form, int, int, int | None], ort.InferenceSession] = {}

    def get(form: Form, heads: int, group: int, window: int | None = None) -> ort.InferenceSession:
        key = (form, heads, group, window)
        if key not in made:
            b, s = torch.export.Dim("b", min=1), torch.export.Dim("s", min=1, max=T)
            made[key] = exported(
                Call(partial(cached_attention, window=window)),
                attention_inputs([0, 0], 3, heads, group),
                form,
                ((*[{0: b, 1: s}] * 3, {0: b}, {0: b}, {0: b}),),
            )
        return made[key]

    return get


def by_hand(
    q: Tensor, k: Tensor, v: Tensor, kc: Tensor, vc: Tensor, at: Tensor, window: int = T
) -> Tensor:
    """Return the formula in float64, computed for each query and head."""
    y = torch.zeros(q.shape, dtype=torch.float64)
    per = q.shape[2] // D // kc.shape[1]
    for r, i in np.ndindex(q.shape[:2]):
        n = int(at[r]) + i
        for h in range(q.shape[2] // D):
            g = slice(h // per * D, h // per * D + D)
            old = slice(0, int(at[r]))
            keys = torch.cat([kc[r, h // per, old], k[r, : i + 1, g]]).double()
            values = torch.cat([vc[r, h // per, old], v[r, : i + 1, g]]).double()
            assert len(keys) == n + 1
            keys, values = keys[-window:], values[-window:]
            weight = (keys @ q[r, i, h * D : h * D + D].double() / D**0.5).softmax(0)
            y[r, i, h * D : h * D + D] = weight @ values
    return y


@pytest.mark.parametrize("case", CASES)
def test_attention_reference(case: str) -> None:
    inputs = attention_inputs(*CASES[case])
    y, k_cache, _ = cached_attention(*inputs)
    assert (y - by_hand(*inputs)).abs().max() < ROUNDING
    assert torch.equal(k_cache[0, :, : CASES[case][0][0]], inputs[3][0, :, : CASES[case][0][0]])
    worse = by_hand(1.001 * inputs[0], *inputs[1:])
    assert (y - worse).abs().max() > 10 * ROUNDING, "a wrong scale would not be noticed"


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("form", ["portable", "onnxruntime"])
def test_attention(attention: Callable, form: Form, case: str) -> None:
    position, s, heads, group = CASES[case]
    inputs = attention_inputs(position, s, heads, group)
    got = run(attention(form, heads, group), inputs)
    for array, expected in zip(got, cached_attention(*inputs), strict=True):
        assert np.abs(array - expected.numpy()).max() < ROUNDING


@pytest.mark.parametrize("window", [1, 3, T + 2])
@pytest.mark.parametrize("form", ["torch", "portable", "onnxruntime"])
def test_window(attention: Callable, form: str, window: int) -> None:
    """A query sees its window of slots; one slot more or less is noticed."""
    for case in ("ragged grouped", "block grouped"):
        position, s, heads, group = CASES[case]
        inputs = attention_inputs(position, s, heads, group)
        if form == "torch":
            got = cached_attention(*inputs, window)[0].numpy()
        else:
            got = run(attention(form, heads, group, window), inputs)[0]
        assert np.abs(got - by_hand(*inputs, window).numpy()).max() < ROUNDING
        for other in {max(window - 1, 1), window + 1} - {window}:
            change = np.abs(got - by_hand(*inputs, other).numpy()).max()
            assert (change > 10 * ROUNDING) == (min(window, other) < T), (case, other)


@pytest.mark.parametrize(
    ("form", "beyond"),
    [("torch", 1e4), ("portable", 1e4), ("portable", -1e4), ("onnxruntime", torch.nan)],
)
def test_unused_slots(attention: Callable, form: str, beyond: float) -> None:
    """Slots beyond a row's position do not matter; in the portable form they must be finite."""
    for case in ("ragged", "ragged grouped", "block"):
        position, s, heads, group = CASES[case]
        clean, dirty = (attention_inputs(position, s, heads, group, value) for value in (0, beyond))
        if form == "torch":
            outputs = [cached_attention(*inputs)[0].numpy() for inputs in (clean, dirty)]
        else:
            session = attention(form, heads, group)
            outputs = [run(session, inputs)[0] for inputs in (clean, dirty)]
        assert np.array_equal(*outputs), case
