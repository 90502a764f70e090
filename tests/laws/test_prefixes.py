"""Laws of prefills: shared beginnings and missing predictions change no row."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ancestral.engine import (
    AutoregressiveEngine,
    Delta,
    Engine,
    Request,
    donors,
    prefixes,
    row_cache,
    slots,
)
from ancestral.engine.prefixes import Held, Prompt
from tests.conftest import Load, autoregressive

from .faults import plant
from .laws import assert_close, limits
from .test_requests import assert_same_rows, by_generate, streamed

SLOTS = (1, 2, 5)
RINGS = ("wavenet", "pixelcnn", "channels")
"""Toys whose prompts run step by step with the other rows, so that they share nothing."""


@pytest.fixture(autouse=True)
def short_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The toys' events are short: prompts run in chunks of 2, steps in launches of 2."""
    for module in (slots, donors):
        monkeypatch.setattr(module, "CHUNK", 2)
    monkeypatch.setattr(slots, "CHUNKS", 1)
    monkeypatch.setattr(slots, "STEPS", 2)


def requests_of(engine: Engine, *, prompt_log_p: bool = True) -> list[Request]:
    """Requests whose prompts share beginnings: all, a part, or all but the last value of a part."""
    data, t = engine.data, engine.data.length
    base = np.random.default_rng(8).integers(0, data.levels, t)
    prompts = [base[: t - 2], base[: t - 1], base[: t - 2], base[:4], base[: t - 2], base[: t - 1]]
    for end in (4, 3, 2):
        other = base[: t - 1].copy()
        other[end - 1 :] = (other[end - 1 :] + 1) % data.levels
        prompts.append(other)
    prompts += [base, base[: t - 2]]
    labels = (0, 0, 0, 0, 1, 1, 1, 0, 0, 0, 0)
    return [
        Request(
            prompt,
            label=None if data.num_classes is None else labels[i] % data.num_classes,
            seed=30 + i,
            stop=(),
            max_new=1 if i in (1, 4) else None,
            prompt_log_p=prompt_log_p,
        )
        for i, prompt in enumerate(prompts)
    ]


def prompt_log_p(deltas: Sequence[Delta]) -> dict[int, NDArray[np.float32]]:
    """Return log p of each prompt, which must be in the first delta of its request."""
    found: dict[int, NDArray[np.float32]] = {}
    begun: set[int] = set()
    for delta in deltas:
        assert delta.prompt_log_p is None or delta.request not in begun
        if delta.prompt_log_p is not None:
            found[delta.request] = delta.prompt_log_p
        begun.add(delta.request)
    return found


