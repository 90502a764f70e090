"""The end of a step, from logits to a recorded value, compared with two versions in PyTorch.

"softmax and race" is PyTorch's sampling that does not wait for the host: the index of the largest
p / e, with e exponential, is a draw from p. It records nothing. "compiled" is our reference with
torch.compile, and does everything.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from ancestral.parity import tolerance
from ancestral.triton_kernels.sample_token import Drawn, sample_token
from ancestral.triton_kernels.sample_token.filters import Temperature
from benchmarks.gpu.clock import Captured, compiled, rotated, sets_of
from benchmarks.gpu.operators import Others, compare, relative, relative_error
from benchmarks.gpu.part import Bench, Cell, Work, cells_of
from benchmarks.gpu.rows import GpuRow, Skipped
from benchmarks.parity import Parity

LENGTH, START = 16, 3
"""Positions of an event, and the position of the rows."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """Sizes of a cell: rows, values, and the dtype of logits."""

    batch: int
    v: int
    dtype: torch.dtype = torch.float32

    @property
    def name(self) -> str:
        """The sizes as text."""
        return f"{self.batch} x {self.v:,} values"

    @property
    def work(self) -> Work:
        """Logits are read once; little is written."""
        return Work(4 * self.batch * (self.v + 16), 0, self.dtype)


GRID = tuple(Sizes(batch, v) for batch in (64, 1, 1024) for v in (256, 50_257))
TINY = (Sizes(2, 16),)


class Step(NamedTuple):
    """Inputs of one position: logits [b, v], u and observed [b, T], the state, temperature 1."""

    logits: Tensor
    u: Tensor
    observed: Tensor
    state: Drawn
    settings: Temperature

    @classmethod
    def drawn(cls, sizes: Sizes, device: torch.device) -> "Step":
        """Draw logits with standard deviation 2; the state is filled with NaN and -1."""
        b = sizes.batch
        state = Drawn(
            torch.full((b,), START, device=device),
            torch.full((b, LENGTH), -1, device=device),
            *(torch.full((b, LENGTH), torch.nan, device=device) for _ in range(2)),
        )
        u = torch.rand(b, LENGTH, device=device).clamp(2.0**-24, 1 - 2.0**-24)
        logits = 2 * torch.randn(b, sizes.v, device=device)
        one = Temperature(torch.ones(b, device=device))
        return cls(logits, u, torch.full((b, LENGTH), -1, device=device), state, one)


def cells(bench: Bench) -> list[Cell]:
    """Return one cell per entry of the grid."""
    return cells_of(TINY if bench.rehearsal else GRID, _cell)


def _cell(sizes: Sizes, bench: Bench) -> Iterator[GpuRow | Skipped]:
    from ancestral.triton_kernels.sample_token.kernel import launch

    torch.manual_seed(0)
    count = sets_of(int(sizes.work.bytes), bench.device)
    steps = [Step.drawn(sizes, bench.device) for _ in range(count)]
    turns = rotated(steps, bench.device)

    def rewind() -> None:
        for each in steps:
            each.state.position.fill_(START)

    ours = Captured([partial(launch, *each) for each in turns], bench.device)
    rewind()
    for each in steps:
        each.state.values.fill_(-1)
        each.state.log_p.fill_(torch.nan)
    ours.run()
    others = Others({"softmax and race": _race, "compiled": _reference(bench)})
    yield from compare(sizes, turns, ours, exactness(steps[-1]), others, bench, rewind)


def exactness(step: Step) -> Parity:
    """Check the draws in float64: log p, and values whose interval does not contain u."""
    value, log_p = step.state.values[:, START], step.state.log_p[:, START]
    p = step.logits.double().log_softmax(-1)
    inside = ((value >= 0) & (value < p.shape[1])).all()
    index = value.clamp(0, p.shape[1] - 1)[:, None]
    error = relative_error(log_p[None], p.gather(1, index).T)
    c = p.exp().cumsum(-1)
    edges = torch.nn.functional.pad(c / c[:, -1:], (1, 0))
    u = step.u[:, START].double()
    below, above = edges.gather(1, index)[:, 0] - u, u - edges.gather(1, index + 1)[:, 0]
    away = torch.maximum(below, above) > tolerance("triton", "float32").cdf
    wrong = int(away.sum()) if inside else len(value)
    return replace(relative(error, torch.float32), unexplained=wrong)


def _race(step: Step) -> Tensor:
    p = step.logits.softmax(-1)
    return (p / torch.empty_like(p).exponential_(1)).argmax(-1)


def _reference(bench: Bench) -> Callable[[Step], Drawn]:
    def whole(
        logits: Tensor, u: Tensor, observed: Tensor, state: Drawn, settings: Temperature
    ) -> Drawn:
        at = state.position[:, None]
        return sample_token(logits[:, None], at, u, observed, state, settings, repeats=True)

    made = compiled(whole, bench.device)
    return lambda step: made(*step)
