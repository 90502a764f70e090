"""Laws of speculation: whatever is proposed, the sample is that of single steps."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ancestral import step_tensors as names
from ancestral.engine import AutoregressiveEngine, Request, Sampling, step_loop
from ancestral.engine.noise import Noise
from ancestral.engine.runner import Runner
from ancestral.engine.session import Binding
from ancestral.engine.speculation import (
    Draft,
    Jacobi,
    Ngram,
    Proposals,
    Proposer,
    Row,
    SpeculatedRow,
    Speculation,
    Table,
    WholeEvents,
    plan,
    speculated_row,
)
from ancestral.errors import BundleError
from tests.conftest import Load, autoregressive

from .faults import plant
from .laws import assert_close, assert_same_draws, limits, margins, start_values

N = 6
SEED = 5
TOYS = ("tiny", "llama", "startless")
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Known:
    """Proposes changed values of the samples themselves."""

    truth: Integers
    change: Callable[[Integers, np.random.Generator], Integers]
    name: str = "known"

    def check(self, runner: Runner) -> None: ...

    def seconds(self) -> float:
        return 0.0

    @contextmanager
    def begin(self, row: Row) -> Iterator[Proposals]:
        yield Changed(self.truth[row.noise.first_index], self.change)


@dataclass
class Changed:
    truth: Integers
    change: Callable[[Integers, np.random.Generator], Integers]

    def propose(self, values: Integers, position: int, most: int) -> Integers:
        return self.change(self.truth[position : position + most], np.random.default_rng(position))


def proposer(name: str, engine: AutoregressiveEngine, truth: Integers) -> Proposer:
    data = engine.data
    match name:
        case "right":
            return Known(truth, lambda x, rng: x)
        case "wrong":
            return Known(truth, lambda x, rng: (x + 1) % data.levels)
        case "random":
            return Known(truth, lambda x, rng: rng.integers(0, data.levels, len(x)))
        case "jacobi":
            return Jacobi()
        case "ngram":
            return Ngram([truth[0], truth[1]])
        case "draft":
            return Draft(engine)
        case _:
            assert name == "table"
            events = data.in_place(truth[:3])
            labels = None if data.num_classes is None else np.arange(3) % data.num_classes
            return Jacobi(Table(events, data, labels))


PROPOSERS = ("right", "wrong", "random", "jacobi", "ngram", "draft", "table")


def drawn(engine: AutoregressiveEngine, **given: Any) -> Any:
    data = engine.data
    labels = None if data.num_classes is None else np.arange(N) % data.num_classes
    observed = start_values(engine, N)
    observed[:, -2] = np.arange(N) % data.levels
    observed[N // 2 :, : data.length // 3] = 1
    return engine.sample(N, labels, SEED, observed=data.in_place(observed), **given)


def check(engine: AutoregressiveEngine, toy: str, name: str, block: int | None = 4) -> None:
    plain = drawn(engine)
    truth = engine.data.in_order(plain.x)
    given = proposer(name, engine, truth)
    s = drawn(engine, speculate=Speculation(given, block))
    x, limit = engine.data.in_order(s.x), limits(engine)
    u = Noise(SEED, 0).uniforms(*x.shape)
    margin = margins(toy, truth, s.labels, u)
    assert_same_draws(x, truth, margin, limit.cdf)
    same = (x == truth).all(axis=1)
    assert_close(s.log_prob[same], plain.log_prob[same], limit.nats, "log p")
    assert_close(s.log_prob, engine.log_prob(s.x, s.labels), limit.nats, "log p of samples")
    assert_close(s.log_q[same], plain.log_q[same], limit.nats, "log q")
    report = s.speculated
    assert report.remark is None
    assert report.calls <= report.positions == sum(report.kept.values())
    if name == "right" and block is not None:
        assert report.acceptance == dict.fromkeys(report.acceptance, 1.0)
        assert report.calls < 0.5 * report.positions


@pytest.mark.parametrize("name", PROPOSERS)
@pytest.mark.parametrize("toy", TOYS)
def test_same_sample(load: Load, toy: str, backend: str, name: str) -> None:
    if name == "table" and toy != "tiny":
        pytest.skip("the toy is not an image")
    check(autoregressive(load, toy, backend), toy, name)


@pytest.mark.parametrize("toy", ["tiny", "pixelcnn", "wavenet", "gru", "startless"])
def test_whole_events(load: Load, toy: str, backend: str) -> None:
    engine = autoregressive(load, toy, backend)
    check_whole(engine, toy)


def check_whole(engine: AutoregressiveEngine, toy: str) -> None:
    plain, s = drawn(engine), drawn(engine, speculate=WholeEvents())
    truth, x = engine.data.in_order(plain.x), engine.data.in_order(s.x)
    u, limit = Noise(SEED, 0).uniforms(*x.shape), limits(engine)
    assert_same_draws(x, truth, margins(toy, truth, s.labels, u), limit.cdf)
    same = (x == truth).all(axis=1)
    assert_close(s.log_prob[same], plain.log_prob[same], limit.nats, "log p")
    assert_close(s.log_q[same], plain.log_q[same], limit.nats, "log q")
    assert s.speculated.calls <= engine.data.length + 1


@pytest.mark.parametrize("backend", ["torch", "onnxruntime"])
def test_whole_events_planted(load: Load, backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The planted fault: rows are left as soon as half of their positions stay."""
    engine = autoregressive(load, "tiny", backend)
    parallel = type(engine).parallel

    def early(self: Runner, graph: str, label: Any = None, **arrays: Any) -> Any:
        found = parallel(self, graph, label, **arrays)
        if graph == "redraw":
            found["redrawn"][:, 5:] = arrays["x"][:, 5:]
        return found

    monkeypatch.setattr(type(engine), "parallel", early)
    with pytest.raises(AssertionError, match="though u is"):
        check_whole(engine, "tiny")


