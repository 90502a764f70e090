"""The kernels at the end of a sampling step with filters."""

import pytest
import torch
from torch import Tensor

from ancestral.triton_kernels.filter_threshold import LOWEST
from ancestral.triton_kernels.launch import FLOATS
from ancestral.triton_kernels.sample_token import Drawn
from ancestral.triton_kernels.sample_token.filters import Filters, cooled
from ancestral.triton_kernels.sample_token.filters import kept as stays
from tests.triton_kernels.bisection import mass_threshold_reference
from tests.triton_kernels.kernels.compare import assert_near, far
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
INF = float("inf")
# Temperature, top-k (a float is a fraction of v), top-p, min-p.
ROWS = [
    (1.0, 3, 1.0, 0.0),
    (1.0, 1.0, 0.6, 0.0),
    (1.0, 1.0, 1.0, 0.07),
    (0.75, 0.5, 0.8, 0.01),
    (1.5, 5, 0.9, 0.03),
    (3.0, 0.9, 0.35, 0.0),
    (0.0, 3, 0.5, 0.1),
    (0.25, 1, 0.99, 0.0),
]


def coarse(b: int, v: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return multiples of 1/8: there are many ties, but no near ties."""
    generator = torch.Generator().manual_seed(v)
    return ((16 * torch.randn(b, v, generator=generator)).round() / 8).to(dtype)


def settings_of(v: int, device: torch.device, rows: list[tuple] = ROWS) -> Filters:
    return filters_of(
        [(t, max(1, int(k * v)) if isinstance(k, float) else k, p, m) for t, k, p, m in rows],
        device,
    )


def run(before: Case, filters: Filters) -> tuple[Tensor, Tensor, Tensor]:
    """Return the value, log p and log q of each row."""
    from ancestral.triton_kernels.sample_token.kernel import launch

    state = before.state_copy()
    got = launch(before.logits, before.noise, before.observed, state, filters)
    assert all(new is old for new, old in zip(got, state, strict=True)), "in place"
    value, log_p, log_q = drawn(got, before)
    assert log_q is not None
    return value, log_p, log_q


def kept(before: Case, filters: Filters) -> Tensor:
    """Return the reference in float64: shifted logits, -inf for values that are dropped."""
    logits = before.logits.cpu().double()
    shifted = logits - logits.amax(-1, keepdim=True)
    settings = Filters(*(each.cpu() for each in filters))
    z, warm = cooled(shifted[:, None], settings.temperature)
    index = torch.arange(shifted.shape[1])
    greedy = torch.where(index == shifted.argmax(-1, keepdim=True), 0.0, -INF)
    return torch.where(warm, torch.where(stays(z, z.exp(), settings), z, -INF)[:, 0], greedy)


def assert_clear(before: Case, filters: Filters) -> None:
    """Fail if rounding could decide whether a value is kept."""
    first = filters._replace(
        top_p=torch.ones_like(filters.top_p), min_p=torch.zeros_like(filters.min_p)
    )
    z = kept(before, first)
    for row, p, m in zip(z, filters.top_p.cpu().double(), filters.min_p.cpu(), strict=True):
        if p < 1:
            levels, group = row[row > -INF].unique(return_inverse=True)
            masses = torch.zeros_like(levels).index_add(0, group, row[row > -INF].exp())
            above = masses.flip(0).cumsum(0) / masses.sum()
            assert (above - p).abs().min() > 1e-5
        if m > 0:
            assert (row - m.log()).abs().min() > 1e-5


def check(before: Case, filters: Filters) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Compare with float64; return the results and the reference."""
    assert_clear(before, filters)
    value, log_p, log_q = run(before, filters)
    z = kept(before, filters)
    assert assert_inverted(value, z.exp(), before.u) == 0 or z.shape[1] > 8_000
    assert_chosen(value, log_p, before.logits.cpu().double())
    assert_chosen(value, log_q, z, "log_q")
    return value, log_p, log_q, z


@pytest.mark.parametrize(
    ("v", "dtype"),
    [*((v, torch.float32) for v in (1, 2, 17, 256, 257)), *((100, each) for each in FLOATS[1:])],
    ids=str,
)
def test_exact(device: torch.device, v: int, dtype: torch.dtype) -> None:
    rows = ROWS if v in (17, 257) else ROWS[2:5]
    before = case(coarse(len(rows), v, dtype), device)
    check(before, settings_of(v, device, rows))


@pytest.mark.parametrize(("v", "row"), [(8_192, 3), (8_193, 5), (8_193, 6), (50_257, 4)], ids=str)
def test_exact_over_many_values(device: torch.device, v: int, row: int) -> None:
    check(case(coarse(1, v), device), settings_of(v, device, ROWS[row : row + 1]))


@pytest.mark.slow
@pytest.mark.parametrize("v", [20_000, 50_257, 262_144])
def test_exact_over_more_values(device: torch.device, v: int) -> None:
    before = case(coarse(len(ROWS), v), device)
    check(before, settings_of(v, device))


def test_planted(device: torch.device) -> None:
    """Planted faults: wrong filters give another log q."""
    v = 64
    rows = [(0.5, 4, 1.0, 0.0), (2.0, 1.0, 0.5, 0.0), (2.0, 9, 0.5, 0.0), (2.0, 1.0, 1.0, 0.1)]
    filters = settings_of(v, device, rows)
    before = case(coarse(4, v), device)
    value, log_p, log_q, z = check(before, filters)

    def seen(faulty: Tensor) -> list[bool]:
        """Return for each row whether log q under faulty logits is far from the kernel's."""
        other = faulty.log_softmax(-1).gather(1, value[:, None])[:, 0]
        return [far(log_q[i : i + 1], other[i : i + 1]) for i in range(4)]

    assert seen(z) == [False] * 4
    one = torch.ones_like(filters.temperature)
    after = kept(before, filters._replace(temperature=one)) / filters.temperature[:, None].cpu()
    assert seen(after) == [False, True, True, True], "temperature after the filters"
    more = kept(before, filters._replace(top_k=filters.top_k + 1))
    assert seen(more)[0], "top-k off by one"
    whole = kept(before, filters._replace(top_k=torch.full_like(filters.top_k, v)))
    assert seen(whole) == [True, False, True, False], "no renormalisation after top-k"
    assert seen(before.logits.cpu().double()) == [True] * 4, "unfiltered"
    with pytest.raises(AssertionError, match="log_p"):
        assert_chosen(value, log_q, before.logits.cpu().double())
    with pytest.raises(AssertionError, match="log_q"):
        assert_chosen(value, log_p, z, "log_q")
    with pytest.raises(AssertionError, match="off, row"):
        assert_inverted(value, z.exp(), (before.u + 0.5) % 1)


def test_even_grid_with_ties(device: torch.device) -> None:
    """Ties stay together: top-k 2 keeps the highest value and all three of probability 1/8."""
    p = torch.tensor([1 / 16, 1 / 8, 1 / 2, 0, 1 / 8, 1 / 8, 1 / 16])
    size = 14
    u = (torch.arange(size) + 0.5) / size
    before = case(p.log().expand(size, -1), device, u=u)
    value, _, log_q = run(before, filters_of([(1.0, 2, 1.0, 0.0)] * size, device))
    kept = torch.tensor([0, 1, 4, 0, 1, 1, 0])
    assert torch.equal(value.bincount(minlength=7), 2 * kept)
    assert_near(log_q, (kept[value].double() / 7).log(), "log_q")


def test_temperature_0(device: torch.device) -> None:
    """Temperature 0 draws the first of the highest values; log q is 0, log p the model's."""
    for v in (5, 300, 9_000):
        logits = coarse(2, v).clamp_max(1.0)
        logits[:, [v // 2, v - 1, v - 2]] = 2.0
        before = case(logits, device)
        value, log_p, log_q = run(
            before, filters_of([(0.0, v, 1.0, 0.0), (0.0, 2, 0.5, 1.0)], device)
        )
        assert value.tolist() == [v // 2, v // 2]
        assert log_q.tolist() == [0, 0]
        assert_chosen(value, log_p, logits.double())


def test_off(device: torch.device) -> None:
    """Filters that drop nothing do not change the draw."""
    from ancestral.triton_kernels.sample_token.kernel import launch

    for v in (40, 9_000):
        before = case(coarse(2, v), device)
        value, log_p, log_q = run(before, filters_of([(1.0, v, 1.0, 0.0)] * 2, device))
        state = before.state_copy()
        bare = launch(before.logits, before.noise, before.observed, state, before.plain)
        assert torch.equal(bare.values.cpu().gather(1, before.n.cpu()[:, None])[:, 0], value)
        assert_chosen(value, log_p, before.logits.cpu().double())
        assert_chosen(value, log_q, before.logits.cpu().double(), "log_q")


@pytest.mark.parametrize("v", [6, 9_000])
def test_extremes(device: torch.device, v: int) -> None:
    """Logits of -inf, filters that keep one value, and extreme temperatures are exact."""
    rows = [
        (1.0, 4, 1.0, 0.0),
        (1.0, v, 1e-6, 0.0),
        (1.0, v, 1.0, 1.0),
        (1e-6, v, 1.0, 0.0),
        (1e6, 2, 1.0, 0.0),
        (1.0, v, 1 - 2.0**-24, 0.0),
    ]
    logits = torch.full((len(rows), v), -INF)
    logits[:, -3:] = torch.tensor([-1.5, 0.25, 0.0])
    before = case(logits, device)
    filters = filters_of(rows, device)
    value, log_p, log_q = run(before, filters)
    z = kept(before, filters)
    # exp(LOWEST) is 0 in fp32; in the float64 reference it is a little more.
    z = z.where(z > LOWEST, -INF)
    assert_inverted(value, z.exp(), before.u)
    assert_chosen(value, log_p, logits.double())
    assert_chosen(value, log_q, z, "log_q")
    assert value[1:4].tolist() == [v - 2] * 3
    assert log_q[1:4].tolist() == [0, 0, 0]


# The interpreter computes with numpy, which warns of these intended infinities and NaNs.
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("v", [5, 9_000])
def test_no_probabilities(device: torch.device, v: int) -> None:
    """Bad logits give value 0, and NaN for log p and log q; log q of a forced value is 0."""
    logits = coarse(6, v)
    logits[0, v - 1] = torch.nan
    logits[1, 0] = INF
    logits[2] = -INF
    logits[3, 1] = torch.nan
    logits[4, 1] = torch.nan
    forced = torch.tensor([-1, -1, -1, v - 1, -1, v])
    filters = filters_of([(0.7, 3, 0.8, 0.1)] * 4 + [(0.0, 3, 0.8, 0.1)] * 2, device)
    value, log_p, log_q = run(case(logits, device, forced=forced), filters)
    assert value.tolist() == [0, 0, 0, v - 1, 0, 0]
    assert log_p.isnan().all()
    assert log_q.isnan().tolist() == [True, True, True, False, True, False]
    assert log_q[[3, 5]].tolist() == [0, 0]


@pytest.mark.parametrize("v", [17, 9_000])
def test_forced_and_ended(device: torch.device, v: int) -> None:
    """With any filters, log q of a forced value is 0, and a row that ended is unchanged."""
    from ancestral.triton_kernels.sample_token.kernel import launch

    logits = coarse(3, v)
    forced = torch.tensor([v - 1, -1, 0])
    filters = filters_of([(0.5, 1, 0.5, 0.5)] * 3, device)
    before = case(logits, device, forced=forced)
    value, log_p, log_q = run(before, filters)
    assert value[[0, 2]].tolist() == [v - 1, 0]
    assert log_q[[0, 2]].tolist() == [0, 0]
    assert_chosen(value, log_p, logits.double())
    state = before.state_copy()
    state.position[1] = 5
    launch(before.logits, before.noise, before.observed, state, filters)
    assert state.position.tolist() == [1, 5, 3]
    for new, old in zip(state[1:], before.state[1:], strict=True):
        assert same_bits(new[1], old[1])
        assert not same_bits(new[0], old[0])


@pytest.mark.parametrize("v", [100, 9_000])
def test_rows_are_independent(device: torch.device, v: int) -> None:
    from ancestral.triton_kernels.sample_token.kernel import launch

    whole = case(coarse(3, v), device)
    filters = settings_of(v, device, ROWS[2:5])
    given = (whole.logits, whole.noise, whole.observed)
    together = launch(*given, whole.state_copy(), filters)
    for rows in (slice(0, 1), slice(1, 3)):
        state = Drawn(*(each[rows].clone() for each in whole.state))
        some = Filters(*(each[rows] for each in filters))
        got = launch(*(each[rows] for each in given), state, some)
        for new, old in zip(got, together, strict=True):
            assert same_bits(new, old[rows])


@pytest.mark.parametrize("held", [True, False])
def test_thresholds(device: torch.device, held: bool) -> None:
    """Thresholds equal the float32 reference to the bit, with logits read again or in registers."""
    from tests.triton_kernels.kernels.probes import threshold

    v = 300
    z = coarse(1, v)[0] / 3
    z = (z - z.max()).to(device)
    shape = (4, 128) if held else (2, 64)
    out = torch.full((1,), torch.nan, device=device)

    def got(least: float, part: float, count: bool) -> float:
        threshold[(1,)](z, out, v, least, part, count, held, *shape)
        return float(out)

    row = z.cpu()[None, None]
    for k in (1, 40, v - 1):
        mass = torch.full((1, 1, 1), float(k))
        assert got(LOWEST, float(k), True) == mass_threshold_reference(
            row, torch.ones(1), mass, inclusive=True
        )
    least = got(LOWEST, float(v // 2), True)
    w = torch.where(row >= least, row.exp(), 0)
    for p in (0.01, 0.77, 0.999):
        expected = mass_threshold_reference(row, w, p * w.sum(-1, keepdim=True), inclusive=False)
        assert got(least, p, False) == expected
