"""The kernels at the end of a sampling step without filters."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ancestral.errors import InvalidInput
from ancestral.philox import Stream, seed_key, uniforms
from ancestral.triton_kernels.launch import FLOATS
from ancestral.triton_kernels.overridable import Seeds
from ancestral.triton_kernels.sample_token import Drawn
from tests.triton_kernels.kernels.draws import (
    Case,
    assert_chosen,
    assert_inverted,
    case,
    drawn,
    filters_of,
    same_bits,
)

pytestmark = pytest.mark.kernels
SIZES = [1, 2, 3, 17, 256, 257, 8_191, 8_192, 8_193, 50_257]
INF = float("inf")
TINY, MOST = 2.0**-24, 1 - 2.0**-24


def random(b: int, v: int, dtype: torch.dtype = torch.float32, scale: float = 2.0) -> Tensor:
    generator = torch.Generator().manual_seed(b + v)
    return (scale * torch.randn(b, v, generator=generator)).to(dtype)


def run(before: Case) -> tuple[Tensor, Tensor]:
    """Return the value and log p of each row."""
    from ancestral.triton_kernels.sample_token.kernel import launch

    state = before.state_copy()
    got = launch(before.logits, before.noise, before.observed, state, None)
    assert all(new is old for new, old in zip(got, state, strict=True)), "in place"
    value, log_p, _ = drawn(got, before)
    return value, log_p


def exact(before: Case) -> Tensor:
    return before.logits.cpu().double()


def check(before: Case, u: Tensor | None = None) -> int:
    """Compare with float64; return the number of near ties."""
    value, log_p = run(before)
    assert_chosen(value, log_p, exact(before))
    return assert_inverted(value, exact(before).softmax(-1), before.u if u is None else u)


@pytest.mark.parametrize(
    ("v", "dtype"),
    [(v, dtype) for v in SIZES for dtype in FLOATS if dtype == torch.float32 or v % 10 == 7],
    ids=str,
)
def test_exact(device: torch.device, v: int, dtype: torch.dtype) -> None:
    rows = 1 if v > 10_000 else 4
    before = case(random(rows, v, dtype), device)
    ties = check(before)
    assert ties == 0 or v > 8_000, f"{ties} near ties"
    if v > 1:
        with pytest.raises(AssertionError, match="off, row"):
            check(before, u=(before.u + 0.5) % 1)


@pytest.mark.slow
@pytest.mark.parametrize("v", [60_000, 262_144])
def test_exact_over_many_values(device: torch.device, v: int) -> None:
    for scale in (0.1, 2.0, 8.0):
        check(case(random(10, v, scale=scale), device))


@settings(max_examples=12, derandomize=True, deadline=None)
@given(
    v=st.integers(1, 2_500),
    b=st.integers(1, 4),
    padding=st.integers(0, 17),
    dtype=st.sampled_from(FLOATS),
    scale=st.sampled_from([0.0, 1.0, 30.0]),
)
def test_shapes(
    device: torch.device, v: int, b: int, padding: int, dtype: torch.dtype, scale: float
) -> None:
    check(case(random(b, v, dtype, scale), device, padding=padding))


def on_grid(device: torch.device, halvings: int) -> None:
    """Check that midpoints of 2^halvings cells draw values exactly in proportion to p."""
    p = torch.tensor([0, 1 / 8, 1 / 2, 0, 1 / 4, 1 / 8, 0])
    size = 2**halvings
    u = (torch.arange(size) + 0.5) / size
    value, _ = run(case(p.log().expand(size, -1), device, u=u))
    assert torch.equal(value.bincount(minlength=len(p)), (p * size).long())
    assert torch.equal(value, value.sort().values), "larger u, larger value"


def test_even_grid(device: torch.device) -> None:
    on_grid(device, 7)


@pytest.mark.slow
def test_fine_even_grid(device: torch.device) -> None:
    on_grid(device, 12)


@pytest.mark.parametrize("v", [17, 257, 9_000, 50_257])
def test_never_a_value_of_probability_0(device: torch.device, v: int) -> None:
    """The ends of the unit interval draw values of the support, even if whole tiles are empty."""
    logits = torch.full((4, v), -INF)
    logits[:, : v // 3] = -200.0
    logits[:, v // 2 :] = -200.0
    logits[:, v // 3 : v // 3 + 5] = torch.tensor([0.0, -1, -2, -3, -4])
    logits[:, -1] = -INF
    value, log_p = run(case(logits, device, u=torch.tensor([TINY, MOST, 0.5, MOST])))
    assert (value - v // 3).tolist() == [0, 4, 0, 4]
    assert_chosen(value, log_p, logits.double())


def test_inversion_beyond_the_ends(device: torch.device) -> None:
    """A target that rounding moved outside 0 .. C_last finds the first or last w > 0."""
    from tests.triton_kernels.kernels.probes import first

    w = torch.zeros(32, device=device)
    w[[9, 10, 21, 26]] = torch.tensor([1.0, 2.0, 0.5, 0.5], device=device)
    out = torch.full((1,), -1, device=device)

    def found(w: Tensor, target: float) -> int:
        first[(1,)](w, out, target, 4, 8)
        return int(out)

    targets = [-1.0, 0.0, 1.0, 1.25, 3.0, 3.25, 3.75, 4.0, 4.25]
    assert [found(w, each) for each in targets] == [9, 9, 9, 10, 10, 21, 26, 26, 26]
    assert found(torch.zeros_like(w), 0.5) == 0


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("v", [1, 2, 257, 9_000])
def test_all_on_one_value(device: torch.device, v: int, dtype: torch.dtype) -> None:
    """A value of probability 1 is drawn, with log p exactly 0."""
    logits = torch.full((3, v), -INF, dtype=dtype)
    logits[[0, 1, 2], [0, v // 2, v - 1]] = torch.tensor([3.0, -9.0, 100.0], dtype=dtype)
    value, log_p = run(case(logits, device, u=torch.tensor([TINY, 0.5, MOST])))
    assert value.tolist() == [0, v // 2, v - 1]
    assert log_p.tolist() == [0, 0, 0]


# The interpreter computes with numpy, which warns of these intended infinities and NaNs.
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("v", [1, 5, 257, 9_000])
@pytest.mark.parametrize("bad", [torch.nan, INF], ids=["nan", "inf"])
def test_no_probabilities(device: torch.device, v: int, bad: float) -> None:
    """Bad logits give value 0 and log p NaN, only in their row; a forced value stays."""
    logits = random(7, v)
    logits[1, v - 1] = bad
    logits[2, 0] = bad
    logits[3] = -INF
    logits[5] = bad
    logits[6, v // 2] = bad
    forced = torch.tensor([-1, -1, -1, -1, -1, -1, v - 1])
    before = case(logits, device, forced=forced, u=torch.full((7,), 0.7))
    value, log_p = run(before)
    assert value[[1, 2, 3, 5, 6]].tolist() == [0, 0, 0, 0, v - 1]
    assert log_p.isnan().tolist() == [False, True, True, True, False, True, True]
    good = [0, 4]
    assert_chosen(value[good], log_p[good], logits[good].double())


@pytest.mark.parametrize("v", [3, 257, 9_000])
def test_forced(device: torch.device, v: int) -> None:
    """An observed value is taken; one outside of the v levels gives log p NaN."""
    logits = random(6, v)
    forced = torch.tensor([-1, 0, v - 1, 1, v, 2**40])
    value, log_p = run(case(logits, device, forced=forced, padded=0.0))
    assert value[1:].tolist() == [0, v - 1, 1, 0, 0]
    assert log_p[4:].isnan().all()
    assert_chosen(value[:4], log_p[:4], logits[:4].double())
    unforced, _ = run(case(logits, device))
    assert value[0] == unforced[0]


@pytest.mark.parametrize("v", [5, 9_000])
@pytest.mark.parametrize("n", [5, 6, -1, 2**40])
def test_ended(device: torch.device, v: int, n: int) -> None:
    """A row that is not at a position is unchanged; other rows advance."""
    from ancestral.triton_kernels.sample_token.kernel import launch

    before = case(random(3, v), device)
    before.state.position[1] = n
    got = before.state_copy()
    launch(before.logits, before.noise, before.observed, got, None)
    assert got.position.tolist() == [1, n, 3]
    for new, old in zip(got[1:3], before.state[1:3], strict=True):
        assert same_bits(new[1], old[1])
        assert not same_bits(new[0], old[0])
    check(case(random(3, v), device))


@pytest.mark.parametrize("v", [100, 9_000])
def test_rows_are_independent(device: torch.device, v: int) -> None:
    from ancestral.triton_kernels.sample_token.kernel import launch

    whole = case(random(9, v), device)
    together = launch(whole.logits, whole.noise, whole.observed, whole.state_copy(), None)
    for rows in (slice(0, 1), slice(2, 7)):
        state = Drawn(*(None if each is None else each[rows].clone() for each in whole.state))
        got = launch(whole.logits[rows], whole.noise[rows], whole.observed[rows], state, None)
        for new, old in zip(got[:3], together[:3], strict=True):
            assert same_bits(new, old[rows])


@pytest.mark.parametrize(("v", "seed"), [(256, 0), (256, 2**64 - 1), (9_000, 2**40 + 5)])
@pytest.mark.parametrize("stream", [Stream.X, Stream.PARTICLES])
def test_noise_made_in_the_kernel(device: torch.device, v: int, seed: int, stream: Stream) -> None:
    """Noise from the kernel draws what the host's uniforms draw, to the bit."""
    from ancestral.triton_kernels.sample_token.kernel import launch

    logits = random(5, v)
    index = np.array([3, 0, 2**32 - 1, 9, 4])
    key = torch.tensor([*seed_key(seed), stream], device=device)
    seeds = Seeds(key, torch.tensor(index, device=device))
    before = case(logits, device)
    got = launch(before.logits, seeds, before.observed, before.state_copy(), None)
    value, log_p, _ = drawn(got, before)
    table = uniforms(seed, index, np.arange(5), stream=stream)
    u = torch.from_numpy(np.ascontiguousarray(table.diagonal()))
    expected, its_log_p = run(case(logits, device, u=u))
    assert torch.equal(value, expected)
    assert same_bits(log_p, its_log_p)
    swapped = torch.from_numpy(uniforms(seed, np.arange(5), index, stream=stream).diagonal().copy())
    with pytest.raises(AssertionError, match="off, row"):
        assert_inverted(value, exact(before).softmax(-1), swapped)
    other = Stream.X if stream else Stream.PARTICLES
    foreign = torch.from_numpy(uniforms(seed, index, np.arange(5), stream=other).diagonal().copy())
    with pytest.raises(AssertionError, match="off, row"):
        assert_inverted(value, exact(before).softmax(-1), foreign)
    neighbours = torch.from_numpy(np.roll(table, 1, axis=1).diagonal().copy())
    with pytest.raises(AssertionError, match="off, row"):
        assert_inverted(value, exact(before).softmax(-1), neighbours)


