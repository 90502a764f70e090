"""Speculation: what is refused, what is reported, how blocks are sized, what is proposed."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from ancestral.engine import AutoregressiveEngine, Request, Sampling, prompt_batch
from ancestral.engine.speculation import (
    Draft,
    Jacobi,
    Ngram,
    Proposals,
    Row,
    Speculation,
    WholeEvents,
    plan,
    speculated_row,
)
from ancestral.errors import InvalidInput
from tests.conftest import Load, autoregressive


@pytest.fixture
def tiny(load: Load) -> AutoregressiveEngine:
    return autoregressive(load, "tiny", "onnxruntime")


class Odd:
    """A proposer that is wrong in a given way."""

    name = "odd"

    def __init__(self, propose: Callable[..., Any], begin: Callable[[], object] = lambda: None):
        self._propose, self._begin = propose, begin

    def check(self, runner: object) -> None: ...

    def seconds(self) -> float:
        return 0.0

    @contextmanager
    def begin(self, row: Row) -> Iterator[Proposals]:
        self._begin()
        propose = self._propose

        class Proposing:
            def propose(self, values: Any, position: int, most: int) -> Any:
                return propose(values, position, most)

        yield Proposing()


def raises(*given: Any) -> Any:
    raise KeyError("no such thing")


def writes(values: Any, position: int, most: int) -> Any:
    values[position] = 0


NONSENSE = {
    "raises": (raises, "KeyError"),
    "writes": (writes, "read-only"),
    "too many": (lambda values, position, most: np.zeros(most + 1, np.int64), "at most 3 values"),
    "no level": (lambda values, position, most: np.full(most, 3), r"expected values in 0 \.\. 2"),
    "negative": (lambda values, position, most: np.full(most, -1), r"expected values in 0 \.\. 2"),
    "floats": (lambda values, position, most: np.zeros(most), "expected an array of int64"),
    "a list": (lambda values, position, most: [0], "expected an array of int64"),
}


@pytest.mark.parametrize("case", NONSENSE)
def test_nonsense_is_reported_and_changes_nothing(tiny: AutoregressiveEngine, case: str) -> None:
    propose, message = NONSENSE[case]
    plain = tiny.sample(2, [0, 1], seed=4)
    s = tiny.sample(2, [0, 1], seed=4, speculate=Speculation(Odd(propose), 4))
    np.testing.assert_array_equal(s.x, plain.x)
    assert s.speculated.calls == s.speculated.positions == 18
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(s.speculated.remark)


def test_proposer_that_cannot_begin(tiny: AutoregressiveEngine) -> None:
    plain = tiny.sample(1, 0, seed=4)
    s = tiny.sample(1, 0, seed=4, speculate=Odd(raises, raises))
    np.testing.assert_array_equal(s.x, plain.x)
    assert "no such thing" in s.speculated.remark


def test_empty_proposals_step(tiny: AutoregressiveEngine) -> None:
    nothing = Odd(lambda values, position, most: np.empty(0, np.int64))
    s = tiny.sample(1, 0, seed=4, speculate=nothing)
    assert s.speculated.blocks == {1: 9}
    assert s.speculated.remark is None


@pytest.mark.parametrize(
    ("speculate", "message"),
    [
        ("fast", "expected None, 'auto', a Proposer, a Speculation or WholeEvents"),
        (3, "expected None, 'auto', a Proposer, a Speculation or WholeEvents"),
        (Speculation(Jacobi(), 0), "block"),
        (Speculation(Jacobi(), 1.5), "block"),
        (Ngram([[0, 1, 5]]), r"corpus: expected values in 0 \.\. 2"),
    ],
)
def test_refused(tiny: AutoregressiveEngine, speculate: Any, message: str) -> None:
    for call in (
        lambda: tiny.sample(1, 0, speculate=speculate),
        lambda: tiny.generate([[0]], labels=0, speculate=speculate),
        lambda: tiny.stream([Request([0], label=0)], speculate=speculate),
    ):
        with pytest.raises(InvalidInput, match=message):
            call()


@pytest.mark.parametrize(
    ("change", "value"),
    [
        ("event_shape", (9, 1)),
        ("levels", 4),
        ("ordering", "column"),
        ("num_classes", None),
        ("tokenizer", "bytes"),
    ],
)
def test_draft_of_other_data(tiny: AutoregressiveEngine, change: str, value: Any) -> None:
    draft = Draft(tiny)
    draft.check(tiny)
    other = SimpleNamespace(data=tiny.data.model_copy(update={change: value}), first_position=0)
    with pytest.raises(InvalidInput, match=f"draft: expected {change} "):
        draft.check(other)


def test_draft_that_needs_a_label(tiny: AutoregressiveEngine) -> None:
    manifest = tiny.bundle.manifest.model_copy(update={"label_optional": True})
    other = SimpleNamespace(
        data=tiny.data, first_position=0, bundle=SimpleNamespace(manifest=manifest)
    )
    with pytest.raises(InvalidInput, match=r"draft: expected a model of p\(x\) as well"):
        Draft(tiny).check(other)


def test_draft_without_a_start_symbol(load: Load) -> None:
    draft = Draft(autoregressive(load, "startless", "onnxruntime"))
    other = SimpleNamespace(data=draft._runner.data, first_position=0, bundle=draft._runner.bundle)
    with pytest.raises(InvalidInput, match="draft: expected a model with a start symbol"):
        draft.check(other)


def test_draft_that_cannot_go_back(load: Load) -> None:
    with pytest.raises(InvalidInput, match="cannot go back after a wrong proposal"):
        Draft(autoregressive(load, "gru", "onnxruntime"))
    with pytest.raises(InvalidInput, match="expected the engine of an autoregressive bundle"):
        Draft("demo/digits")


@pytest.mark.parametrize(
    ("toy", "reason"),
    [
        ("gru", "the state of the model cannot go back"),
        ("pixelcnn", "the model takes one position a step"),
    ],
)
def test_models_that_step(load: Load, toy: str, reason: str) -> None:
    """Given a proposer they are refused; "auto" draws step by step, and says why."""
    engine = autoregressive(load, toy, "onnxruntime")
    label = None if engine.data.num_classes is None else 0
    with pytest.raises(InvalidInput, match=f"speculate: {reason}"):
        engine.sample(1, label, speculate=Jacobi())
    s = engine.sample(1, label, seed=2, speculate="auto")
    np.testing.assert_array_equal(s.x, engine.sample(1, label, seed=2).x)
    assert s.speculated.proposer is None
    assert s.speculated.remark.startswith(reason)
    assert s.speculated.calls == s.speculated.positions == engine.data.length
    with pytest.raises(InvalidInput, match=reason):
        engine.stream([], speculate=Ngram())


def test_whole_events_are_refused(tiny: AutoregressiveEngine) -> None:
    whole = WholeEvents()
    with pytest.raises(InvalidInput, match="without temperature, filters, bias and logprobs"):
        tiny.sample(1, 0, sampling=Sampling(0.5), speculate=whole)
    with pytest.raises(InvalidInput, match="without temperature, filters, bias and logprobs"):
        tiny.sample(1, 0, logprobs=1, speculate=whole)
    for call in (
        lambda: tiny.generate([[0]], labels=0, speculate=whole),
        lambda: tiny.stream([Request([0], label=0)], speculate=whole),
    ):
        with pytest.raises(InvalidInput, match="whole events are drawn by `sample` only"):
            call()


def test_penalties_step(tiny: AutoregressiveEngine) -> None:
    sampling = Sampling(presence_penalty=0.5)
    with pytest.raises(InvalidInput, match="speculate: penalties depend on the values before"):
        tiny.sample(1, 0, sampling=sampling, speculate=Jacobi())
    remark = tiny.sample(1, 0, sampling=sampling, speculate="auto").speculated.remark
    assert remark.startswith("penalties depend")
    assert not Sampling(logit_bias={1: 2.0}).penalised
    assert Sampling(logit_bias={1: 2.0}, repetition_penalty=1.1).penalised


def test_auto_steps_several_rows(tiny: AutoregressiveEngine) -> None:
    several = tiny.sample(3, 0, speculate="auto").speculated
    assert (several.proposer, several.remark) == (
        None,
        "3 rows are drawn faster by steps of all rows",
    )
    assert tiny.sample(1, 0, speculate="auto").speculated.proposer == "jacobi"


def test_every_way_to_draw_speculates(tiny: AutoregressiveEngine) -> None:
    jacobi, request = Speculation(Jacobi(), 3), Request([0], label=0, seed=2)
    batches = list(tiny.sample_batches(2, 0, speculate=jacobi))
    assert [part.speculated.proposer for part in batches] == ["jacobi"] * 2
    desk = tiny.desk(2, speculate=jacobi)
    with desk.lease:
        desk.offer(request)
        while not desk.idle:
            desk.round()
    assert desk.speculated.positions == 8

    async def streamed() -> Any:
        stream = tiny.astream([request], speculate=jacobi)
        async for _ in stream:
            pass
        return stream.speculated

    assert asyncio.run(streamed()).positions == 8
    assert tiny.desk(2).speculated is None


def test_prefilled_positions_are_not_counted(tiny: AutoregressiveEngine) -> None:
    observed = np.array([[[0, 1, 2], [0, -1, -1], [-1, -1, -1]]])
    for speculate in ("auto", Speculation(Jacobi(), 3)):
        for n in (1, 2):
            s = tiny.sample(n, 0, observed=observed[0], speculate=speculate)
            assert s.speculated.positions == 5 * n


def test_streamed_tokens_do_not_wait_for_a_long_launch(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While blocks do not pay, a stream still gets its tokens a few steps at a time."""
    monkeypatch.setattr(plan, "block_costs", lambda runner, graph: {1: 1.0, 2: 9.0})
    engine = autoregressive(load, "text", "onnxruntime")
    sizes: list[int] = []
    wrong = Odd(lambda values, position, most: np.zeros(most, np.int64))
    engine.generate(
        [[1]], stop=(), speculate=wrong, stream=lambda index, tokens: sizes.append(len(tokens))
    )
    assert max(sizes) <= prompt_batch.STEPS_PER_WORD
    assert sum(sizes) == engine.data.length - 1


def test_join_adds_the_counts(tiny: AutoregressiveEngine) -> None:
    one = [tiny.sample(1, 0, first_index=i, speculate=Speculation(Jacobi(), 4)) for i in (0, 1)]
    both = tiny.sample(2, 0, speculate=Speculation(Jacobi(), 4)).speculated
    first, second = (each.speculated for each in one)
    assert both.calls == first.calls + second.calls
    assert both.blocks == first.blocks + second.blocks
    assert both.kept == first.kept + second.kept
    assert both.to_json()["positions"] == 18


def test_verify_finds_wrong_blocks(
    tiny: AutoregressiveEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert tiny.compare().passed
    agreeing = speculated_row._agreeing
    monkeypatch.setattr(
        speculated_row,
        "_agreeing",
        lambda proposed, drawn: min(agreeing(proposed, drawn) + 1, len(proposed)),
    )
    report = tiny.compare()
    assert not report.passed
    assert any("unexplained draws" in failure for failure in report.failures)
