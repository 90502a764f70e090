"""Launches of a stream: how many steps, of which rows."""

from collections.abc import Sequence
from typing import Any

import pytest

from ancestral.engine import AutoregressiveEngine, Request, row_loop, slots
from tests.text_toys import CONTEXT

Launch = tuple[int, slice | None]


@pytest.fixture
def launches(monkeypatch: pytest.MonkeyPatch) -> list[Launch]:
    """Steps and rows of each launch, in order."""
    found: list[Launch] = []
    real = row_loop.run_rows

    def run_rows(binding: Any, steps: int, rows: slice | None) -> None:
        found.append((steps, rows))
        real(binding, steps, rows)

    monkeypatch.setattr(row_loop, "run_rows", run_rows)
    return found


def drawn(engine: AutoregressiveEngine, requests: Sequence[Request], size: int) -> list[int]:
    """Return the number of values of each request."""
    found = [0] * len(requests)
    for delta in engine.stream(requests, size):
        found[delta.request] += len(delta.values)
    return found


def test_no_step_draws_after_an_end_that_is_known(
    text: AutoregressiveEngine, launches: list[Launch]
) -> None:
    """With one slot, there are as many steps as values, for `max_new` and at the context's end."""
    new = [1, 11, 3, None, 6, 17]
    requests = [Request([1 + i], max_new=each, stop=()) for i, each in enumerate(new)]
    values = drawn(text, requests, 1)
    assert values == [CONTEXT - 1 if each is None else each for each in new]
    assert sum(steps for steps, _ in launches) == sum(values)


@pytest.mark.parametrize(
    ("size", "options", "longest"),
    [
        pytest.param(2, {}, 2 * slots.STEPS, id="full"),
        pytest.param(3, {}, slots.STEPS, id="a free slot"),
        pytest.param(2, {"stop": [5]}, slots.STEPS, id="stop values"),
        pytest.param(2, {"stop_text": ["zzzz"]}, slots.STEPS, id="stop texts"),
    ],
)
def test_longest_launch(
    text: AutoregressiveEngine,
    launches: list[Launch],
    size: int,
    options: dict[str, Any],
    longest: int,
) -> None:
    """A launch is longer where nothing could take a slot sooner."""
    fields: dict[str, Any] = {"stop": ()} | options
    drawn(text, [Request([1], max_new=17, index=i, **fields) for i in range(2)], 2)
    launches.clear()
    stream = text.stream(
        iter([Request([1], max_new=17, index=i, **fields) for i in range(2)]), size
    )
    list(stream)
    assert max(steps for steps, _ in launches) == longest


def test_filling_rows_wait_without_steps(
    text: AutoregressiveEngine, launches: list[Launch], monkeypatch: pytest.MonkeyPatch
) -> None:
    """While prompts fill, launches are short, and rows above the last live one do not run."""
    monkeypatch.setattr(slots, "CHUNK", 2)
    monkeypatch.setattr(slots, "CHUNKS", 1)
    requests = [Request([1 + i] * 8, max_new=16, stop=(), index=i) for i in range(4)]
    values = drawn(text, requests, 4)
    assert values == [16] * 4
    # The first prompt is done, then one chunk of the others between two launches.
    assert launches[:4] == [(1, slice(0, 1))] * 4
    assert (2, slice(0, 2)) in launches
    assert launches[-1][1] == slice(0, 4)


def test_counts_while_prompts_fill(
    text: AutoregressiveEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request whose prompt is not done is queued, though it has a slot."""
    monkeypatch.setattr(slots, "CHUNK", 2)
    monkeypatch.setattr(slots, "CHUNKS", 1)
    stream = text.stream([Request([1 + i] * 8, stop=(), index=i) for i in range(3)], 3)
    next(stream)
    assert (stream.counts.queued, stream.counts.running) == (2, 1)
