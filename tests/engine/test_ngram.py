"""Counts of what followed a sequence, and the proposals that are drawn from them."""

from collections import Counter
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from ancestral.engine.speculation import Ngram
from ancestral.engine.speculation.corpus import ORDERS, Corpus

LONG = 40


def counted(texts: Sequence[Sequence[int]], suffix: list[int]) -> Counter[int]:
    """Count, by looking at every place, what followed a sequence; -1 is before each text."""
    k, found = len(suffix), Counter[int]()
    for text in texts:
        padded = [-1] * k + list(text)
        found.update(padded[i + k] for i in range(len(text)) if padded[i : i + k] == suffix)
    return found


def drawn_texts(levels: int, seed: int) -> list[list[int]]:
    """Return texts of few different values among many, which repeat themselves."""
    rng = np.random.default_rng(seed)
    values = rng.choice(levels, 3, replace=False)
    pattern = rng.choice(values, 12)
    noise = (rng.choice(values, n) for n in (0, 1, 5, 200, 300))
    return [each.tolist() for each in noise] + [np.tile(pattern, 6).tolist()]


@pytest.mark.parametrize("levels", [3, 17, 256, 50_257, 2**31 - 2])
def test_counts_are_those_of_every_place(levels: int) -> None:
    texts = drawn_texts(levels, levels)
    corpus = Corpus([np.array(text, np.int64) for text in texts])
    assert len(corpus) == sum(map(len, texts))
    rng, checked = np.random.default_rng(0), Counter[int]()
    for _ in range(300):
        text = texts[rng.integers(1, len(texts))]
        query = text[: rng.integers(len(text) + 1)]
        if rng.random() < 0.2:
            # A value that the texts lack, and that no key has room for.
            query = [*query[:-2], 2**40, *query[-1:]]
        found = corpus.counts(corpus.key(query))
        for i, order in enumerate(corpus.orders):
            expected = counted(texts, ([-1] * order + query)[-order:])
            assert (found[i] if i < len(found) else {}) == expected, (query, order)
            checked[order] += bool(expected)
    assert min(checked.values()) > 20
    assert set(checked) == set(corpus.orders) <= set(ORDERS)
    assert len(corpus.orders) == {3: 5, 17: 5, 256: 5, 50_257: 3}.get(levels, 2)


def test_only_the_most_frequent_of_many_values_are_kept() -> None:
    text = [value for i in range(400) for value in (900, 901, i % 50 if i % 2 else 7)]
    corpus = Corpus([np.array(text)])
    _, counts, *_ = corpus.counts(corpus.key([900, 901]))
    every = counted([text], [900, 901])
    assert len(counts) < len(every)
    assert counts[7] == every[7]
    assert counts.items() <= every.items()


def proposed(ngram: Ngram, values: Sequence[int], temperature: float = 1.0) -> list[int]:
    """Return the proposals after some values, drawn with evenly spread u at one position each."""
    found = []
    for u in (np.arange(LONG) + 0.5) / LONG:
        row: Any = SimpleNamespace(
            u=np.full(LONG, u, np.float32), sampling=SimpleNamespace(temperature=temperature)
        )
        array = np.full(LONG, -1)
        array[: len(values)] = values
        with ngram.begin(row) as proposals:
            (value,) = proposals.propose(array, len(values), 1)
        found.append(int(value))
    return found


def test_u_draws_from_the_counts_in_the_order_of_values() -> None:
    ngram = Ngram([[5, 6, 9], [5, 6, 3], [5, 6, 9], [5, 6, 9]] * 5)
    at_one = proposed(ngram, [5, 6])
    assert at_one == sorted(at_one)
    assert abs(at_one.count(3) - LONG / 4) <= 1
    # At temperature 1/2 the weights are squared.
    assert abs(proposed(ngram, [5, 6], 0.5).count(3) - LONG / 10) <= 1
    assert set(proposed(ngram, [5, 6], 0.0)) == {9}


def test_longer_sequences_weigh_more() -> None:
    texts = [[1, 2, 3, 4, 8]] * 20 + [[0, 0, 3, 4, 9]] * 20
    found = Counter(proposed(Ngram(texts), [1, 2, 3, 4]))
    assert found[8] > 0.8 * LONG
    assert Counter(proposed(Ngram(texts), [7, 7, 3, 4]))[9] == LONG // 2


def test_the_row_itself_is_a_corpus() -> None:
    row = [4, 1, 5, 2, 4, 1]
    assert set(proposed(Ngram(), row)) == {5}
    with_corpus = Counter(proposed(Ngram([[4, 1, 6]]), row))
    # A place in the row weighs four in the corpus.
    assert (with_corpus[5], with_corpus[6]) == (0.8 * LONG, 0.2 * LONG)


def test_nothing_known_proposes_nothing() -> None:
    row: Any = SimpleNamespace(u=np.zeros(4, np.float32), sampling=SimpleNamespace(temperature=1.0))
    values = np.array([7, 8, 9, -1])
    # A row begins as the texts of the corpus do.
    for texts, counts in (([], (0, 0, 0)), ([[]], (0, 0, 0)), ([[1, 2, 3, 4]], (1, 0, 0))):
        with Ngram(texts).begin(row) as proposals:
            found = [proposals.propose(values, position, 1) for position in range(3)]
        assert tuple(map(len, found)) == counts
        assert {each.dtype for each in found} == {np.dtype(np.int64)}


def test_a_proposal_has_a_cost() -> None:
    """It is measured once, whatever the corpus."""
    for ngram in (Ngram(), Ngram([[1, 2, 3, 4] * 100]), Ngram([[5]])):
        first = ngram.seconds()
        assert 1e-8 < first < 0.1
        assert ngram.seconds() == first
