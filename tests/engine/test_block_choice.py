"""Sizes of blocks: near the best for given costs and chances, and quick to follow a change."""

from collections.abc import Callable

import numpy as np
import pytest

from ancestral.engine.speculation.block_choice import BlockChoice

COSTS = {1: 1.0, 2: 1.2, 4: 1.5, 8: 2.0, 16: 3.0, 32: 5.0}


def outcome(rate: Callable[[float], float], costs: dict[int, float], length: int = 1000) -> float:
    """Return values per second of a row whose proposals are right with chances by position."""
    choice, rng = BlockChoice(costs), np.random.default_rng(0)
    values = seconds = 0.0
    while values < length:
        rest = choice.rest(64)
        size = choice.size()
        wrong = rng.random(size - 1) >= rate(values)
        right = int(np.argmax(np.append(wrong, True)))
        choice.seen(size - 1, right)
        values, seconds = values + rest + right + 1, seconds + rest * costs[1] + costs[size]
    return values / seconds


@pytest.mark.parametrize("rate", [0.0, 0.3, 0.6, 0.9, 1.0])
def test_sizes_are_nearly_the_best(rate: float) -> None:
    def per_second(size: int) -> float:
        return (size if rate == 1 else (1 - rate**size) / (1 - rate)) / COSTS[size]

    best = max(per_second(size) for size in COSTS)
    assert outcome(lambda position: rate, COSTS) > 0.85 * best


def test_sizes_follow_a_change() -> None:
    """A text that begins to repeat itself is noticed although single steps were the best."""
    late = outcome(lambda position: float(position > 300), COSTS, 3000)
    assert late > 2.5
    assert outcome(lambda position: 0.0, {1: 1.0, 2: 1.9, 4: 3.0}) > 0.95


def test_sizes_are_deterministic() -> None:
    runs = [outcome(lambda position: 0.5, COSTS) for _ in range(2)]
    assert runs[0] == runs[1]


def test_costs_of_proposals_count() -> None:
    cheap, dear = BlockChoice(COSTS), BlockChoice(COSTS, proposal=2.0)
    assert cheap.size() > 1
    assert dear.rest(64) == 0
    assert [dear.size() for _ in range(3)] == [2, 2, 2]
    assert (dear.rest(5), dear.rest(64), dear.rest(64)) == (5, 3, 0)


def test_blocks_are_tried_in_sequence() -> None:
    """After a pause from blocks, only the second one in sequence has right proposals."""
    choice, rng, sizes, in_sequence = BlockChoice(COSTS), np.random.default_rng(0), [], False
    for call in range(400):
        in_sequence = in_sequence and not choice.rest(64)
        size = choice.size()
        right = in_sequence and call > 100 and rng.random() < 0.8
        choice.seen(size - 1, right * (size - 1))
        in_sequence = True
        sizes.append(size)
    assert np.mean(np.array(sizes[200:]) > 4) > 0.9