@pytest.mark.parametrize("block", [1, 2, 9, None])
def test_any_block(load: Load, backend: str, block: int | None) -> None:
    check(autoregressive(load, "tiny", backend), "tiny", "jacobi", block)


@pytest.mark.parametrize(
    "sampling", [Sampling(0.7), Sampling(0.0), Sampling(0.8, top_k=2), Sampling(logit_bias={1: 1})]
)
def test_settings(load: Load, backend: str, sampling: Sampling) -> None:
    engine = autoregressive(load, "tiny", backend)
    k = 2 if sampling.adjusted else 0
    plain = drawn(engine, sampling=sampling, logprobs=k)
    truth = engine.data.in_order(plain.x)
    for name in ("right", "random", "draft"):
        s = drawn(engine, sampling=sampling, logprobs=k, speculate=proposer(name, engine, truth))
        np.testing.assert_array_equal(s.x, plain.x)
        limit = limits(engine).nats / min(1, sampling.temperature or 1)
        assert_close(s.log_prob, plain.log_prob, limit, "log p")
        assert_close(s.log_q, plain.log_q, limit, "log q")
        if k:
            np.testing.assert_array_equal(s.top.ids, plain.top.ids)
            assert_close(s.top.log_q, plain.top.log_q, limit, "log q of the top values")


@pytest.mark.parametrize("name", ["right", "random", "ngram", "draft"])
@pytest.mark.parametrize("toy", TOYS)
def test_same_continuation(load: Load, toy: str, backend: str, name: str) -> None:
    engine = autoregressive(load, toy, backend)
    t, levels = engine.data.length, engine.data.levels
    prompts = [np.arange(n) % levels for n in (1, 3, t - 1, t)]
    labels = None if engine.data.num_classes is None else 1
    given: dict[str, Any] = {"labels": labels, "seed": SEED, "stop": (2,), "max_new": 5}
    plain = engine.generate(prompts, **given)
    truth = np.zeros((len(prompts), t), np.int64)
    for row, each in zip(truth, plain, strict=True):
        values = np.concatenate([each.prompt, each.tokens])
        row[: len(values)] = values
    streamed: dict[int, list[int]] = {}
    s = engine.generate(
        prompts,
        **given,
        speculate=proposer(name, engine, truth),
        stream=lambda i, tokens: streamed.setdefault(i, []).extend(tokens.tolist()),
    )
    for i, (ours, theirs) in enumerate(zip(s, plain, strict=True)):
        np.testing.assert_array_equal(ours.tokens, theirs.tokens)
        assert streamed.get(i, []) == theirs.tokens.tolist()
        assert ours.ended == theirs.ended
        whole = [np.concatenate([each.prompt_log_p, each.log_p]) for each in (ours, theirs)]
        assert_close(whole[0], whole[1], limits(engine).nats, "log p")