class Shared:
    """Counts positions that are taken from caches, by the way they are taken."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.own = self.copied = self.restored = 0
        place, copy, write = donors.Donors.place, row_cache.copy_row, row_cache.write_row

        def placed(self_: Any, *rest: Any) -> tuple[int, int]:
            row, own = place(self_, *rest)
            self.own += own
            return row, own

        def copied(*arguments: Any) -> None:
            self.copied += arguments[-1]
            copy(*arguments)

        def restored(*arguments: Any) -> None:
            self.restored += arguments[-2]
            write(*arguments)

        monkeypatch.setattr(donors.Donors, "place", placed)
        monkeypatch.setattr(row_cache, "copy_row", copied)
        monkeypatch.setattr(row_cache, "write_row", restored)


def check_rows(
    engine: AutoregressiveEngine, toy: str, size: int, requests: Sequence[Request]
) -> None:
    """Check that requests in one stream draw what each draws by itself, with the same log p."""
    scored = [replace(each, prompt_log_p=True) for each in requests]
    expected = by_generate(engine, scored)
    assert_same_rows(engine, toy, streamed(engine, requests, size), expected, scored)
    found = prompt_log_p(list(engine.stream(iter(requests), size)))
    assert sorted(found) == [i for i, each in enumerate(requests) if each.prompt_log_p]
    for i, log_p in found.items():
        each = requests[i]
        (row,) = engine.generate([each.prompt], 1, stop=(), labels=each.label)
        assert row.prompt_log_p is not None
        assert_close(log_p, row.prompt_log_p, limits(engine).nats, f"log p of prompt {i}")


@pytest.mark.parametrize("size", SLOTS)
def test_shared(
    load: Load, monkeypatch: pytest.MonkeyPatch, toy: str, backend: str, size: int
) -> None:
    """A request with a shared beginning draws what it draws by itself."""
    engine = autoregressive(load, toy, backend)
    count = Shared(monkeypatch)
    check_rows(engine, toy, size, requests_of(engine))
    if toy in RINGS:
        assert (count.own, count.copied, count.restored) == (0, 0, 0)
    if toy in ("tiny", "llama") and size == 1:
        assert count.own, "no slot was kept"
        assert count.restored, "no cache came from the store"
    if toy in ("tiny", "llama", "gru") and size > 1:
        assert count.copied, "no cache was copied"


@pytest.mark.parametrize("size", SLOTS)
def test_headless(load: Load, toy: str, backend: str, size: int) -> None:
    """A prefill without predictions changes no draw; every third request asks for log p."""
    engine = autoregressive(load, toy, backend)
    requests = [
        replace(each, prompt_log_p=i % 3 == 2)
        for i, each in enumerate(requests_of(engine, prompt_log_p=False))
    ]
    check_rows(engine, toy, size, requests)


@pytest.mark.slow
@pytest.mark.parametrize("toy", ["tiny", "startless", "gru"])
def test_headless_generate(load: Load, toy: str, backend: str) -> None:
    """Prompts of different lengths in one batch."""
    engine = autoregressive(load, toy, backend)
    requests = requests_of(engine)
    labels = None if engine.data.num_classes is None else [each.label for each in requests]
    prompts = [each.prompt for each in requests]
    rows = engine.generate(prompts, stop=(), labels=labels, seed=3, prompt_log_p=False)
    assert [row.prompt_log_p for row in rows] == [None] * len(rows)
    t = engine.data.length
    got = (np.full((len(rows), t), -1), np.zeros((len(rows), t), np.float32))
    for i, row in enumerate(rows):
        got[0][i], got[1][i, len(row.prompt) :] = np.append(row.prompt, row.tokens), row.log_p
    seeded = [replace(each, seed=3, index=i, max_new=None) for i, each in enumerate(requests)]
    assert_same_rows(engine, toy, got, by_generate(engine, seeded), seeded)


@pytest.mark.parametrize("backend", ["torch", "onnxruntime"])
def test_headless_planted(
    load: Load, bundles: Callable[[str], Path], tmp_path: Path, backend: str
) -> None:
    """A prefill whose blocks see too short a past."""
    faulty = plant(bundles("tiny"), tmp_path, "block wrong", "tiny", backend)
    assert isinstance(faulty, AutoregressiveEngine)
    engine = autoregressive(load, "tiny", backend)
    requests = [
        replace(each, prompt=np.arange(8) % 3, prompt_log_p=False, label=i % 2)
        for i, each in enumerate(requests_of(engine))
    ]
    got = streamed(faulty, requests, 2)
    with pytest.raises(AssertionError, match=r"though u is|log p of a request"):
        assert_same_rows(engine, "tiny", got, by_generate(engine, requests), requests)


Sharing = Callable[..., int]


def _label_ignored(shared: Sharing) -> Sharing:
    return lambda held, prompt, exact: shared(held, replace(prompt, label=held.label), exact=exact)


def _state_of_another_length(shared: Sharing) -> Sharing:
    return lambda held, prompt, exact: shared(held, prompt, exact=False)


def _last_value_ignored(shared: Sharing) -> Sharing:
    def fault(held: Held, prompt: Prompt, exact: bool) -> int:
        values, most = held.values.copy(), prefixes.common(held.values, prompt.values)
        if most < min(len(values), len(prompt.values)):
            values[most] = prompt.values[most]
        return shared(replace(held, values=values), prompt, exact=exact)

    return fault


def _too_long(shared: Sharing) -> Sharing:
    def fault(held: Held, prompt: Prompt, exact: bool) -> int:
        found = shared(held, prompt, exact=exact)
        return found + 1 if 0 < found < len(prompt.values) - 1 else found

    return fault


def _unscored(shared: Sharing) -> Sharing:
    return lambda held, prompt, exact: shared(replace(held, scored=True), prompt, exact=exact)


FAULTS = {
    "another label": (_label_ignored, "tiny"),
    "a state of another length": (_state_of_another_length, "gru"),
    "another last value": (_last_value_ignored, "llama"),
    "one position too long": (_too_long, "llama"),
    "a donor without log p": (_unscored, "tiny"),
}


@pytest.mark.parametrize("backend", ["torch", "onnxruntime"])
@pytest.mark.parametrize("fault", FAULTS)
def test_shared_planted(
    load: Load, monkeypatch: pytest.MonkeyPatch, backend: str, fault: str
) -> None:
    """A prompt that takes what is not its own."""
    planted, toy = FAULTS[fault]
    engine = autoregressive(load, toy, backend)
    requests = requests_of(engine)
    if fault == "a donor without log p":
        requests = [replace(each, prompt_log_p=i % 2 == 1) for i, each in enumerate(requests)]
    monkeypatch.setattr(prefixes, "shared", planted(prefixes.shared))
    with pytest.raises(AssertionError, match=r"though u is|log p of"):
        check_rows(engine, toy, 2, requests)


@pytest.mark.parametrize("scored", [True, False], ids=["log p", "no log p"])
@pytest.mark.parametrize("toy", ["tiny", "llama", "startless", "gru"])
def test_bits(load: Load, monkeypatch: pytest.MonkeyPatch, toy: str, scored: bool) -> None:
    """On onnxruntime a shared beginning that ran in the same chunks gives the very bits."""
    engine = autoregressive(load, toy, "onnxruntime")
    first, second, *_, last = requests_of(engine, prompt_log_p=scored)
    other = replace(first, prompt=(np.asarray(first.prompt) + 1) % engine.data.levels, max_new=1)
    (alone,) = [list(engine.stream([last], 1))]
    for before in ([first], [second], [first, other]):
        count = Shared(monkeypatch)
        deltas = list(engine.stream(iter([*before, last]), 1))
        got = [each for each in deltas if each.request == len(before)]
        shared = count.own + count.restored
        assert shared or toy == "gru", "nothing was shared"
        for name in ("values", "log_p", "log_q"):
            parts = [np.concatenate([getattr(each, name) for each in d]) for d in (got, alone)]
            np.testing.assert_array_equal(*parts, err_msg=name)
        if scored:
            np.testing.assert_array_equal(got[0].prompt_log_p, alone[0].prompt_log_p)
