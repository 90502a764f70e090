"""Laws: the steps' log-probabilities sum to log p, and a prefilled prefix changes nothing."""

import numpy as np
import pytest
from numpy.typing import NDArray

from ancestral.engine import Engine, step_loop

from .faults import plant
from .laws import assert_close, events, given, limits, position_log_prob

B = 6


def stepped(
    engine: Engine, x: NDArray[np.int64], label: NDArray[np.int64] | None
) -> step_loop.LoopResult:
    """Run steps of one position each with every value forced."""
    return step_loop.draw(
        engine.session("step").bind({"b": len(x), "s": 1}),
        step_loop.Start(x, given(engine, len(x), label), engine.first_position, prefill=False),
    )


def check_steps(engine: Engine) -> None:
    """Check that cached steps give the parallel graph's log p, per position and summed."""
    x, label = events(engine, B)
    got = stepped(engine, x, label).log_p
    expected = position_log_prob(engine, x, label)
    assert_close(got, expected, limits(engine).nats, "steps, per position")
    assert_close(got.sum(1), expected.sum(1), limits(engine).nats, "steps, summed")


def check_block(engine: Engine) -> None:
    """Check that a prefix run as one block of the step graph gives the steps' log p."""
    x, label = events(engine, B)
    expected = stepped(engine, x, label).log_p
    for n in (2, 3, engine.data.length - 1, engine.data.length):
        observed = np.where(np.arange(x.shape[1]) < n, x, -1)
        drawn = step_loop.draw(
            engine.session("step").bind({"b": B, "s": 1}),
            step_loop.Start(observed, given(engine, B, label), engine.first_position),
        )
        assert_close(drawn.log_p[:, :n], expected[:, :n], limits(engine).nats, f"block of {n}")


def check_prefill(engine: Engine, *, bound: bool) -> None:
    """Check that steps after the prefill graph, in their loop or not, give the steps' log p."""
    x, label = events(engine, B)
    t = x.shape[1]
    expected = stepped(engine, x, label).log_p
    session = engine.session("prefill")
    names = [pair.input for pair in session.signature.carried]
    first = engine.first_position
    for n in (first + 1, 2, t - 2, t - 1):
        step = engine.session("step").bind({"b": B, "s": 1})
        for name, array in given(engine, B, label).items():
            step.write(name, array)
        if bound:
            step.write("values", x)
            step.fill(session, first, n - first, slice(0, B))
        else:
            arrays = {"values": x, "position": np.full(B, first), "offsets": np.arange(n - first)}
            arrays |= {} if label is None else {"label": label}
            outputs = session.run(arrays | {name: step.read(name) for name in names})
            for pair in session.signature.carried:
                step.write(pair.input, outputs[pair.output])
        step.write("observed", x)
        step.write("values", x)
        step.write("position", np.full(B, n))
        step.run(t - n)
        got = step.read("log_p")
        assert not got[:, :n].any(), "a step wrote before its position"
        assert_close(got[:, n:], expected[:, n:], limits(engine).nats, f"prefix of {n}")


def test_steps(engine: Engine) -> None:
    check_steps(engine)


@pytest.mark.parametrize("backend", ["torch", "onnxruntime"])
@pytest.mark.parametrize("fault", ["scale wrong", "stale slots", "window"])
def test_planted(bundles, tmp_path, backend: str, fault: str) -> None:
    toy = "llama" if fault == "window" else "tiny"
    with pytest.raises(AssertionError, match=r"steps, per position: max .* mean .* worst at"):
        check_steps(plant(bundles(toy), tmp_path, fault, toy, backend))


@pytest.mark.parametrize("toy", ["tiny", "llama", "startless", "gru", "lstm", "table"])
def test_block(engine: Engine) -> None:
    check_block(engine)


def test_block_planted(bundles, tmp_path) -> None:
    toy = "startless"
    with pytest.raises(AssertionError, match="block of"):
        check_block(plant(bundles(toy), tmp_path, "block wrong", toy, "torch"))


@pytest.mark.parametrize("bound", [False, True], ids=["run", "bind"])
@pytest.mark.parametrize("toy", ["tiny", "startless", "gru"])
def test_prefill(engine: Engine, bound: bool) -> None:
    check_prefill(engine, bound=bound)


@pytest.mark.parametrize("backend", ["torch", "onnxruntime"])
def test_prefill_planted(bundles, tmp_path, backend: str) -> None:
    engine = plant(bundles("tiny"), tmp_path, "block wrong", "tiny", backend)
    with pytest.raises(AssertionError, match="prefix of"):
        check_prefill(engine, bound=False)
