"""Compare our operators with others on the same inputs: capture, check, time in alternation."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar

import torch
from torch import Tensor

from benchmarks.gpu.clock import Captured, Side, nothing
from benchmarks.gpu.part import OURS, Bench, Sizes, sentence
from benchmarks.gpu.rows import GpuRow, Skipped
from benchmarks.parity import Parity
from tests.triton_kernels.kernels.compare import TOLERANCE

LONG = 2.0
"""Factor on the tolerance for sums over several thousand terms."""


def relative_error(got: Tensor, exact: Tensor) -> float:
    """Return the largest error relative to the largest exact value of its row; infinite for NaN.

    >>> relative_error(torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0, 4.0]]).double())
    0.5
    """
    assert got.shape == exact.shape, (got.shape, exact.shape)
    scale = exact.abs().amax(dim=-1, keepdim=True).clamp_min(1e-30)
    error = ((got.double() - exact) / scale).abs().nan_to_num(nan=torch.inf)
    return float(error.amax()) if error.numel() else 0.0


def worst(pairs: Iterable[tuple[Tensor, Tensor]]) -> float:
    """Return the largest relative error of results compared with float64."""
    return max(relative_error(got, exact) for got, exact in pairs)


def parity(
    pairs: Iterable[tuple[Tensor, Tensor]], dtype: torch.dtype, factor: float = 1.0
) -> Parity:
    """Return the parity of results.

    Args:
        pairs: results of a kernel, whole or in pieces, each with its float64 reference.
        dtype: dtype that determines the tolerance.
        factor: factor on the tolerance, for sums over many terms.
    """
    return relative(worst(pairs), dtype, factor)


def relative(error: float, dtype: torch.dtype, factor: float = 1.0) -> Parity:
    """Return the parity of a relative error."""
    limit = factor * TOLERANCE[dtype]
    return Parity(reference="PyTorch in float64", relative=error, limit_relative=limit)


I = TypeVar("I")


@dataclass(frozen=True, slots=True)
class Others(Generic[I]):
    """The baselines of an operator.

    Attributes:
        calls: function of one input, by the name of the baseline.
        error: function that returns the error of the calls' results; None if it is not known.
        least_ratio: target for each baseline's time over ours.
        least_share: target for our fraction of the ceiling.
    """

    calls: Mapping[str, Callable[[I], object]]
    error: Callable[[list[Tensor]], float] | None = None
    least_ratio: float | None = None
    least_share: float | None = None


def compare(
    sizes: Sizes,
    turns: Sequence[I],
    ours: Captured[object],
    parity: Parity,
    others: Others[I],
    bench: Bench,
    prepare: Callable[[], None] = nothing,
) -> Iterator[GpuRow | Skipped]:
    """Yield a row for each baseline; a baseline that fails is skipped, and ours is measured.

    Args:
        sizes: sizes of the cell.
        turns: input of each call.
        ours: our calls on these inputs.
        parity: parity of our results.
        others: the baselines.
        bench: settings of the part.
        prepare: function that runs before the calls of a side, and is not timed.
    """
    sides, details = [Side(OURS, ours.run, ours.calls, prepare)], {OURS: {"build_s": ours.build_s}}
    for name, call in others.calls.items():
        try:
            built = Captured([partial(call, each) for each in turns], bench.device)
            details[name] = {"baseline_build_s": built.build_s}
            if others.error is not None:
                built.run()
                details[name]["baseline_error"] = others.error(built.outputs)
        except Exception as error:  # noqa: BLE001 - a baseline's error is reported
            yield Skipped(f"{bench.part}, {sizes.name}, {name}", sentence(error))
            continue
        sides.append(Side(name, built.run, built.calls, prepare))
    yield from bench.rows(
        sizes.name,
        sizes.dtype,
        bench.clock().interleaved(sides),
        parity,
        work=sizes.work,
        least_ratio=others.least_ratio,
        least_share=others.least_share,
        details=details,
    )
