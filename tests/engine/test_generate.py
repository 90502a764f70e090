"""Prompts of different lengths in one batch: each row is as in a batch of its own."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from ancestral.engine import AutoregressiveEngine, Sampling, draw_checks, step_graph, step_loop
from ancestral.engine import generate as module
from ancestral.engine.prompt_batch import Generated, Options
from ancestral.errors import InvalidInput, NotADistribution
from tests.conftest import Load, autoregressive
from tests.laws.laws import assert_close, limits
from tests.text_toys import CONTEXT
from tests.toys import BACKENDS

FAMILIES = ("text", "tiny", "llama", "startless", "gru", "wavenet")
"""Toys with learned and rotary positions, shared heads, images, no start symbol, a state that is
replaced, and no blocks."""
SAMPLING = Sampling(temperature=0.8, top_k=5, top_p=0.9)


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    """Name of a backend, without the interpreted kernels, which take minutes."""
    return str(request.param)


def prompts_of(engine: AutoregressiveEngine) -> list[list[int]]:
    """Return prompts from the shortest allowed to the whole context, not in order."""
    first, t = engine.bundle.manifest.first_position, engine.data.length
    random = np.random.default_rng(5)
    lengths = (t // 2, first, t, 1, t - 1, t // 2 + 1, 2)
    return [random.integers(0, engine.data.levels, n).tolist() for n in lengths]


def labels_of(engine: AutoregressiveEngine, n: int) -> np.ndarray | None:
    classes = engine.data.num_classes
    return None if classes is None else np.arange(n) % classes


def log_prob(engine: AutoregressiveEngine, row: Generated, label: Any) -> np.ndarray:
    """Return log p of a prompt and its tokens by the parallel graph, which is causal."""
    ids = np.concatenate([row.prompt, row.tokens])
    event = np.zeros((1, engine.data.length), np.int64)
    event[0, : len(ids)] = ids
    return engine.position_log_prob(engine.data.in_place(event), label)[0, : len(ids)]


def check_rows(engine: AutoregressiveEngine, sampling: Sampling, **options: Any) -> None:
    """Compare the rows of a batch with batches of one row, and with the parallel graph."""
    prompts = prompts_of(engine)
    labels = labels_of(engine, len(prompts))
    options = {"seed": 8, "sampling": sampling, **options}
    together = engine.generate(prompts, labels=labels, first_index=3, **options)
    assert [row.index for row in together] == list(range(3, 3 + len(prompts)))
    limit = limits(engine).nats
    for i, (row, prompt) in enumerate(zip(together, prompts, strict=True)):
        label = None if labels is None else labels[i : i + 1]
        (single,) = engine.generate([prompt], labels=label, first_index=3 + i, **options)
        assert row.prompt.tolist() == prompt
        assert row.tokens.tolist() == single.tokens.tolist(), f"row {i} depends on its batch"
        assert row.ended == single.ended
        if len(row.tokens):
            assert_close(row.log_q, single.log_q, limit, f"log q of row {i} and of a batch of one")
        got = np.concatenate([row.prompt_log_p, row.log_p])
        assert_close(got, log_prob(engine, row, label), limit, f"log p of row {i}")


@pytest.mark.parametrize("toy", FAMILIES)
def test_rows(load: Load, toy: str, backend: str) -> None:
    check_rows(autoregressive(load, toy, backend), Sampling())


@pytest.mark.kernels
@pytest.mark.slow
def test_rows_by_kernels(load: Load) -> None:
    check_rows(autoregressive(load, "text", "triton"), Sampling(), max_new=3)


def test_filtered_rows(load: Load, backend: str) -> None:
    engine = autoregressive(load, "tiny", backend)
    check_rows(engine, SAMPLING, max_new=4)
    rows = engine.generate([[1, 2], [1]], 3, labels=labels_of(engine, 2), sampling=SAMPLING)
    for row in rows:
        # The filtered distribution is renormalised.
        assert (row.log_q >= row.log_p - 1).all()
        assert not np.array_equal(row.log_q, row.log_p)


@pytest.mark.parametrize("batch", [1, 2, 3])
def test_batches(load: Load, backend: str, batch: int) -> None:
    engine = autoregressive(load, "text", backend)
    whole = engine.generate(prompts_of(engine), 5, seed=1)
    parts = engine.generate(prompts_of(engine), 5, seed=1, batch=batch)
    assert [row.tokens.tolist() for row in parts] == [row.tokens.tolist() for row in whole]


PLANTED = {
    "not rewound": ("clip", "text", "depends on its batch|log p of row"),
    "state rewound": ("slots", "gru", "depends on its batch|log p of row"),
}


@pytest.mark.parametrize("fault", PLANTED)
def test_rows_planted(load: Load, monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    """Planted: rows continue from the end of the longest prompt; a state has seen the padding."""
    which, toy, words = PLANTED[fault]
    if which == "clip":
        monkeypatch.setattr(module.np, "clip", lambda lengths, first, done: lengths * 0 + done)
    else:
        takes_blocks = step_graph.takes_blocks
        monkeypatch.setattr(step_graph, "rewinds", lambda signature, _: takes_blocks(signature))
    with pytest.raises(AssertionError, match=words):
        check_rows(autoregressive(load, toy, "torch"), Sampling())


def test_block_has_the_length_of_the_longest_prompt(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the block come `max_new` steps, however much the lengths of prompts differ."""
    runs: list[tuple[int, int]] = []
    engine = autoregressive(load, "text", "torch")
    binding = engine.session("step").bind({"b": 2, "s": 1})
    real = type(binding).run

    def run(self: Any, steps: int = 1, *, block: int = 1) -> None:
        runs.append((steps, block))
        real(self, steps, block=block)

    monkeypatch.setattr(type(binding), "run", run)
    engine.generate([[5] * 15, [7] * 3], 4, stop=())
    assert runs == [(1, 15), (4, 1)]


