"""The sampling loop: write once, prefill, then many steps a launch, then read once."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ancestral.engine.arguments import check_size
from ancestral.engine.noise import Noise
from ancestral.engine.session import Array, Binding, Budget
from ancestral.errors import BundleError, NotADistribution
from ancestral.sampling import Sampling
from ancestral.scalars import whole
from ancestral.signature import BYTES, GraphSignature

STEPS_PER_LAUNCH = 64
"""Between two launches the host may report progress and be interrupted."""
_TOLD = 8
"""Samples that an error names."""

Progress = Callable[[int, int], None]
"""Told how many positions of how many are done."""


@dataclass(frozen=True, slots=True)
class LoopResult:
    """What a loop leaves: values [b, t]; log-probs of the drawn and of the model [b, t], nats."""

    values: NDArray[np.int64]
    log_p: NDArray[np.float32]
    log_q: NDArray[np.float32]


def check(log_p: NDArray[np.float32], first_index: int) -> None:
    """Refuse what was drawn from no distribution.

    Args:
        log_p: of each position of consecutive samples, [b, t].
        first_index: sample index of the first.

    Raises:
        NotADistribution: a log-probability is NaN; the samples are named.
    """
    rows, positions = np.nonzero(np.isnan(log_p))
    if len(rows):
        found = dict(zip(reversed(rows.tolist()), reversed(positions.tolist()), strict=True))
        told = [f"{first_index + row} (position {found[row]})" for row in sorted(found)]
        raise NotADistribution(
            f"logits: expected finite ones, or some that are, got none of sample "
            f"{', '.join(told[:_TOLD])}{', ...' if len(told) > _TOLD else ''}: the "
            f"weights may hold NaN, or activations overflow in this dtype"
        )


def check_values(values: NDArray[np.int64], levels: int) -> None:
    """Refuse drawn values that are not levels: pictures and tokenizers look them up.

    Args:
        values: of any shape.
        levels: of the data.

    Raises:
        BundleError: one is not.
    """
    if values.size and not (values.min() >= 0 and values.max() < levels):
        wrong = values[(values < 0) | (values >= levels)][0]
        raise BundleError(
            f"graph: expected drawn values in 0 .. {levels - 1}, got {wrong}: the bundle's graph "
            f"does not do what its manifest says; export it again, or fetch it anew"
        )


def bytes_of_row(signature: GraphSignature) -> int:
    """Memory that a row of a loop carries."""
    return sum(
        math.prod(spec.shape({"b": 1, "s": 1})) * BYTES[spec.dtype] for spec in signature.inputs
    )


def rows_per_batch(signature: GraphSignature, room: Budget) -> int:
    """How many rows one batch may have, by the memory that a row carries."""
    return max(1, min(room.rows, room.bytes // max(1, bytes_of_row(signature))))


def chosen_rows(signature: GraphSignature, room: Budget, batch: object, n: int) -> int:
    """How many rows a batch of n samples has: as many as a user asks for, or by memory.

    Raises:
        InvalidInput: it is not a number of rows, or they would be absurdly large.
    """
    if batch is None:
        return rows_per_batch(signature, room)
    rows = min(whole("batch", batch, 1, 2**32 - 1), n)
    check_size("batch", rows, bytes_of_row(signature))
    return rows


def takes_blocks(signature: GraphSignature) -> bool:
    """Whether a step graph does several positions at a time."""
    return any(spec.name == "offsets" for spec in signature.inputs)


def draw(
    binding: Binding,
    observed: NDArray[np.int64],
    given: dict[str, Array],
    *,
    first_position: int,
    prefill: bool = True,
    on_steps: Callable[[int], None] = lambda steps: None,
    noise: Noise | None = None,
) -> LoopResult:
    """Draw every free position of a batch, in order.

    Args:
        binding: of a step graph, of as many rows.
        observed: [b, t], -1 where free.
        given: label [b], filters [b]: what the graph is given beside; u [b, t] without noise.
        first_position: where the model begins.
        prefill: run what all rows observe as one block, where the graph takes blocks.
        on_steps: told after each launch how many positions it did.
        noise: what the rows draw with.
    """
    done = begin(
        binding,
        observed,
        given,
        first_position=first_position,
        prefill=prefill,
        on_steps=on_steps,
        noise=noise,
    )
    advance(binding, observed.shape[1] - done, on_steps)
    log_p = binding.read("log_p")
    filtered = "temperature" in given
    log_q = binding.read("log_q") if filtered else np.where(observed >= 0, np.float32(0), log_p)
    return LoopResult(binding.read("values"), log_p, log_q)


def begin(
    binding: Binding,
    observed: NDArray[np.int64],
    given: dict[str, Array],
    *,
    first_position: int,
    prefill: bool = True,
    on_steps: Callable[[int], None] = lambda steps: None,
    noise: Noise | None = None,
) -> int:
    """Write what a loop begins with, and run what all rows observe as one block; as `draw`.

    Returns:
        the next position of every row.
    """
    t: int = observed.shape[1]
    prefix = int(np.argmin(np.append((observed >= 0).all(axis=0), False)))
    if noise is not None:
        binding.draw_from(noise)
    for name, array in given.items():
        binding.write(name, array)
    binding.write("observed", observed)
    binding.write("values", np.maximum(observed, 0))
    binding.write("position", np.full(len(observed), first_position, np.int64))
    for name in ("log_p", "log_q"):
        if name == "log_p" or "temperature" in given:
            binding.write(name, np.zeros(observed.shape, np.float32))
    # The block ends before t - 1: there the next position would be clamped to the last one.
    block = min(prefix, t - 1) - first_position
    if not prefill or block <= 1:
        return first_position
    binding.run(block=block)
    on_steps(block)
    return first_position + block


def advance(
    binding: Binding, steps: int, on_steps: Callable[[int], None] = lambda steps: None
) -> None:
    """Run so many steps, in launches of a bounded number; told after each how many it did."""
    while steps > 0:
        launch = min(STEPS_PER_LAUNCH, steps)
        binding.run(launch)
        on_steps(launch)
        steps -= launch


def filters(sampling: Sampling, rows: int, levels: int) -> dict[str, Array]:
    """The settings of a draw for each row; none where nothing is filtered."""
    return {} if sampling.unfiltered else filter_rows(sampling, rows, levels)


def filter_rows(sampling: Sampling, rows: int, levels: int) -> dict[str, Array]:
    """What a filtered step is given; filters that are off are v, 1 and 0."""
    top_k = levels if sampling.top_k is None else min(sampling.top_k, levels)
    return {
        "temperature": np.full(rows, sampling.temperature, np.float32),
        "top_k": np.full(rows, top_k, np.int64),
        "top_p": np.full(rows, sampling.top_p, np.float32),
        "min_p": np.full(rows, sampling.min_p, np.float32),
    }
