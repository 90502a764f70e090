"""Laws of bias, penalties and the most probable values: what is drawn is as defined, in float64."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from ancestral.engine import (
    Alternatives,
    AutoregressiveEngine,
    Engine,
    Request,
    Sampling,
    step_graph,
    step_loop,
)
from ancestral.engine.noise import Noise
from ancestral.triton_kernels.occurrences import occurrences
from ancestral.triton_kernels.sample_token import alternatives
from ancestral.triton_kernels.sample_token.adjustments import Adjustments
from tests.conftest import Load, autoregressive, device_of
from tests.likelihoods import oracle
from tests.tamper import edited, set_attribute

from .laws import assert_close, limits

TOYS = ("tiny", "gru")
"""Toys with the full step: one that appends its whole cache, and one whose state is replaced."""
SAMPLINGS = (
    Sampling(),
    Sampling(0.8, top_p=0.9),
    Sampling(logit_bias={0: 1.5, 2: -1.0}),
    Sampling(logit_bias={1: -math.inf}),
    Sampling(repetition_penalty=1.8),
    Sampling(presence_penalty=1.2),
    Sampling(frequency_penalty=0.7),
    Sampling(0.7, 3, 0.95, 0.01, {0: 2.0, 1: -0.5}, 1.5, 0.4, -0.3),
    Sampling(temperature=0, frequency_penalty=1.5),
    Sampling(repetition_penalty=0.5, logit_bias={0: -2.0}),
)
MORE = 4.0
"""Error of a log-probability over that of a logit: divided by 0.7, and multiplied by up to 2."""


@dataclass(frozen=True)
class Drawn:
    """What a request drew after its prompt."""

    request: Request
    values: NDArray[np.int64]
    log_p: NDArray[np.float32]
    log_q: NDArray[np.float32]
    top: Alternatives
    u: NDArray[np.float32]


def drawn(engine: AutoregressiveEngine) -> list[Drawn]:
    """Draw a request of each setting, in slots that are refilled; all with different prompts."""
    data, k = engine.data, engine.data.levels
    # Interpreted kernels are slow.
    times = 1 if engine.backend.name == "triton" else 2
    random = np.random.default_rng(2)
    requests = [
        Request(
            random.integers(0, data.levels, 1 + i % 3),
            label=None if data.num_classes is None else i % data.num_classes,
            seed=4,
            index=i,
            sampling=sampling,
            stop=(),
            logprobs=k,
        )
        for i, sampling in enumerate(SAMPLINGS * times)
    ]
    found: list[list[Any]] = [[] for _ in requests]
    for delta in engine.stream(iter(requests), 3):
        found[delta.request].append(delta)
    rows = []
    for request, deltas in zip(requests, found, strict=True):
        values, log_p, log_q = (
            np.concatenate([getattr(each, name) for each in deltas])
            for name in ("values", "log_p", "log_q")
        )
        tops = [each.top for each in deltas]
        names = ("ids", "log_p", "filtered_ids", "log_q")
        top = Alternatives(*(np.concatenate([getattr(t, name) for t in tops]) for name in names))
        p = np.size(request.prompt)
        u = Noise(request.seed, request.index).uniforms(1, data.length)[0, p:]
        rows.append(Drawn(request, values, log_p, log_q, top, u))
    return rows


def expected(engine: AutoregressiveEngine, row: Drawn) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return log p of the model and log q by definition, [m, v], of the values as drawn."""
    prompt = np.asarray(row.request.prompt)
    x = np.concatenate([prompt, row.values])
    label = None if row.request.label is None else np.array([row.request.label])
    logits = engine.parallel("logits", label, x=x[None])["logits"][0].astype(np.float64)
    p, q = [], []
    for n in range(len(prompt), len(x)):
        p.append(oracle.filtered(logits[n], Sampling()))
        wide = oracle.adjusted(logits[n], x[:n], len(prompt), row.request.sampling)
        q.append(oracle.filtered(wide, row.request.sampling))
    with np.errstate(divide="ignore"):
        return np.log(p), np.log(q)


