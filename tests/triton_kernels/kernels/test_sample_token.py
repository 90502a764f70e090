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
from ancestral.triton_kernels.sample_token.filters import Temperature
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
    got = launch(before.logits, before.noise, before.observed, state, before.plain)
    assert all(new is old for new, old in zip(got, state, strict=True)), "in place"
    value, log_p, log_q = drawn(got, before)
    forced = before.observed.gather(1, before.n[:, None])[:, 0].cpu() >= 0
    expected = torch.where(forced, 0, log_p)
    assert torch.equal(log_q.nan_to_num(1), expected.nan_to_num(1)), "log q is log p"
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


WARMTHS = (0.5, 0.8, 1.0, 1.5, 0.0)
"""Temperatures of the rows."""


def check_temperatures(device: torch.device, v: int, fault: float = 1.0) -> None:
    """Values and log q are those of the cooled logits in float64; log p stays the model's."""
    from ancestral.triton_kernels.sample_token.kernel import launch

    logits = random(len(WARMTHS), v)
    logits[-1, [v // 2, v - 1]] = logits.max() + 1
    before = case(logits, device)
    warmths = torch.tensor(WARMTHS)
    settings = Temperature((fault * warmths).to(device))
    got = launch(before.logits, before.noise, before.observed, before.state_copy(), settings)
    value, log_p, log_q = drawn(got, before)
    assert_chosen(value, log_p, exact(before))
    z = exact(before)[:-1] / warmths.double()[:-1, None]
    assert_inverted(value[:-1], z.softmax(-1), before.u[:-1])
    assert_chosen(value[:-1], log_q[:-1], z, "log_q")
    assert same_bits(log_q[2:3], log_p[2:3]), "log q at temperature 1 is log p"
    assert (int(value[-1]), float(log_q[-1])) == (v // 2, 0.0), "the first of the highest"


@pytest.mark.parametrize("v", [17, 257, 9_000])
def test_temperatures(device: torch.device, v: int) -> None:
    check_temperatures(device, v)
    with pytest.raises(AssertionError, match=r"off, row|log_q"):
        check_temperatures(device, v, fault=1.01)


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
    launch(before.logits, before.noise, before.observed, got, before.plain)
    assert got.position.tolist() == [1, n, 3]
    for new, old in zip(got[1:3], before.state[1:3], strict=True):
        assert same_bits(new[1], old[1])
        assert not same_bits(new[0], old[0])
    check(case(random(3, v), device))


@pytest.mark.parametrize("v", [100, 9_000])
def test_rows_are_independent(device: torch.device, v: int) -> None:
    from ancestral.triton_kernels.sample_token.kernel import launch

    whole = case(random(9, v), device)
    together = launch(whole.logits, whole.noise, whole.observed, whole.state_copy(), whole.plain)
    for rows in (slice(0, 1), slice(2, 7)):
        state = Drawn(*(each[rows].clone() for each in whole.state))
        plain = Temperature(whole.plain.temperature[rows])
        got = launch(whole.logits[rows], whole.noise[rows], whole.observed[rows], state, plain)
        for new, old in zip(got, together, strict=True):
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
    got = launch(before.logits, seeds, before.observed, before.state_copy(), before.plain)
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
        (lambda l, u, o, s, f: (l.double(), u, o, s, f), "logits: expected"),
        (lambda l, u, o, s, f: (l[:, None], u, o, s, f), r"logits: expected \[b, v\]"),
        (lambda l, u, o, s, f: (l[:, :0], u, o, s, f), "logits: expected .* v in 1 .. 262144"),
        (lambda l, u, o, s, f: (l.new_zeros(2, 262_145), u, o, s, f), "v in 1 .. 262144"),
        (lambda l, u, o, s, f: (l[:, ::2], u, o, s, f), "logits: expected a contiguous last"),
        (lambda l, u, o, s, f: (l, u[:1], o, s, f), "noise: expected"),
        (lambda l, u, o, s, f: (l, u.double(), o, s, f), "noise: expected"),
        (lambda l, u, o, s, f: (l, u.to("meta"), o, s, f), "noise: expected"),
        (lambda l, u, o, s, f: (l, u, o.int(), s, f), "observed: expected"),
        (lambda l, u, o, s, f: (l, u[:, :0], o[:, :0], s, f), r"observed: expected \[b, T\]"),
        (lambda l, u, o, s, f: (l, u, o, s._replace(position=o), f), "position: expected"),
        (lambda l, u, o, s, f: (l, u, o, s._replace(values=u), f), "values: expected"),
        (lambda l, u, o, s, f: (l, u, o, s._replace(log_p=u.half()), f), "log_p: expected"),
        (lambda l, u, o, s, f: (l, u, o, s._replace(log_q=None), f), "log_q: expected a tensor"),
        (lambda l, u, o, s, f: (l, u, o, s, Temperature(f[0][:1])), "temperature: expected"),
        (lambda l, u, o, s, f: (l, u, o, s._replace(log_q=u[:1]), f), "log_q: expected"),
        (lambda l, u, o, s, f: (l, u, o, s, f._replace(top_k=f.top_p)), "top_k: expected"),
        (lambda l, u, o, s, f: (l, u, o, s, f._replace(top_p=f.top_p[:1])), "top_p: expected"),
    ],
)
def test_refused(device: torch.device, change, message: str) -> None:
    from ancestral.triton_kernels.sample_token.kernel import launch

    before = case(random(2, 8), device)
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
            launch(before.logits, seeds, before.observed, before.state, before.plain)