def check_stream(engine: AutoregressiveEngine, name: str, slots: int) -> None:
    """The last rows draw while no other does, partly after steps that they took with others."""
    t, levels = engine.data.length, engine.data.levels
    label = None if engine.data.num_classes is None else 1
    requests = [
        Request(np.arange(n) % levels, label=label, seed=SEED, index=i, max_new=new, stop=())
        for i, (n, new) in enumerate([(1, 3), (2, None), (t - 3, None), (1, None)])
    ]
    requests[1] = replace(requests[1], sampling=Sampling(presence_penalty=0.1))
    if not engine.bundle.manifest.graphs.get("step_full"):
        requests = [replace(requests[i], index=at) for at, i in enumerate((0, 2, 3))]
    plain = list(engine.stream(requests, 1))
    truth = np.zeros((len(requests), t), np.int64)
    for i, request in enumerate(requests):
        drawn = np.concatenate([each.values for each in plain if each.request == i])
        truth[i, : len(request.prompt) + len(drawn)] = [*request.prompt, *drawn]
    stream = engine.stream(requests, slots, speculate=proposer(name, engine, truth))
    found = list(stream)
    for i in range(len(requests)):
        ours, theirs = ([each for each in part if each.request == i] for part in (found, plain))
        for field in ("values", "log_p", "log_q"):
            got, expected = (
                np.concatenate([getattr(each, field) for each in part]) for part in (ours, theirs)
            )
            assert_close(got, expected, limits(engine).nats, f"{field} of request {i}")
        assert ours[-1].ended == theirs[-1].ended
    report = stream.speculated
    assert report is not None
    assert report.calls > 0
    assert report.remark is None
    if name in {"right", "draft"}:
        assert set(report.acceptance.values()) <= {1.0}, f"acceptance {report.acceptance}"


@pytest.mark.parametrize("slots", [1, 2, 3])
@pytest.mark.parametrize("name", ["right", "random", "jacobi", "draft"])
@pytest.mark.parametrize("toy", ["tiny", "startless"])
def test_same_stream(load: Load, toy: str, backend: str, name: str, slots: int) -> None:
    check_stream(autoregressive(load, toy, backend), name, slots)