def test_no_rows(device: torch.device) -> None:
    run(case(random(0, 8), device))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda l, u, o, s, f: (l.double(), u, o, s, None), "logits: expected"),
        (lambda l, u, o, s, f: (l[:, None], u, o, s, None), r"logits: expected \[b, v\]"),
        (lambda l, u, o, s, f: (l[:, :0], u, o, s, None), "logits: expected .* v in 1 .. 262144"),
        (lambda l, u, o, s, f: (l.new_zeros(2, 262_145), u, o, s, None), "v in 1 .. 262144"),
        (lambda l, u, o, s, f: (l[:, ::2], u, o, s, None), "logits: expected a contiguous last"),
        (lambda l, u, o, s, f: (l, u[:1], o, s, None), "noise: expected"),
        (lambda l, u, o, s, f: (l, u.double(), o, s, None), "noise: expected"),
        (lambda l, u, o, s, f: (l, u.to("meta"), o, s, None), "noise: expected"),
        (lambda l, u, o, s, f: (l, u, o.int(), s, None), "observed: expected"),
        (lambda l, u, o, s, f: (l, u[:, :0], o[:, :0], s, None), r"observed: expected \[b, T\]"),
        (lambda l, u, o, s, f: (l, u, o, s._replace(position=o), None), "position: expected"),
        (lambda l, u, o, s, f: (l, u, o, s._replace(values=u), None), "values: expected"),
        (lambda l, u, o, s, f: (l, u, o, s._replace(log_p=u.half()), None), "log_p: expected"),
        (lambda l, u, o, s, f: (l, u, o, s, None), "log_q and no filters"),
        (lambda l, u, o, s, f: (l, u, o, s._replace(log_q=None), f), "filters and no log_q"),
        (lambda l, u, o, s, f: (l, u, o, s._replace(log_q=u[:1]), f), "log_q: expected"),
        (lambda l, u, o, s, f: (l, u, o, s, f._replace(top_k=f.top_p)), "top_k: expected"),
        (lambda l, u, o, s, f: (l, u, o, s, f._replace(top_p=f.top_p[:1])), "top_p: expected"),
    ],
)
def test_refused(device: torch.device, change, message: str) -> None:
    from ancestral.triton_kernels.sample_token.kernel import launch

    before = case(random(2, 8), device, filters=True)
    filters = filters_of([(1.0, 8, 1.0, 0.0)] * 2, device)
    with pytest.raises(InvalidInput, match=message):
        launch(*change(before.logits, before.noise, before.observed, before.state, filters))


def test_refused_seeds(device: torch.device) -> None:
    from ancestral.triton_kernels.sample_token.kernel import launch

    before = case(random(2, 8), device)
    key, index = torch.zeros(3).long().to(device), torch.arange(2, device=device)
    for seeds, name in (
        (Seeds(key[:1], index), "key"),
        (Seeds(key.int(), index), "key"),
        (Seeds(key, index[:1]), "index"),
        (Seeds(key, index.int()), "index"),
        (Seeds(key, index[None]), "index"),
        (Seeds(key, index.to("meta")), "index"),
    ):
        with pytest.raises(InvalidInput, match=f"{name}: expected"):
            launch(before.logits, seeds, before.observed, before.state, None)
