"""Shared prefixes: what may be shared, what is kept, and within how much memory."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from ancestral.engine import AutoregressiveEngine, Request, donors, row_cache, slots
from ancestral.engine.prefixes import Held, PrefixStore, Prompt, best, shared
from ancestral.errors import InvalidInput, NotADistribution
from tests.conftest import Load, autoregressive
from tests.engine.test_bindings import POISON, poisoned

__all__ = ["poisoned"]


def held(
    n: int, label: int | None = None, *, scored: bool = True, prompt: int | None = None
) -> Held:
    return Held(np.arange(n), label, scored, n if prompt is None else prompt)


def prompt(n: int, *ends: int, label: int | None = None, scored: bool = False) -> Prompt:
    return Prompt(np.arange(n), label, scored, ends)


@pytest.mark.parametrize(
    ("cache", "wanted", "exact", "positions"),
    [
        (held(9), prompt(9, 4, 8, 9), False, 9),
        (held(12, prompt=9), prompt(9, 4, 8, 9), False, 9),
        (held(12), prompt(9, 4, 8, 9), False, 8),
        (held(9), prompt(12, 4, 8, 12), False, 8),
        (held(7), prompt(12, 4, 8, 12), False, 4),
        (held(3), prompt(12, 4, 8, 12), False, 0),
        (held(9, 1), prompt(9, 9, label=1), False, 9),
        (held(9, 1), prompt(9, 9, label=2), False, 0),
        (held(9, scored=False), prompt(9, 9, scored=True), False, 0),
        (held(9, scored=False), prompt(9, 9), False, 9),
        (held(8), prompt(12, 4, 8, 12), True, 8),
        (held(9), prompt(12, 4, 8, 12), True, 0),
        (held(16), prompt(12, 4, 8, 12), True, 0),
        (held(0), prompt(0), False, 0),
    ],
)
def test_shared(cache: Held, wanted: Prompt, exact: bool, positions: int) -> None:
    """Up to the end of a chunk; the last end only of the same prompt; a state only whole."""
    assert shared(cache, wanted, exact=exact) == positions


def test_longest() -> None:
    """The cache that saves most is taken; the first of equal ones."""
    caches = [(3, held(4)), (5, held(8)), (7, held(8)), (9, held(2))]
    assert best(caches, prompt(12, 4, 8, 12), exact=False) == (5, 8)
    assert best(caches[3:], prompt(12, 4, 8, 12), exact=False) == (-1, 0)
    assert best([], prompt(12, 4), exact=False) == (-1, 0)


def saved(store: PrefixStore, first: int, size: int) -> None:
    values = first + 100 * np.arange(3)
    store.save(Held(values, None, True, 3), size, lambda: {"k": np.zeros(size, np.uint8)})


def found(store: PrefixStore) -> list[int]:
    return [int(held.values[0]) for _, held in store.held]


def test_memory_is_bounded() -> None:
    """The one that was used least recently makes room; one that is too large is not read."""
    store = PrefixStore(10)
    for first in (1, 2):
        saved(store, first, 4)
    assert (found(store), store.bytes) == ([1, 2], 8)
    store.take(store.held[0][0])
    saved(store, 3, 4)
    assert (found(store), store.bytes) == ([1, 3], 8)
    saved(store, 4, 11)
    assert found(store) == [1, 3]
    saved(store, 5, 10)
    assert (found(store), store.bytes) == ([5], 10)


def test_same_values_once() -> None:
    """A cache displaces those that serve no prompt that it does not serve."""
    store = PrefixStore(100)
    for n, scored in ((2, True), (3, False), (4, True)):
        store.save(Held(np.arange(n), 0, scored, 2), 1, dict)
    assert [len(held.values) for _, held in store.held] == [4]
    store.save(Held(np.arange(4), 0, False, 2), 1, dict)
    store.save(Held(np.arange(4), 1, True, 2), 1, dict)
    assert len(store.held) == 3


@pytest.fixture
def short_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (slots, donors):
        monkeypatch.setattr(module, "CHUNK", 8)


Restored = Callable[[int], int]


@pytest.fixture
def restored(
    load: Load, monkeypatch: pytest.MonkeyPatch, short_chunks: None
) -> Callable[[int], int]:
    """Return a function of `prefix_memory`: positions that came back from the store."""
    engine = autoregressive(load, "text", "onnxruntime")
    write, positions = row_cache.write_row, []

    def counted(*arguments: object) -> None:
        positions.append(arguments[3])
        write(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(row_cache, "write_row", counted)

    def run(memory: int) -> int:
        positions.clear()
        prompts = [[5] * 17, [6] * 17, [5] * 17]
        requests = [Request(each, max_new=1, stop=()) for each in prompts]
        list(engine.stream(requests, 1, prefix_memory=memory))
        return sum(positions)

    return run


def test_setting(restored: Restored) -> None:
    """Caches of earlier tenants are kept within the user's bytes, and not at all with 0."""
    assert restored(2**20) == 17
    assert restored(0) == 0
    assert restored(100) == 0


def test_bytes(load: Load) -> None:
    """The bytes of a copy are counted before it is made."""
    engine = autoregressive(load, "text", "onnxruntime")
    signature = engine.session("step").signature
    with engine.binding("step", 3) as binding:
        cache = row_cache.read_row(signature, binding, 1, 7)
    assert sum(each.nbytes for each in cache.values()) == row_cache.bytes_of(signature, 7)
    whole = row_cache.bytes_of(signature, engine.data.length)
    assert row_cache.bytes_of(signature, 7) < 0.5 * whole