@pytest.mark.parametrize("backend", ["torch", "onnxruntime"])
def test_same_stream_planted(load: Load, backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row forgets which values single steps drew, so that its draft draws after others."""
    monkeypatch.setattr(SpeculatedRow, "catch_up", lambda self, values: None)
    with pytest.raises(AssertionError, match=r"acceptance|left off"):
        check_stream(autoregressive(load, "tiny", backend), "draft", 3)


@pytest.mark.parametrize("backend", ["torch", "onnxruntime"])
def test_rests(load: Load, backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where blocks are dear, most values are drawn by single steps, several in a launch."""
    monkeypatch.setattr(plan, "block_costs", lambda runner, graph: {1: 1.0, 2: 9.0})
    engine = autoregressive(load, "tiny", backend)
    check(engine, "tiny", "random", None)
    s = drawn(engine, speculate=proposer("right", engine, engine.data.in_order(drawn(engine).x)))
    assert set(s.speculated.blocks) == {1, 2}
    check_stream(engine, "jacobi", 2)


@pytest.mark.parametrize("backend", ["torch", "onnxruntime"])
def test_rests_planted(load: Load, backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The planted fault: single steps begin where the rejected block ended."""
    monkeypatch.setattr(plan, "block_costs", lambda runner, graph: {1: 1.0, 2: 9.0})
    walk = step_loop.walk

    def late(binding: Binding, position: int, steps: int, row: int | None = None) -> Integers:
        end = binding.read(names.VALUES).shape[1]
        walk(binding, min(position + 1, end - 1), steps, row)
        return binding.read(names.VALUES)[0, position : position + steps]

    monkeypatch.setattr(step_loop, "walk", late)
    with pytest.raises(AssertionError, match=r"though u is|log p"):
        check(autoregressive(load, "tiny", backend), "tiny", "random", None)


# -------------------------------------------------------------------------------- planted faults


def _one_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    agreeing = speculated_row._agreeing
    monkeypatch.setattr(
        speculated_row,
        "_agreeing",
        lambda proposed, drawn: min(agreeing(proposed, drawn) + 1, len(proposed)),
    )


def _position_is_not_reset(monkeypatch: pytest.MonkeyPatch) -> None:
    redraw = step_loop.redraw

    def faulty(
        binding: Binding, position: int, proposed: Integers, row: int | None = None
    ) -> Integers:
        with pytest.MonkeyPatch.context() as patch:
            write = type(binding).write

            def kept(self: Binding, name: str, array: Any, part: Any = None) -> None:
                if name != names.POSITION:
                    write(self, name, array, part)

            patch.setattr(type(binding), "write", kept)
            return redraw(binding, position, proposed, row)

    monkeypatch.setattr(step_loop, "redraw", faulty)


def _uniforms_are_shifted(monkeypatch: pytest.MonkeyPatch) -> None:
    redraw = step_loop.redraw
    shifted: set[int] = set()

    def faulty(
        binding: Binding, position: int, proposed: Integers, row: int | None = None
    ) -> Integers:
        if id(binding) not in shifted:
            shifted.add(id(binding))
            binding.write(names.U, np.roll(binding.read(names.U), 1, axis=1))
        return redraw(binding, position, proposed, row)

    monkeypatch.setattr(step_loop, "redraw", faulty)


def _log_p_of_the_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    redraw = step_loop.redraw
    ends: dict[int, int] = {}

    def faulty(
        binding: Binding, position: int, proposed: Integers, row: int | None = None
    ) -> Integers:
        before, end = binding.read(names.LOG_P), ends.get(id(binding), 0)
        drawn = redraw(binding, position, proposed, row)
        after = binding.read(names.LOG_P)
        if end > position:
            after[:, position:end] = before[:, position:end]
        binding.write(names.LOG_P, after)
        ends[id(binding)] = position + len(drawn)
        return drawn

    monkeypatch.setattr(step_loop, "redraw", faulty)


FAULTS: dict[str, tuple[Callable[[pytest.MonkeyPatch], None], str]] = {
    "one too many": (_one_too_many, "though u is|log p"),
    # A block then begins where the last one ended, beyond the event at last.
    "position is not reset": (_position_is_not_reset, "though u is|log p|out of (data )?bounds"),
    "uniforms are shifted": (_uniforms_are_shifted, "though u is"),
    "log p of the rejected": (_log_p_of_the_rejected, "log p"),
}


@pytest.mark.parametrize("backend", ["torch", "onnxruntime"])
@pytest.mark.parametrize("fault", FAULTS)
def test_same_sample_planted(
    load: Load, backend: str, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = autoregressive(load, "tiny", backend)
    planted, message = FAULTS[fault]
    planted(monkeypatch)
    with pytest.raises((AssertionError, BundleError, RuntimeError), match=message):
        check(engine, "tiny", "random")


@pytest.mark.parametrize("backend", ["torch", "onnxruntime"])
def test_stale_slots_planted(bundles: Callable[..., Path], tmp_path: Path, backend: str) -> None:
    engine = plant(bundles("tiny"), tmp_path, "stale slots", "tiny", backend)
    assert isinstance(engine, AutoregressiveEngine)
    with pytest.raises(AssertionError, match=r"though u is|log p"):
        check(engine, "tiny", "random")
