"""What each proposer proposes, and what it refuses."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from ancestral.dataspec import DataSpec
from ancestral.engine import AutoregressiveEngine, Sampling
from ancestral.engine.noise import Noise
from ancestral.engine.speculation import (
    Jacobi,
    Ngram,
    Row,
    Table,
)
from ancestral.errors import InvalidInput
from ancestral.sampling import UNFILTERED
from tests.conftest import Load, autoregressive


@pytest.fixture
def tiny(load: Load) -> AutoregressiveEngine:
    return autoregressive(load, "tiny", "onnxruntime")


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