def check_drawn(engine: AutoregressiveEngine) -> None:
    """Check values, log p, log q and the most probable values of every request."""
    nats, cdf = limits(engine).nats, limits(engine).cdf
    for row in drawn(engine):
        log_p, log_q = expected(engine, row)
        at = np.arange(len(row.values))
        assert len(at) == engine.data.length - np.size(row.request.prompt)
        own_q = log_q[at, row.values]
        assert (own_q > -math.inf).all(), "a value of probability 0 is drawn"
        assert_close(row.log_p, log_p[at, row.values], nats, "log p")
        assert_close(row.log_q, own_q, MORE * nats, "log q")
        above = np.exp(log_q).cumsum(axis=-1)
        below = above - np.exp(log_q)
        outside = np.maximum(below[at, row.values] - row.u, row.u - above[at, row.values])
        if row.request.sampling.temperature > 0:
            assert outside.max() <= MORE * cdf, f"u is {outside.max():.3g} outside the interval"
        check_top(row.top.ids, row.top.log_p, log_p, nats)
        check_top(row.top.filtered_ids, row.top.log_q, log_q, MORE * nats)


def check_top(
    ids: NDArray[np.int64], nats: NDArray[np.float32], every: NDArray[np.float64], limit: float
) -> None:
    assert (np.diff(np.sort(ids, axis=-1)) > 0).all(), "different values"
    assert_close(nats, -np.sort(-every, axis=-1)[:, : ids.shape[1]], limit, "sorted top")
    assert_close(nats, np.take_along_axis(every, ids, axis=-1), limit, "top of the ids")


@pytest.mark.parametrize("toy", TOYS)
def test_drawn(load: Load, toy: str, backend: str) -> None:
    """Requests of all settings in one company draw from the distributions of the definition."""
    check_drawn(autoregressive(load, toy, backend))


@pytest.mark.parametrize("toy", TOYS)
def test_top_is_that_of_log_prob(load: Load, toy: str, backend: str) -> None:
    """The most probable values at drawn positions are those of `log_prob` of the sample."""
    engine = autoregressive(load, toy, backend)
    label = None if engine.data.num_classes is None else 1
    k, limit = 2, limits(engine).nats
    for row in engine.generate([[0, 1], [2]], labels=label, seed=5, stop=(), logprobs=k):
        x = np.concatenate([row.prompt, row.tokens])
        found = engine.log_prob(engine.data.in_place(x[None]), label, top=k)
        assert row.top is not None
        new = (0, slice(len(row.prompt), None))
        assert_close(row.top.log_p, found.top.log_prob[new], limit, "log p of the top")
        differ = row.top.ids != found.top.ids[new]
        near = np.abs(np.diff(row.top.log_p, axis=-1)) <= limit
        assert not differ[~near.any(axis=-1)].any()
        assert_close(row.top.log_q, row.top.log_p, limit, "without settings, q is p")


@pytest.mark.parametrize("toy", TOYS)
def test_top_of_samples(load: Load, toy: str, backend: str) -> None:
    """So are those of samples, in several batches, also at the values that are observed."""
    engine = autoregressive(load, toy, backend)
    label = None if engine.data.num_classes is None else 1
    k, limit = 2, limits(engine).nats
    observed = np.full(engine.data.length, -1)
    observed[:3] = 1
    given = engine.data.in_place(observed[None])
    batches = engine.sample_batches(5, label, seed=5, observed=given, batch=2, logprobs=k)
    parts = [(part.x, part.top) for part in batches]
    whole = engine.sample(5, label, seed=5, observed=given, logprobs=k)
    assert whole.top is not None
    found = engine.log_prob(whole.x, label, top=k).top
    assert whole.top.ids.shape == (5, engine.data.length, k)
    assert_close(whole.top.log_p, found.log_prob, limit, "log p of the top")
    near = np.abs(np.diff(found.log_prob, axis=-1)) <= limit
    assert not (whole.top.ids != found.ids)[~near.any(axis=-1)].any()
    for name in ("ids", "log_p", "filtered_ids", "log_q"):
        joined = np.concatenate([getattr(top, name) for _, top in parts])
        assert_close(joined, getattr(whole.top, name), limit, name)