@pytest.mark.parametrize("toy", ["text", "startless", "wavenet"])
def test_why_rows_end(load: Load, toy: str) -> None:
    engine = autoregressive(load, toy, "onnxruntime")
    t = engine.data.length
    rows = engine.generate([[1] * (t - 3), [1] * (t - 2), [1] * t, [1]], 3, stop=())
    assert [row.ended for row in rows] == ["max_new", "context", "context", "max_new"]
    assert [len(row.tokens) for row in rows] == [3, 2, 0, 3]
    (whole,) = engine.generate([[1]], stop=())
    assert (whole.ended, len(whole.tokens)) == ("context", t - 1)


def free(engine: AutoregressiveEngine, n: int) -> list[Generated]:
    return engine.generate([[1 + i] * (1 + i) for i in range(n)], stop=(), seed=4)


def test_stop(load: Load, backend: str) -> None:
    """A row ends with its first stop token, as the free row up to there; others go on."""
    engine = autoregressive(load, "text", backend)
    rows = free(engine, 4)
    stop = (int(rows[1].tokens[6]), int(rows[2].tokens[3]))
    for row, longer in zip(
        engine.generate([r.prompt for r in rows], stop=stop, seed=4), rows, strict=True
    ):
        at = np.flatnonzero(np.isin(longer.tokens, stop))
        end = int(at[0]) + 1 if len(at) else len(longer.tokens)
        assert row.ended == ("stop" if len(at) else "context")
        assert row.tokens.tolist() == longer.tokens[:end].tolist()
        # The batches differ, as rows that end leave theirs.
        assert_close(row.log_p, longer.log_p[:end], limits(engine).nats, "log p")


def test_stop_token_in_a_prompt_does_not_stop(load: Load) -> None:
    engine = autoregressive(load, "text", "onnxruntime")
    (row,) = engine.generate([[9, 0, 9]], 2, stop=(9,), seed=1)
    assert row.prompt.tolist() == [9, 0, 9]
    assert len(row.tokens) >= 1


def test_stop_tokens_of_the_data(load: Load) -> None:
    engine = autoregressive(load, "text", "onnxruntime")
    assert engine.data.stop == (0,)
    rows = engine.generate([[1 + i] for i in range(200)], 12, seed=2)
    ended = [row for row in rows if row.ended == "stop"]
    assert ended
    for row in rows:
        assert (0 in row.tokens.tolist()) == (row.ended == "stop")
    assert all(row.tokens[-1] == 0 for row in ended)


