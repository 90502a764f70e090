"""Laws of requests: what else is drawn, when, and in which slot, changes no row."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ancestral.engine import (
    AutoregressiveEngine,
    Engine,
    Request,
    Sampling,
    row_loop,
    slots,
    step_loop,
)
from ancestral.engine.noise import Noise
from tests.conftest import Load, autoregressive

from .faults import plant
from .laws import assert_close, assert_same_draws, limits, margins, start_values

N = 9
COMPANIES: dict[str, tuple[int, list[int]]] = {
    "one slot": (1, list(range(N))),
    "refilled": (2, list(range(N))),
    "reversed": (3, list(reversed(range(N)))),
    "shuffled": (4, [5, 0, 8, 2, 7, 1, 3, 6, 4]),
    "all at once": (N + 3, list(range(N))),
}
"""Numbers of slots, and orders of arrival."""


@pytest.fixture(autouse=True)
def short_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The toys' events are short: prompts run in chunks of 2, steps in launches of 2."""
    monkeypatch.setattr(slots, "CHUNK", 2)
    monkeypatch.setattr(slots, "CHUNKS", 1)
    monkeypatch.setattr(slots, "STEPS", 2)


def requests_of(engine: Engine) -> list[Request]:
    """Requests with prompts, ends, seeds, indices and labels of their own."""
    data, first = engine.data, engine.bundle.manifest.first_position
    random = np.random.default_rng(5)
    t = data.length
    lengths = (t - 1, first, t // 2, 1, t, t // 2 + 1, 2, first, t - 2)
    return [
        Request(
            random.integers(0, data.levels, length),
            label=None if data.num_classes is None else (i // 2) % data.num_classes,
            seed=20 + i % 3,
            index=7 * i,
            max_new=3 if i % 4 == 1 else None,
            stop=(),
        )
        for i, length in enumerate(lengths)
    ]


Rows = tuple[NDArray[np.int64], NDArray[np.float32]]


def streamed(engine: AutoregressiveEngine, requests: Sequence[Request], size: int) -> Rows:
    """Values and log p of each request in the order of the input, -1 and 0 where it has none."""
    t = engine.data.length
    values = np.full((len(requests), t), -1)
    log_p = np.zeros((len(requests), t), np.float32)
    at = [np.size(request.prompt) for request in requests]
    for i, request in enumerate(requests):
        values[i, : at[i]] = request.prompt
    for delta in engine.stream(iter(requests), size):
        i, end = delta.request, at[delta.request] + len(delta.values)
        values[i, at[i] : end], log_p[i, at[i] : end] = delta.values, delta.log_p
        at[i] = end
    return values, log_p


def by_generate(engine: AutoregressiveEngine, requests: Iterable[Request]) -> Rows:
    """The same by `generate`, each request in a call of its own."""
    t = engine.data.length
    values, log_p = [], []
    for request in requests:
        (row,) = engine.generate(
            [request.prompt],
            request.max_new,
            stop=(),
            labels=request.label,
            seed=request.seed,
            first_index=request.index,
            sampling=request.sampling,
        )
        rest = t - len(row.prompt) - len(row.tokens)
        values.append(np.concatenate([row.prompt, row.tokens, np.full(rest, -1)]))
        before = np.zeros(len(row.prompt), np.float32)
        log_p.append(np.concatenate([before, row.log_p, np.zeros(rest, np.float32)]))
    return np.stack(values), np.stack(log_p)


def assert_same_rows(
    engine: Engine, toy: str, got: Rows, expected: Rows, requests: Sequence[Request]
) -> None:
    """Values agree up to near ties, and log p up to there within the table."""
    t = engine.data.length
    labels = [request.label for request in requests]
    label = None if engine.data.num_classes is None else np.array(labels)
    u = np.stack([Noise(each.seed, each.index).uniforms(1, t)[0] for each in requests])
    margin = margins(toy, np.maximum(expected[0], 0), label, u)
    assert_same_draws(got[0], expected[0], margin, limits(engine).cdf)
    same = np.cumprod(got[0] == expected[0], axis=1).astype(bool)
    log_p = np.where(same, got[1], expected[1])
    assert_close(log_p, expected[1], limits(engine).nats, "log p of a request")


def check_company(engine: AutoregressiveEngine, toy: str, company: str) -> None:
    """Compare requests in that company with each of them by itself."""
    size, order = COMPANIES[company]
    requests = [requests_of(engine)[i] for i in order]
    got, expected = streamed(engine, requests, size), by_generate(engine, requests)
    assert_same_rows(engine, toy, got, expected, requests)


@pytest.mark.parametrize("company", COMPANIES)
def test_company(load: Load, toy: str, backend: str, company: str) -> None:
    check_company(autoregressive(load, toy, backend), toy, company)


def test_same_as_sample(load: Load, toy: str, backend: str) -> None:
    """A request with observed values is the sample of its (seed, index)."""
    engine = autoregressive(load, toy, backend)
    n, data = 5, engine.data
    labels = None if data.num_classes is None else np.arange(n) % data.num_classes
    observed = start_values(engine, n)
    observed[1::2, 2] = 1
    sample = engine.sample(n, labels, seed=9, first_index=4, observed=data.in_place(observed))
    requests = [
        Request(
            observed=data.in_place(observed[i : i + 1])[0],
            label=None if labels is None else int(labels[i]),
            seed=9,
            index=4 + i,
            stop=(),
        )
        for i in range(n)
    ]
    values = observed.copy()
    log_p = np.zeros(values.shape)
    at = [engine.bundle.manifest.first_position] * n
    for delta in engine.stream(requests, 2):
        i, end = delta.request, at[delta.request] + len(delta.values)
        values[i, at[i] : end], log_p[i, at[i] : end] = delta.values, delta.log_p
        at[i] = end
    expected = data.in_order(sample.x)
    u = Noise(9, 4).uniforms(n, data.length)
    near = margins(toy, expected, labels, u)
    assert_same_draws(values, expected, near, limits(engine).cdf)
    same = (values == expected).all(axis=1)
    limit = limits(engine).nats * data.length
    total = np.where(same, log_p.sum(axis=1), sample.log_prob)
    assert_close(total, sample.log_prob, limit, "log p of a sample")


def test_filters_of_neighbours(load: Load, backend: str) -> None:
    """Filters are of a row: the first filtered request moves all rows to the filtered graph."""
    toy = "tiny"
    engine = autoregressive(load, toy, backend)
    greedy = Sampling(temperature=0)
    requests = [
        replace(each, sampling=greedy if i % 3 == 2 else Sampling())
        for i, each in enumerate(requests_of(engine))
    ]
    got, expected = streamed(engine, requests, 3), by_generate(engine, requests)
    free = [i for i, each in enumerate(requests) if each.sampling.unfiltered]
    parts = [(rows[0][free], rows[1][free]) for rows in (got, expected)]
    assert_same_rows(engine, toy, *parts, [requests[i] for i in free])
    np.testing.assert_array_equal(np.delete(got[0], free, 0), np.delete(expected[0], free, 0))


Take = Callable[..., None]


def _noise_by_slot(take: Take) -> Take:
    def fault(signature: Any, binding: Any, row: int, start: step_loop.Start) -> None:
        assert start.noise is not None
        take(signature, binding, row, replace(start, noise=replace(start.noise, first_index=row)))

    return fault


def _not_cleaned(take: Take) -> Take:
    def fault(signature: Any, binding: Any, row: int, start: step_loop.Start) -> None:
        old = binding.read("observed")[row : row + 1]
        observed = np.where(start.observed < 0, old if old.any() else -1, start.observed)
        take(signature, binding, row, replace(start, observed=observed))

    return fault


def _stale_label(take: Take) -> Take:
    def fault(signature: Any, binding: Any, row: int, start: step_loop.Start) -> None:
        label = binding.read("label")[row : row + 1]
        take(signature, binding, row, replace(start, given={**start.given, "label": label}))

    return fault


TAKES = {"noise by slot": _noise_by_slot, "not cleaned": _not_cleaned, "stale label": _stale_label}


@pytest.mark.parametrize("backend", ["torch", "onnxruntime"])
@pytest.mark.parametrize("fault", TAKES)
def test_company_planted(
    load: Load, monkeypatch: pytest.MonkeyPatch, backend: str, fault: str
) -> None:
    """A tenant that draws with its slot's noise, or keeps what the last tenant was given."""
    monkeypatch.setattr(row_loop, "take", TAKES[fault](row_loop.take))
    with pytest.raises(AssertionError, match=r"though u is|log p of a request"):
        check_company(autoregressive(load, "tiny", backend), "tiny", "refilled")


@pytest.mark.parametrize("backend", ["torch", "onnxruntime"])
def test_cache_of_the_last_tenant_planted(
    load: Load, bundles: Callable, tmp_path: Any, backend: str
) -> None:
    """A row that reads slots of the cache that it has not written."""
    faulty = plant(bundles("llama"), tmp_path, "stale slots", "llama", backend)
    assert isinstance(faulty, AutoregressiveEngine)
    engine = autoregressive(load, "llama", backend)
    requests = requests_of(engine)
    got, expected = streamed(faulty, requests, 2), by_generate(engine, requests)
    with pytest.raises(AssertionError, match=r"though u is|log p of a request"):
        assert_same_rows(engine, "llama", got, expected, requests)


def test_position_of_the_last_tenant_planted(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    """A state that goes on from that of the last tenant: no row begins at the first position."""
    prefill = row_loop.prefill
    monkeypatch.setattr(
        row_loop,
        "prefill",
        lambda binding, row, position, *rest: prefill(binding, row, max(position, 1), *rest),
    )
    with pytest.raises(AssertionError, match=r"though u is|log p of a request"):
        check_company(autoregressive(load, "gru", "torch"), "gru", "refilled")


def check_chunks(engine: AutoregressiveEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each prompt runs in the same chunks in every company."""
    take, prefill = row_loop.take, row_loop.prefill
    found: list[dict[int, list[tuple[int, int]]]] = []
    tenants: dict[int, int] = {}

    def taken(signature: Any, binding: Any, row: int, start: step_loop.Start) -> None:
        assert start.noise is not None
        tenants[row] = start.noise.first_index
        take(signature, binding, row, start)

    def filled(binding: Any, row: int, position: int, block: int, *rest: Any) -> None:
        found[-1][tenants[row]].append((position, block))
        prefill(binding, row, position, block, *rest)

    monkeypatch.setattr(row_loop, "take", taken)
    monkeypatch.setattr(row_loop, "prefill", filled)
    requests = requests_of(engine)
    found.append(defaultdict(list))
    for request in requests:
        streamed(engine, [request], 1)
    alone = found[0]
    assert alone, "no prompt was run in chunks"
    for company, (size, order) in COMPANIES.items():
        found.append(defaultdict(list))
        streamed(engine, [requests[i] for i in order], size)
        for index, chunks in found[-1].items():
            # The first ones may be shared with another prompt.
            assert chunks == alone[index][-len(chunks) :], (
                f"chunks depend on the company: {company}"
            )


def test_chunks(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    check_chunks(autoregressive(load, "llama", "onnxruntime"), monkeypatch)


def test_chunks_planted(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks that share the positions of a launch with what ran before."""
    calls: list[int] = []

    def shared(prompt: int, position: int) -> int:
        calls.append(position)
        return min(1 + len(calls) % 2, prompt - position)

    monkeypatch.setattr(slots, "chunk", shared)
    with pytest.raises(AssertionError, match="chunks depend on the company"):
        check_chunks(autoregressive(load, "llama", "onnxruntime"), monkeypatch)
