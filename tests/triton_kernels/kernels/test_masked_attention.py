"""The kernel of masked attention: every mask, dtype and layout; unseen slots are not read."""

from dataclasses import dataclass, replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ancestral.triton_kernels.launch import FLOATS
from ancestral.triton_kernels.masked_attention import masked_attention_reference
from tests.triton_kernels.kernels.compare import EACH_FLOAT, assert_near, far

pytestmark = pytest.mark.kernels


@dataclass(frozen=True)
class Case:
    """Sizes and mask of one call."""

    s: int
    d: int = 16
    heads: int = 1
    group: int = 1
    slots: int | None = None
    start: tuple[int, ...] | None = None
    window: int | None = None
    scale: float | None = None

    def drawn(self, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
        """Return q, k, v of one projection; q is doubled if there are more slots than queries."""
        generator = torch.Generator().manual_seed(self.s * 1000 + self.d)
        rows = 1 if self.start is None else len(self.start)
        slots = self.s if self.slots is None else self.slots
        h, g, d = self.heads, self.group, self.d
        joint = torch.randn(rows, slots, (h + 2 * g) * d, generator=generator).to(device, dtype)
        parts = joint.split([h * d, g * d, g * d], dim=-1)
        q, k, v = (part.unflatten(-1, (-1, d)).transpose(1, 2) for part in parts)
        return 2 * q[:, :, : self.s] if slots > self.s else q, k, v

    def given_start(self, device: torch.device) -> Tensor | None:
        return None if self.start is None else torch.tensor(self.start, device=device)

    def exact(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        start = self.given_start(q.device)
        wide = (x.double() for x in (q, k, v))
        return masked_attention_reference(*wide, start, self.window, self.scale)

    def run(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        from ancestral.triton_kernels.masked_attention.kernel import launch

        return launch(q, k, v, self.given_start(q.device), self.window, self.scale)


CASES = {
    "one": Case(1),
    "causal 7": Case(7),
    "causal 63": Case(63, heads=2, group=2),
    "causal 64": Case(64, 32),
    "causal 65": Case(65, heads=2, group=1),
    "causal 130": Case(130, 24),
    "causal d=1": Case(9, 1),
    "causal d=80": Case(33, 80),
    "causal d=96": Case(66, 96),
    "causal d=128": Case(70, 128),
    "causal d=256": Case(40, 256),
    "causal in a cache": Case(20, slots=50),
    "grouped": Case(34, 24, heads=6, group=2),
    "one kv head": Case(34, heads=4, group=1),
    "scaled": Case(65, scale=0.7),
    "start": Case(7, slots=100, start=(0, 93, 31)),
    "start next to a block": Case(3, slots=70, start=(14, 62, 63, 64)),
    "start 65": Case(65, 24, slots=130, start=(0, 65, 1)),
    "start grouped": Case(3, heads=4, group=2, slots=70, start=(64, 0)),
    "window 1": Case(40, window=1),
    "window 5": Case(70, window=5),
    "window 64": Case(130, window=64),
    "window 65": Case(130, window=65),
    "window 100": Case(135, 24, window=100, heads=2, group=1),
    "window of all": Case(40, window=40),
    "both": Case(7, slots=150, start=(0, 143, 70, 127), window=33),
    "both 70": Case(70, slots=140, start=(0, 70, 3), window=40),
    "both grouped": Case(5, 80, heads=4, group=2, slots=80, start=(75, 10), window=4),
}


# fp32 has its own form of the kernel; the 16-bit types share one, and the cases between them.
@pytest.mark.parametrize("half", [False, True], ids=["fp32", "half"])
@pytest.mark.parametrize("name", CASES)
def test_exact(device: torch.device, half: bool, name: str) -> None:
    case = CASES[name]
    dtype = FLOATS[1 + list(CASES).index(name) % 2 if half else 0]
    q, k, v = case.drawn(dtype, device)
    y = case.run(q, k, v)
    assert_near(y, case.exact(q, k, v), name)
    assert y.dtype == dtype
    assert y.transpose(1, 2).is_contiguous()


BASE = Case(34, 24, heads=4, group=2, slots=80, start=(45, 11), window=21, scale=0.3)
FAULTS = {
    "window + 1": replace(BASE, window=22),
    "window - 1": replace(BASE, window=20),
    "no window": replace(BASE, window=None),
    "start + 1": replace(BASE, start=(46, 12)),
    "start - 1": replace(BASE, start=(44, 10)),
    "no start": replace(BASE, start=(0, 0)),
    "scale": replace(BASE, scale=0.33),
}


@pytest.mark.parametrize("dtype", EACH_FLOAT, ids=str)
def test_faults_are_seen(device: torch.device, dtype: torch.dtype) -> None:
    q, k, v = BASE.drawn(dtype, device)
    y = BASE.run(q, k, v)
    assert_near(y, BASE.exact(q, k, v), "no fault")
    for fault, case in FAULTS.items():
        assert far(y, case.exact(q, k, v)), fault
    assert far(y, BASE.exact(q, k.flip(1), v)), "another head's keys"
    assert far(y, BASE.exact(q, k, v.flip(1))), "another head's values"
    wrong = torch.arange(4, device=device) % 2
    assert far(y, replace(BASE, group=4).exact(q, k[:, wrong], v[:, wrong])), "head i mod g"
    causal = replace(BASE, slots=None, start=None, window=None)
    q, k, v = causal.drawn(dtype, device)
    y = causal.run(q, k, v)
    assert_near(y, causal.exact(q, k, v), "causal")
    # A mask one slot too long or too short, imitated by keys and values that are shifted one slot.
    for by in (1, -1):
        assert far(y, causal.exact(q, k.roll(by, 2), v.roll(by, 2))), "the diagonal"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("window", [None, 9, 40])
def test_nothing_else_is_read(device: torch.device, dtype: torch.dtype, window: int | None) -> None:
    """NaN in slots that no query of a row sees, before and after them, changes nothing."""
    case = Case(5, 24, slots=140, start=(0, 60, 135, 64), window=window)
    q, k, v = case.drawn(dtype, device)
    clean = case.run(q, k, v)
    slot = torch.arange(140, device=device)
    for row, first in enumerate(case.start or ()):
        unseen = slot >= first + 5
        if window is not None:
            unseen |= slot <= first - window
        k[row, :, unseen] = v[row, :, unseen] = torch.nan
    y = case.run(q, k, v)
    assert torch.equal(y, clean)
    assert_near(y, case.exact(q, k, v), "poisoned")


@pytest.mark.parametrize("window", [None, 3])
def test_rows_that_do_not_fit(device: torch.device, window: int | None) -> None:
    """A row that does not fit is NaN in kernel and reference; other rows are not affected."""
    case = Case(6, slots=70, start=(-1, 64, 65, 2**62, -(2**62), 0), window=window)
    q, k, v = case.drawn(torch.float32, device)
    for y in (case.run(q, k, v), case.exact(q, k, v)):
        fits = torch.tensor([False, True, False, False, False, True], device=device)
        assert y[~fits].isnan().all()
        assert y[fits].isfinite().all()


def test_nan_is_kept(device: torch.device) -> None:
    """NaN that a query sees is not hidden."""
    case = Case(40)
    for which in range(3):
        q, k, v = (x.clone() for x in case.drawn(torch.float32, device))
        (q, k, v)[which][:, :, 30] = torch.nan
        assert case.run(q, k, v)[:, :, 30].isnan().all()


@pytest.mark.parametrize("dtype", EACH_FLOAT, ids=str)
def test_large_scores(device: torch.device, dtype: torch.dtype) -> None:
    """Scores in the hundreds of both signs, whose exponentials overflow, are exact."""
    case = Case(70, 16, window=30, scale=30.0)
    for sign in (1, -1):
        q, k, v = (x.abs() for x in case.drawn(torch.float32, device))
        # Numbers of few bits: the products are exact, and only the softmax is tested.
        q, k = (sign * q).mul(2).round().to(dtype), k.mul(2).round().to(dtype)
        assert_near(case.run(q, k, v.to(dtype)), case.exact(q, k, v.to(dtype)), "large", factor=4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_rows_are_independent(device: torch.device, dtype: torch.dtype) -> None:
    """A row's bits do not depend on other rows, on the number of slots, or on memory order."""
    case = Case(9, 24, heads=2, slots=80, start=(0, 71, 30), window=50)
    q, k, v = case.drawn(dtype, device)
    whole = case.run(q, k, v)
    assert torch.equal(case.run(q.contiguous(), k.contiguous(), v.contiguous()), whole)
    for row, first in enumerate(case.start or ()):
        single = replace(case, start=(first,))
        one = slice(row, row + 1)
        assert torch.equal(single.run(q[one], k[one], v[one]), whole[one])
        slots = first + 9
        fewer = single.run(q[one], k[one, :, :slots], v[one, :, :slots])
        assert torch.equal(fewer, whole[one])


def test_sections_of_heads(device: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    """The order of programs does not change any bit, and every block is computed."""
    from ancestral.triton_kernels.masked_attention import kernel

    case = Case(70, heads=4, group=2)
    q, k, v = case.drawn(torch.bfloat16, device)
    whole = case.run(q, k, v)
    for heads in (1, 3):
        monkeypatch.setattr(kernel, "L2_BYTES", heads * 2 * 70 * 16 * 2)
        assert torch.equal(case.run(q, k, v), whole)


def test_memory_order(device: torch.device) -> None:
    """Queries, keys and values may have any order in memory: here 9 different strides."""
    case = Case(35, 24, heads=4, group=2, start=(0, 0))
    parts = case.drawn(torch.float32, device)
    whole = case.run(*parts)
    orders = ((2, 0, 1, 3), (1, 2, 0, 3), (0, 1, 2, 3))
    views = []
    for x, order, width in zip(parts, orders, (26, 31, 40), strict=True):
        stored = torch.full((*(x.shape[i] + 1 for i in order[:3]), width), torch.nan, device=device)
        view = stored.permute(*(order.index(i) for i in range(4)))[:2, : x.shape[1], :35, :24]
        views.append(view.copy_(x))
    strides = [stride for view in views for stride in view.stride()[:3]]
    assert len(set(strides)) == 9
    assert torch.equal(case.run(*views), whole)


@settings(max_examples=8, deadline=None, derandomize=True)
@given(data=st.data())
def test_shapes(device: torch.device, data: st.DataObject) -> None:
    s = data.draw(st.integers(1, 70), "s")
    group = data.draw(st.integers(1, 2), "g")
    slots = s + data.draw(st.integers(0, 70), "room")
    start = st.lists(st.integers(0, slots - s), min_size=1, max_size=2).map(tuple)
    case = Case(
        s,
        data.draw(st.integers(1, 40), "d"),
        group * data.draw(st.integers(1, 2), "queries per head"),
        group,
        slots,
        data.draw(st.none() | start, "start"),
        data.draw(st.none() | st.integers(1, slots + 1), "window"),
        data.draw(st.none() | st.floats(0.05, 1.0), "scale"),
    )
    dtype = data.draw(st.sampled_from(FLOATS), "dtype")
    q, k, v = case.drawn(dtype, device)
    assert_near(case.run(q, k, v), case.exact(q, k, v), str(case))


@pytest.mark.slow
@pytest.mark.parametrize("dtype", EACH_FLOAT, ids=str)
@pytest.mark.parametrize("d", [24, 64, 128, 256])
@pytest.mark.parametrize("window", [None, 1, 63, 64, 200])
def test_long(device: torch.device, dtype: torch.dtype, d: int, window: int | None) -> None:
    case = Case(300, d, slots=420, start=(120, 77), window=window)
    q, k, v = case.drawn(dtype, device)
    assert_near(case.run(q, k, v), case.exact(q, k, v), "long", factor=2)


@pytest.mark.parametrize("empty", [(0, 2, 3, 8), (2, 2, 0, 8), (2, 0, 3, 8)])
def test_empty(device: torch.device, empty: tuple[int, ...]) -> None:
    from ancestral.triton_kernels.masked_attention.kernel import launch

    q = torch.zeros(empty, device=device)
    k = torch.zeros(empty[0], 2, 5, 8, device=device)
    assert launch(q, k, k, None, None, None).shape == empty
