"""The kernel of cached attention, for one query per row and for blocks of queries."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ancestral.errors import InvalidInput
from ancestral.triton_kernels.cached_attention import cached_attention_reference
from ancestral.triton_kernels.launch import FLOATS
from tests.triton_kernels.kernels.compare import EACH_FLOAT, assert_near, far

pytestmark = pytest.mark.kernels
SHAPES = {
    "image": (4, 4, 32, 70),
    "odd head": (2, 2, 24, 33),
    "wide": (1, 1, 96, 40),
    "grouped": (8, 2, 16, 90),
    "one group": (3, 1, 80, 20),
    "widest": (2, 1, 256, 12),
    "single": (1, 1, 1, 3),
}
"""Query heads, key/value heads, head width, cache length."""


def drawn(
    shape: tuple[int, int, int, int],
    position: list[int],
    s: int,
    dtype: torch.dtype,
    device: torch.device,
    beyond: float = torch.nan,
) -> list[Tensor]:
    """Return q, k, v as slices of one projection, and caches that are `beyond` after a position."""
    heads, g, d, length = shape
    generator = torch.Generator().manual_seed(heads * d + length)
    b = len(position)
    joined = torch.randn(b, s, (heads + 2 * g) * d, generator=generator)
    joined[..., : heads * d] *= 2
    joined = joined.to(device, dtype)
    q, k, v = joined.split([heads * d, g * d, g * d], dim=-1)
    caches = []
    for _ in range(2):
        cache = torch.randn(b, g, length, d, generator=generator)
        for row, at in enumerate(position):
            cache[row, :, max(at, 0) :] = beyond
        caches.append(cache.to(device, dtype))
    return [q, k, v, *caches, torch.tensor(position, device=device)]


def exact(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    kc: Tensor,
    vc: Tensor,
    at: Tensor,
    window: int | None = None,
) -> Tensor:
    """Return the reference in float64; unused slots are zeroed, since it multiplies them by 0."""
    kc, vc = (cache.double().nan_to_num(0.0) for cache in (kc, vc))
    return cached_attention_reference(q.double(), k.double(), v.double(), kc, vc, at, window)[0]


STEPS = [
    pytest.param(name, dtype, id=f"{name}-{dtype}", marks=[] if quick else [pytest.mark.slow])
    for name in SHAPES
    for dtype in FLOATS
    for quick in [dtype == torch.float32 or (name, dtype) == ("grouped", torch.bfloat16)]
]


WINDOWS = [
    pytest.param(window, dtype, id=f"{window}-{dtype}", marks=[] if quick else [pytest.mark.slow])
    for window in (1, 37, 600)
    for dtype in FLOATS
    for quick in [dtype == torch.float32 or (window, dtype) == (37, torch.bfloat16)]
]


@pytest.mark.parametrize(("name", "dtype"), STEPS)
def test_step(device: torch.device, name: str, dtype: torch.dtype) -> None:
    """Rows at the first slot, at edges of tiles and at the last slot are exact, with NaN beyond."""
    from ancestral.triton_kernels.cached_attention.kernel import launch

    length = SHAPES[name][3]
    places = sorted({0, 1, 15, 16, 17, 31, 32, 64, length - 1} & set(range(length)))
    inputs = drawn(SHAPES[name], places, 1, dtype, device)
    before = [cache.clone() for cache in inputs[3:5]]
    expected = exact(*inputs)
    y = launch(*inputs)
    assert_near(y, expected, "y")
    for cache, old, new in zip(inputs[3:5], before, inputs[1:3], strict=True):
        for row, at in enumerate(places):
            old[row, :, at] = new[row, 0].unflatten(0, (-1, old.shape[3]))
        assert torch.equal(cache.nan_to_num(7.0), old.nan_to_num(7.0)), "only one slot is written"


@pytest.mark.parametrize("dtype", EACH_FLOAT, ids=str)
@pytest.mark.parametrize(("heads", "g"), [(2, 2), (4, 1)], ids=["one head", "group"])
def test_split(device: torch.device, dtype: torch.dtype, heads: int, g: int) -> None:
    """With a split cache, rows in the first, a middle and the last split are exact."""
    from ancestral.triton_kernels.cached_attention.kernel import launch

    inputs = drawn((heads, g, 16, 1200), [0, 511, 512, 700, 1199], 1, dtype, device)
    expected = exact(*inputs)
    y = launch(*inputs)
    assert_near(y, expected, "y")
    if dtype == torch.float32:
        short = [each.clone() for each in inputs]
        short[5] -= 1  # a row that sees one slot less, and its own
        short[5].clamp_(min=0)
        assert far(y[1:], exact(*short)[1:]), "a lost split would not be noticed"


@pytest.mark.parametrize(("heads", "g"), [(2, 2), (4, 1)], ids=["one head", "group"])
@pytest.mark.parametrize(("window", "dtype"), WINDOWS)
def test_window(device: torch.device, dtype: torch.dtype, heads: int, g: int, window: int) -> None:
    """Windows in a tile, over tiles and over splits are exact; one slot more or less is noticed."""
    from ancestral.triton_kernels.cached_attention.kernel import launch

    for length in (90, 1200):
        places = sorted({0, 5, 36, 37, 64, 511, 548, 549, length - 1} & set(range(length)))
        inputs = drawn((heads, g, 16, length), places, 1, dtype, device)
        expected = exact(*inputs, window)
        y = launch(*(each.clone() for each in inputs), window)
        assert_near(y, expected, f"{length} slots")
        last = [each[-1:] for each in inputs]
        if dtype == torch.float32 and window in (1, 37):
            for other in {max(window - 1, 1), window + 1} - {window}:
                assert far(y[-1:], exact(*last, other)), f"window {other} for {window}"


@pytest.mark.parametrize("window", [1, 5])
def test_window_of_blocks(device: torch.device, window: int) -> None:
    from ancestral.triton_kernels.cached_attention.kernel import launch

    inputs = drawn(SHAPES["grouped"], [0, 5, 70], 20, torch.float32, device)
    expected = exact(*inputs, window)
    assert_near(launch(*inputs, window), expected, "y")


@pytest.mark.parametrize(
    "name", [pytest.param("image", marks=pytest.mark.slow), "grouped", "odd head"]
)
@pytest.mark.parametrize("s", [2, 7, 20])
def test_block(device: torch.device, name: str, s: int) -> None:
    from ancestral.triton_kernels.cached_attention.kernel import launch

    length = SHAPES[name][3]
    places = [0, 5, length - s]
    inputs = drawn(SHAPES[name], places, s, torch.float32, device)
    expected = exact(*inputs)
    y = launch(*inputs)
    assert_near(y, expected, "y")
    for cache, new in zip(inputs[3:5], inputs[1:3], strict=True):
        for row, at in enumerate(places):
            wanted = new[row].unflatten(-1, (-1, cache.shape[3])).transpose(0, 1)
            assert torch.equal(cache[row, :, at : at + s], wanted)
            assert cache[row, :, at + s :].isnan().all()


def test_block_is_steps(device: torch.device) -> None:
    """A block leaves the caches that its steps leave, bit for bit; the results agree."""
    from ancestral.triton_kernels.cached_attention.kernel import launch

    q, k, v, *caches, at = drawn((4, 2, 16, 40), [0, 20], 5, torch.float32, device)
    single = [cache.clone() for cache in caches]
    y = launch(q, k, v, *caches, at)
    for i in range(5):
        step = launch(q[:, i : i + 1], k[:, i : i + 1], v[:, i : i + 1], *single, at + i)
        assert_near(step, y[:, i : i + 1].double(), f"position {i}")
    assert all(
        torch.equal(a.nan_to_num(7.0), b.nan_to_num(7.0))
        for a, b in zip(caches, single, strict=True)
    )


@pytest.mark.parametrize("heads", [2, 4], ids=["one head", "group"])
def test_bits_do_not_depend_on_the_batch(device: torch.device, heads: int) -> None:
    from ancestral.triton_kernels.cached_attention.kernel import launch

    count = 62 if device.type == "cuda" else 8
    places = [*(29 * i % 60 for i in range(count)), 700, 1099]
    inputs = drawn((heads, 2, 16, 1100), places, 1, torch.float32, device)
    whole = launch(*(each.clone() for each in inputs))
    for rows in (slice(0, 1), slice(5, 7), slice(count - 3, count + 2)):
        assert torch.equal(launch(*(each[rows].clone() for each in inputs)), whole[rows])


def test_faults_are_seen(device: torch.device) -> None:
    from ancestral.triton_kernels.cached_attention.kernel import launch

    inputs = drawn((4, 2, 16, 50), [3, 20, 49], 1, torch.float32, device, beyond=0.5)
    q, k, v, kc, vc, at = (each.clone() for each in inputs)
    y = launch(*inputs)
    assert_near(y, exact(q, k, v, kc, vc, at), "y")
    assert far(y, exact(1.01 * q, k, v, kc, vc, at)), "scale"
    swapped = (cache.flip(1) for cache in (kc, vc))
    assert far(y, exact(q, k, v, *swapped, at)), "another key/value head"
    assert far(y[:2], exact(q, k, v, kc, vc, at + torch.tensor([1, 1, 0], device=device))[:2])
    assert far(y, exact(q, torch.zeros_like(k), v, kc, vc, at)), "the new key is not seen"


def test_beyond_the_cache(device: torch.device) -> None:
    """A row outside of the cache is NaN and writes nothing; other rows are not affected."""
    from ancestral.triton_kernels.cached_attention.kernel import launch

    for s, places in ((1, [4, 9, -1, 2**32]), (3, [4, 7, -1, 2**32])):
        inputs = drawn((2, 2, 8, 9), [4, 4, 4, 4], s, torch.float32, device, beyond=0.25)
        inputs[5] = torch.tensor(places, device=device)
        kept = inputs[3].clone()
        expected = exact(*(each[:1] for each in inputs))
        y = launch(*inputs)
        assert_near(y[:1], expected, "the sound row")
        assert y[1:].isnan().all()
        assert torch.equal(inputs[3][1:], kept[1:])


def test_nothing(device: torch.device) -> None:
    from ancestral.triton_kernels.cached_attention.kernel import launch

    inputs = [each[:0] for each in drawn((2, 2, 8, 9), [4], 1, torch.float32, device)]
    assert launch(*inputs).shape == (0, 1, 16)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda q, k, v, kc, vc, p: (q[..., :-1], k, v, kc, vc, p), "q: expected"),
        (lambda q, k, v, kc, vc, p: (q, k.double(), v, kc, vc, p), "k: expected"),
        (lambda q, k, v, kc, vc, p: (q, k, v[..., ::2], kc, vc, p), "v: expected"),
        (lambda q, k, v, kc, vc, p: (q, k, v, kc.half(), vc, p), "k_cache: expected"),
        (lambda q, k, v, kc, vc, p: (q, k, v, kc, vc.mT.contiguous().mT, p), "v_cache: expected"),
        (lambda q, k, v, kc, vc, p: (q, k, v, kc, vc, p.int()), "position: expected"),
        (lambda q, k, v, kc, vc, p: (q, k, v, kc, vc, p.to("meta")), "position: expected"),
        (lambda q, k, v, kc, vc, p: (q, k, v, kc[:, :, :0], vc[:, :, :0], p), "q: expected"),
        (
            lambda q, k, v, kc, vc, p: (
                *(torch.zeros(2, 1, 257, device=q.device),) * 3,
                *(torch.zeros(2, 1, 4, 257, device=q.device),) * 2,
                p,
            ),
            "head size d of 1 .. 256",
        ),
    ],
    ids=["width", "dtype", "strided", "half", "transposed", "int32", "device", "empty", "widest"],
)
def test_refused(device: torch.device, change, message: str) -> None:
    from ancestral.triton_kernels.cached_attention.kernel import launch

    with pytest.raises(InvalidInput, match=message):
        launch(*change(*drawn((2, 2, 8, 9), [4, 5], 1, torch.float32, device)))


@settings(max_examples=25, derandomize=True, deadline=None)
@given(
    st.integers(1, 3), st.integers(1, 3), st.integers(1, 40), st.integers(1, 80), st.integers(0, 79)
)
def test_any_shape(
    device: torch.device, g: int, per_group: int, d: int, length: int, at: int
) -> None:
    from ancestral.triton_kernels.cached_attention.kernel import launch

    shape, places = (g * per_group, g, d, length), [at % length, length - 1]
    inputs = drawn(shape, places, 1, torch.float32, device)
    expected = exact(*inputs)
    assert_near(launch(*inputs), expected, f"{shape} at {places}")
