"""Speculation: what is refused, what is reported, how blocks are sized, what is proposed."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from ancestral.dataspec import DataSpec
from ancestral.engine import AutoregressiveEngine, Request, Sampling, prompt_batch
from ancestral.engine.noise import Noise
from ancestral.engine.speculation import (
    Draft,
    Jacobi,
    Ngram,
    Proposals,
    Row,
    Speculation,
    Table,
    WholeEvents,
    plan,
    speculated_row,
)
from ancestral.engine.speculation.block_choice import BlockChoice
from ancestral.errors import InvalidInput
from ancestral.sampling import UNFILTERED
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


# ---------------------------------------------------------------------------------------- blocks

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
    assert dear.size() == 2
    assert (dear.rest(5), dear.rest(64), dear.rest(64)) == (5, 3, 0)


# ------------------------------------------------------------------------------------- proposals


def row_of(data: DataSpec, sampling: Sampling = UNFILTERED, label: int | None = None) -> Row:
    free = np.full(data.length, -1)
    return Row(data, free, Noise(3, 0), None if label is None else np.array([label]), sampling)


TEXT = DataSpec(name="text", event_shape=(40,), levels=10)


def test_ngram_copies_what_followed() -> None:
    values = np.full(40, -1)
    values[:14] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1, 2, 3, 4]
    with Ngram().begin(row_of(TEXT)) as proposals:
        np.testing.assert_array_equal(proposals.propose(values, 14, 5), [5, 6, 7, 8, 9])
        # 2, 8, 9 was not seen before, and 8, 9 was followed by 0.
        values[14:17] = [2, 8, 9]
        assert proposals.propose(values, 17, 1).tolist() == [0]


def test_ngram_reads_its_corpus_up_to_the_ends_of_texts() -> None:
    ngram = Ngram([[1, 2, 3], [4, 5, 6, 7]])
    values = np.full(40, -1)
    values[:2] = [1, 2]
    with ngram.begin(row_of(TEXT)) as proposals:
        # After 3 the first text ends: 2, 3 is followed by nothing, also not by the next text.
        assert proposals.propose(values, 2, 4).tolist() == [3]
        values[:2] = [4, 5]
    with ngram.begin(row_of(TEXT)) as proposals:
        assert proposals.propose(values, 2, 4).tolist() == [6, 7]


def test_ngram_draws_with_the_noise_of_the_row() -> None:
    corpus = [[1, 2, 3]] * 3 + [[1, 2, 7]]
    found = []
    for seed in range(200):
        row = replace(row_of(TEXT), noise=Noise(seed, 0))
        values = np.full(40, -1)
        values[:2] = [1, 2]
        with Ngram(corpus).begin(row) as proposals:
            value = int(proposals.propose(values, 2, 1)[0])
        assert value == (3 if row.u[2] < 0.75 else 7)
        found.append(value)
    assert set(found) == {3, 7}
    with Ngram(corpus).begin(row_of(TEXT, Sampling(temperature=0))) as proposals:
        assert proposals.propose(values, 2, 1).tolist() == [3]


def test_table_counts_neighbours(tiny: AutoregressiveEngine) -> None:
    """In images whose columns are alike, the value above is the next value."""
    columns = np.random.default_rng(0).integers(0, 3, (60, 1, 3))
    data = tiny.data
    table = Table(np.broadcast_to(columns, (60, 3, 3)), data)
    table.check(tiny)
    values = np.full(9, -1)
    values[:3] = [2, 0, 1]
    hits = 0
    for seed in range(50):
        row = replace(row_of(data, label=1), noise=Noise(seed, 0))
        with table.begin(row) as proposals:
            hits += int((proposals.propose(values, 3, 6) == [2, 0, 1, 2, 0, 1]).sum())
    assert hits > 0.9 * 300


def test_table_of_labels(tiny: AutoregressiveEngine) -> None:
    events = np.repeat([[[0] * 3] * 3, [[2] * 3] * 3], 40, axis=0)
    labels = np.repeat([0, 1], 40)
    table = Table(events, tiny.data, labels)
    found = set()
    for seed in range(30):
        row = replace(row_of(tiny.data, label=2), noise=Noise(seed, 0))
        with table.begin(row) as proposals:
            found.add(int(proposals.propose(np.full(9, -1), 0, 1)[0]))
    assert found == {0, 2}, "without a label, the counts of all"
    for label, value in ((0, 0), (1, 2)):
        with Table(events, tiny.data, labels).begin(row_of(tiny.data, label=label)) as proposals:
            first = proposals.propose(np.full(9, -1), 0, 1)
        assert first.tolist() == [value]


@pytest.mark.parametrize(
    ("events", "labels", "message"),
    [
        (np.zeros((2, 9), int), None, r"expected at least one event \[3, 3\]"),
        (np.zeros((0, 3, 3), int), None, "expected at least one event"),
        (np.full((1, 3, 3), 3), None, "events: "),
        (np.zeros((2, 3, 3), int), [0, 2], "labels: "),
    ],
)
def test_table_refuses(tiny: AutoregressiveEngine, events: Any, labels: Any, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        Table(events, tiny.data, labels)


def test_table_of_other_data(tiny: AutoregressiveEngine, load: Load) -> None:
    table = Table(np.zeros((2, 3, 3), int), tiny.data)
    with pytest.raises(InvalidInput, match="table: expected ordering"):
        table.check(autoregressive(load, "table", "onnxruntime"))


def test_jacobi_proposes_what_the_last_block_drew() -> None:
    values = np.array([1, 2, 3, 4, -1, -1])
    with Jacobi().begin(row_of(TEXT)) as proposals:
        assert proposals.propose(values, 2, 4).tolist() == [3, 4, 4, 4]
        assert proposals.propose(values, 2, 2).tolist() == [3, 4]
        assert proposals.propose(np.full(6, -1), 0, 2).tolist() == [0, 0]


# ---------------------------------------------------------------------------------------- verify


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