def run(engine: Engine, graph: str, sampling: Sampling) -> step_loop.LoopResult:
    """Draw by a step graph, whether or not it is the one that these settings need."""
    n, data = 6, engine.data
    signature = engine.session(graph).signature
    given = step_graph.settings(signature, sampling, n, data.levels)
    if data.num_classes is not None:
        given |= step_graph.labelled(np.arange(n) % data.num_classes)
    observed = np.full((n, data.length), -1)
    start = step_loop.Start(observed, given, 0, noise=Noise(8, 0))
    binding = engine.session(graph).bind({"b": n, "s": 1})
    return step_loop.draw(binding, start)


def check_neutral(engine: Engine, off: Sampling) -> None:
    """Check that the full step without bias and penalties is the filtered step."""
    exact = engine.backend.name != "triton"
    for sampling in (Sampling(), Sampling(0.7, 2, 0.9, 0.02), Sampling(temperature=0)):
        settings = {**vars_of(sampling), **vars_of(off)}
        got = run(engine, "step_full", Sampling(**settings))
        filtered = run(engine, "step_filtered", sampling)
        np.testing.assert_array_equal(got.values, filtered.values)
        limit = 0.0 if exact else limits(engine).nats
        assert_close(got.log_p, filtered.log_p, limit, "log p")
        assert_close(got.log_q, filtered.log_q, limit, "log q")
        if sampling.unfiltered:
            plain = run(engine, "step", sampling)
            np.testing.assert_array_equal(got.values, plain.values)
            assert_close(got.log_p, plain.log_p, limits(engine).nats, "log p of the plain step")


def vars_of(sampling: Sampling) -> dict[str, Any]:
    """Return the fields that differ from the defaults."""
    return {
        name: getattr(sampling, name)
        for name in Sampling.__slots__
        if getattr(sampling, name) != getattr(Sampling(), name)
    }


@pytest.mark.parametrize("toy", TOYS)
def test_neutral(load: Load, toy: str, backend: str) -> None:
    """Without bias and penalties the full step has the bits of the filtered one."""
    check_neutral(load(toy, backend), Sampling(logit_bias={0: 0.0}))


@pytest.mark.parametrize("off", [Sampling(logit_bias={0: 1e-3}), Sampling(repetition_penalty=1.01)])
def test_neutral_planted(load: Load, off: Sampling) -> None:
    """Settings that are not quite off change log q."""
    with pytest.raises(AssertionError, match=r"log q: max|not equal"):
        check_neutral(load("tiny", "onnxruntime"), off)


Adjust = Callable[[Tensor, Tensor, Tensor, Tensor, Adjustments], Tensor]


def by_hand(
    *,
    bias_last: bool = False,
    additive_first: bool = False,
    prompt_counts: bool = False,
    repeats_drawn_only: bool = False,
    once: bool = False,
    late: bool = False,
    always_divides: bool = False,
) -> Adjust:
    """Return the definition with parts that are wrong."""

    def adjust(
        logits: Tensor, at: Tensor, values: Tensor, observed: Tensor, settings: Adjustments
    ) -> Tensor:
        v = logits.shape[-1]
        past = torch.arange(values.shape[1]) < at[..., None] + int(late)
        free = past & (observed < 0)[:, None]
        seen, times = (occurrences(values, some.float(), v) for some in (past, free))
        seen = times if repeats_drawn_only else seen
        times = seen if prompt_counts else times
        r, presence, frequency = (each[:, None, None] for each in settings[1:])
        count = (times > 0).float() if once else times
        minus = presence * (times > 0) + frequency * count
        l = logits if bias_last else logits + settings.logit_bias[:, None]
        l = l - minus if additive_first else l
        divided = torch.where((l > 0) | always_divides, l / r, l * r)
        l = torch.where(seen > 0, divided, l)
        l = l if additive_first else l - minus
        return l + settings.logit_bias[:, None] if bias_last else l

    return adjust


