"""The baseline is a fair one: it draws what the engine draws, from the same distribution."""

from functools import partial

import numpy as np
import pytest

from ancestral.engine import Engine
from benchmarks import decode, plain_loop
from benchmarks.cases import Case, bundle, plain_graph
from benchmarks.plain_loop import PlainLoop

# The baseline is also run by the benchmarks, which compare it with the graphs.
pytestmark = pytest.mark.slow


@pytest.mark.parametrize("search_from", [1, 10**9], ids=["binary search", "comparison"])
@pytest.mark.parametrize("rows", [1, 3])
def test_draws_and_log_probs_are_the_engines(
    toy_case: Case, rows: int, search_from: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plain_loop, "SEARCH_FROM", search_from)
    given = decode.Given.of(toy_case, rows)
    baseline = PlainLoop(plain_graph(toy_case), rows, threads=1)
    for _ in range(2):  # the second pass finds what the first left in the caches
        drawn = decode.plain(baseline, given, with_log_p=True)
    engine = Engine.load(bundle(toy_case), threads=1)
    samples = engine.sample(rows, observed=given.values)
    np.testing.assert_array_equal(drawn.values, samples.x.reshape(rows, -1))
    assert decode.distance(engine, drawn, given.prefix) < 1e-5


def test_another_distribution_is_noticed(toy_case: Case) -> None:
    """Planted fault: log-probabilities that are 1% too large are noticed."""
    given = decode.Given.of(toy_case, 3)
    baseline = PlainLoop(plain_graph(toy_case), 3, threads=1)
    drawn = decode.plain(baseline, given, with_log_p=True)
    engine = Engine.load(bundle(toy_case), threads=1)
    assert drawn.log_p is not None
    drawn.log_p[:] *= 1.01
    assert decode.distance(engine, drawn, given.prefix) > 1e-3


def test_cache_lengths_are_compared_at_equal_positions(toy_case: Case) -> None:
    """Loops with equal caches each have all their rounds, and their log-probabilities agree."""
    engine = Engine.load(bundle(toy_case), threads=1)
    bindings = [engine.session("step").bind({"b": 3, "s": 1}) for _ in range(2)]
    steps = [partial(decode.first_steps, engine, each, 3, toy_case.length) for each in bindings]
    own, other = decode.in_turns(steps, rounds=2)
    assert len(own) == len(other) == 2
    assert min(each.decode_s for each in (*own, *other)) > 0
    assert decode.distance(engine, other[-1], 0) < 1e-5