@pytest.mark.parametrize("backend", ["torch", "onnxruntime"])
def test_copies(load: Load, backend: str) -> None:
    """A row's first slots, and nothing else, are copied to another row, and back from the host."""
    engine = autoregressive(load, "text", backend)
    signature = engine.session("step").signature
    names = [
        pair.input for pair in signature.carried if pair.input[0] in "kv" and "_" in pair.input
    ]
    assert len(names) > 1

    def filled() -> dict[str, NDArray[np.float32]]:
        return {name: binding.read(name) for name in names}

    binding = engine.session("step").bind({"b": 3, "s": 1})
    for i, name in enumerate(names):
        shape = binding.read(name).shape
        binding.write(name, np.random.default_rng(i).normal(size=shape).astype(np.float32))
    before = filled()
    row_cache.copy_row(signature, binding, 0, 2, 5)
    kept = row_cache.read_row(signature, binding, 2, 7)
    row_cache.write_row(signature, binding, 1, 6, kept)
    for name, array in filled().items():
        expected = before[name].copy()
        expected[2, :, :5] = before[name][0, :, :5]
        expected[1, :, :6] = expected[2, :, :6]
        np.testing.assert_array_equal(array, expected)


@pytest.mark.parametrize("backend", ["torch", "onnxruntime"])
def test_nan_is_not_shared(poisoned: Path, backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row that was filled without predictions, and cancelled, leaves no NaN behind."""
    for name in ("CHUNKS", "STEPS"):
        monkeypatch.setattr(slots, name, 1)
    for module in (slots, donors):
        monkeypatch.setattr(module, "CHUNK", 2)
    engine = AutoregressiveEngine.load(poisoned, backend=backend, threads=1)
    good = Request([0], max_new=1, seed=4, stop=(POISON,))
    (expected,) = engine.stream([good], 1)
    # The neighbour is at a later position, so what the bad row left is masked, not overwritten.
    bad = Request([0, POISON, 0, 0], prompt_log_p=False)
    neighbour = Request([0], max_new=4, seed=1, stop=())
    stream = engine.stream(iter([neighbour, bad, good]), 2)
    deltas = []
    for delta in stream:
        deltas.append(delta)
        stream.cancel(1)
    found = [delta for delta in deltas if delta.request == 2]
    assert [delta.ended for delta in deltas if delta.request == 1] == ["cancelled"]
    np.testing.assert_array_equal(found[0].log_p, expected.log_p)


@pytest.mark.parametrize("backend", ["torch", "onnxruntime"])
@pytest.mark.parametrize("scored", [True, False])
def test_nan_is_reported(poisoned: Path, scored: bool, backend: str) -> None:
    """A prompt whose cache is NaN is found, with or without log p of it."""
    engine = AutoregressiveEngine.load(poisoned, backend=backend, threads=1)
    with pytest.raises(NotADistribution):
        list(engine.stream([Request([0, POISON, 1], prompt_log_p=scored)]))
    with pytest.raises(NotADistribution):
        engine.generate([[0, POISON, 1]], prompt_log_p=scored)


def test_first_delta(load: Load) -> None:
    """log p of a prompt is in the first delta, and nowhere if it was not asked for."""
    engine = autoregressive(load, "text", "onnxruntime")
    (row,) = engine.generate([[5, 6, 7]], 20, stop=())
    first, *others = engine.stream([Request([5, 6, 7], max_new=20, stop=())])
    assert row.prompt_log_p is not None
    assert first.prompt_log_p is not None
    np.testing.assert_allclose(first.prompt_log_p, row.prompt_log_p, atol=1e-5)
    assert [each.prompt_log_p for each in others] == [None] * len(others)
    unasked = Request([5, 6, 7], max_new=20, stop=(), prompt_log_p=False)
    assert all(each.prompt_log_p is None for each in engine.stream([unasked]))
    (bare,) = engine.generate([[5, 6, 7]], 20, stop=(), prompt_log_p=False)
    assert bare.prompt_log_p is None
    assert bare.tokens.tolist() == row.tokens.tolist()


def test_old_bundle(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bundle without the graph prefills by its steps: llama has none."""
    engine = autoregressive(load, "llama", "onnxruntime")
    assert "prefill" not in engine.bundle.manifest.graphs
    (row,) = engine.generate([[1, 2, 3]], stop=())
    (bare,) = engine.generate([[1, 2, 3]], stop=(), prompt_log_p=False)
    assert bare.prompt_log_p is None
    np.testing.assert_array_equal(bare.log_p, row.log_p)


def test_wrong_arguments(load: Load) -> None:
    engine = autoregressive(load, "llama", "onnxruntime")
    for wrong in (-1, 0.5, True, 2**50):
        with pytest.raises(InvalidInput, match="prefix_memory: expected an integer"):
            engine.stream([Request([1])], prefix_memory=wrong)  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="prompt_log_p: expected True or False"):
        Request([1], prompt_log_p=1)  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="prompt_log_p: expected True or False"):
        engine.generate([[1]], prompt_log_p="no")  # type: ignore[arg-type]