def test_no_step_after_all_have_stopped(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = autoregressive(load, "text", "torch")
    (row,) = engine.generate([[1]], stop=(), seed=4)
    monkeypatch.setattr(step_loop, "STEPS_PER_LAUNCH", 2)
    steps: list[int] = []
    binding = engine.session("step").bind({"b": 1, "s": 1})
    real = type(binding).run
    monkeypatch.setattr(
        type(binding), "run", lambda self, n=1, **o: (steps.append(n), real(self, n, **o))[1]
    )
    engine.generate([[1]], stop=(int(row.tokens[2]),), seed=4)
    assert sum(steps) == 4


def test_stream(load: Load, backend: str) -> None:
    """The parts streamed for a row, joined, are its tokens; there is more than one part."""
    engine = autoregressive(load, "text", backend)
    streamed: dict[int, list[list[int]]] = {}

    def stream(index: int, tokens: np.ndarray) -> None:
        streamed.setdefault(index, []).append(tokens.tolist())

    rows = engine.generate([[1], [2, 3, 4], [5] * CONTEXT], seed=4, first_index=7, stream=stream)
    for row in rows[:2]:
        assert [token for part in streamed[row.index] for token in part] == row.tokens.tolist()
        assert all(streamed[row.index])
    assert len(streamed[7]) > 2
    assert 9 not in streamed


def test_progress_reaches_its_end(load: Load) -> None:
    engine = autoregressive(load, "text", "torch")
    reports: list[tuple[int, int]] = []
    options = Options(4, (), batch=2, progress=lambda done, total: reports.append((done, total)))
    list(module.generate_batches(engine, [[1], [2], [3]], options))
    assert reports[-1] == (1000, 1000)
    assert reports == sorted(reports)


def test_first_token_without_a_start(load: Load) -> None:
    engine = autoregressive(load, "startless", "onnxruntime")
    (row,) = engine.generate([[1, 2, 3]], 2)
    assert row.prompt_log_p[0] == 0
    assert (row.prompt_log_p[1:] < 0).all()


def test_nan(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    """NaN logits of a kept token are refused; those of a discarded one are ignored."""
    engine = autoregressive(load, "text", "torch")
    binding = engine.session("step").bind({"b": 2, "s": 1})
    real = type(binding).read

    def read(self: Any, name: str, part: Any = None) -> np.ndarray:
        found = real(self, name, part)
        if name == "log_p":
            found[1, 6:] = np.nan
        return found

    monkeypatch.setattr(type(binding), "read", read)
    assert len(engine.generate([[1], [1, 2]], 4, stop=())) == 2
    with pytest.raises(NotADistribution, match=r"sample 1: logits are .* at position 6"):
        engine.generate([[1], [1, 2]], 5, stop=())


BAD: dict[str, tuple[Sequence[Any], dict[str, Any], str]] = {
    "none": ([], {}, "at least one"),
    "too long": ([[1], [1] * (CONTEXT + 1)], {}, "prompt 1: expected at most 24 tokens.*got 25"),
    "beyond": ([[1], [2, 293]], {}, r"prompt 1: .*0 \.\. 292, got 293 at index"),
    "negative": ([[-1]], {}, "got -1"),
    "reals": ([[1.5]], {}, "prompt 0: expected integers, got float64"),
    "nested": ([[[1]]], {}, "prompt 0: expected a sequence of ids"),
    "max_new": ([[1]], {"max_new": 0}, "max_new: expected an integer in 1"),
    "stop": ([[1]], {"stop": [293]}, "stop: expected an integer in 0"),
    "batch": ([[1]], {"batch": 0}, "batch"),
    "seed": ([[1]], {"seed": -1}, "seed"),
    "labels": ([[1]], {"labels": 1}, "no classes"),
}


@pytest.mark.parametrize("case", BAD)
def test_refused(load: Load, case: str) -> None:
    prompts, options, words = BAD[case]
    with pytest.raises(InvalidInput, match=words):
        autoregressive(load, "text", "torch").generate(prompts, **options)


def test_empty_prompt_needs_a_start(load: Load) -> None:
    engine = autoregressive(load, "startless", "torch")
    with pytest.raises(InvalidInput, match=r"no start symbol.*empty prompt"):
        engine.generate([[1], []])
    assert len(autoregressive(load, "text", "torch").generate([[]], 2, stop=())[0].tokens) == 2


def test_options_are_refused_immediately(load: Load) -> None:
    engine, options = autoregressive(load, "text", "torch"), Options()
    with pytest.raises(InvalidInput):
        module.generate_batches(engine, [[999]], options)
    with pytest.raises(InvalidInput):
        module.generate_batches(engine, [[1]], replace(options, batch=-1))


def test_everything_banned() -> None:
    """A NaN only under the distribution drawn from is the fault of the bias, and is named so."""
    log_p = np.zeros((2, 3), np.float32)
    draw_checks.check(log_p, 4, log_p)
    log_q = np.where(np.eye(2, 3) > 0, np.float32(np.nan), log_p)
    with pytest.raises(NotADistribution, match=r"sample 4: all values .* at position 0, sample 5"):
        draw_checks.check(log_p, 4, log_q)
    with pytest.raises(NotADistribution, match=r"sample 4: logits are NaN .* weights"):
        draw_checks.check(log_q, 4, log_q)