FAULTS = {
    "bias after the penalties": {"bias_last": True},
    "repetition last": {"additive_first": True},
    "the prompt counts": {"prompt_counts": True},
    "the prompt does not repeat": {"repeats_drawn_only": True},
    "frequency counts once": {"once": True},
    "the position itself counts": {"late": True},
    "negative logits are divided": {"always_divides": True},
}


@pytest.mark.parametrize("fault", FAULTS)
def test_drawn_planted(load: Load, monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    """Each step of the definition and each count, wrong in turn; by hand without a fault it holds.

    A value at the position itself is that of the last tenant or a zero.
    """
    engine = autoregressive(load, "tiny", "torch")
    monkeypatch.setattr(alternatives, "adjusted", by_hand())
    check_drawn(engine)
    monkeypatch.setattr(alternatives, "adjusted", by_hand(**FAULTS[fault]))
    with pytest.raises(AssertionError, match=r"log q: max|probability 0|outside"):
        check_drawn(engine)


def least_first(graph: onnx.GraphProto) -> None:
    set_attribute("TopK", "largest", 0)(graph)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (set_attribute("ScatterElements", "reduction", "max"), "log q: max|outside"),
        (least_first, "sorted top|log q: max|outside|probability 0"),
    ],
    ids=["each value counts once", "the least probable values"],
)
def test_drawn_planted_in_onnx(
    bundles: Callable[[str], Path], tmp_path: Path, edit: Any, message: str
) -> None:
    bundle = edited(bundles("tiny"), tmp_path, edit, "step_full.onnxruntime")
    engine = AutoregressiveEngine.load(bundle, threads=1)
    with pytest.raises(AssertionError, match=message):
        check_drawn(engine)


def test_banned(bundles: Callable[[str], Path]) -> None:
    """A banned value is never drawn, whatever else asks for it; log p is the model's."""
    engine = AutoregressiveEngine.load(
        bundles("tiny"), backend="torch", device=device_of("torch"), threads=1
    )
    for other in ({}, {"temperature": 0.0}, {"presence_penalty": -100.0}, {"top_k": 1}):
        banned = Sampling(logit_bias={0: -math.inf, 2: 1000.0, 1: 999.0}, **other)
        found = engine.sample(64, labels=1, sampling=banned)
        assert not (found.x == 0).any()
        again = engine.log_prob(found.x, 1)
        limit = engine.data.length * limits(engine).nats
        assert_close(found.log_prob, again, limit, "log p of a sample")


@pytest.mark.parametrize("backend", ["torch", "onnxruntime"])
@pytest.mark.parametrize(
    "only", [{"temperature": 0.0}, {"top_k": 1}, {"top_p": 0.01}, {"min_p": 1.0}]
)
def test_filters_follow_bans(load: Load, backend: str, only: dict[str, Any]) -> None:
    """A filter that keeps one value keeps the most probable one that is not banned."""
    engine = autoregressive(load, "tiny", backend)
    for banned in range(engine.data.levels):
        sampling = Sampling(logit_bias={banned: -math.inf}, **only)
        found = engine.sample(4, labels=1, sampling=sampling)
        assert not (found.x == banned).any()
        logits = engine.parallel("logits", np.ones(4, np.int64), x=engine.data.in_order(found.x))
        left = np.delete(logits["logits"], banned, axis=-1)
        most = np.delete(np.arange(engine.data.levels), banned)[left.argmax(axis=-1)]
        np.testing.assert_array_equal(engine.data.in_order(found.x), most)
