"""Rows of a job: the same bits for any shards and order, and the rows of the engine."""

import random
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from ancestral.bulk.computed import load_engine, part_columns
from ancestral.bulk.job import Job
from ancestral.bulk.make import make_job
from ancestral.bulk.orders import Order
from ancestral.bulk.parts import Plan, Shard
from ancestral.bulk.prompts import prompts_content
from ancestral.bulk.settings import Filters, LogProbSettings, Prompts, SampleSettings
from ancestral.bulk.store import Store
from ancestral.bulk.table import Columns, values_of
from ancestral.bulk.work import work
from ancestral.engine import AutoregressiveEngine, LatentEngine, Sampling
from ancestral.engine.comparison import limits

from .jobs import PART, ROWS, Bundles, finish, merged, ordered, part_files, rows_of, worker_of

CASES = {
    "events": ("tiny", SampleSettings(seed=3)),
    "labels": ("tiny", SampleSettings(seed=3, labels=(1, 0, 1))),
    "filtered": ("tiny", SampleSettings(seed=3, filters=Filters(temperature=0.7, top_k=2))),
    "without labels": ("llama", SampleSettings(seed=2**64 - 1)),
    "latents": ("bernoulli", SampleSettings(seed=3)),
    "means": ("bernoulli", SampleSettings(seed=3, mean=True)),
    "codes": ("codes", SampleSettings(seed=3)),
}


def worked(order: Order, out: Path, shards: int, shuffle: int = 0) -> tuple[Job, Store]:
    """Do all shards of a job one after another, each with an engine of its own."""
    store = Store.open(str(out))
    job = make_job(order, store)
    for index in random.Random(shuffle).sample(range(shards), shards):
        parts = list(Plan(job).of_shard(Shard(index, shards)))
        random.Random(shuffle).shuffle(parts)
        work(worker_of(job, store, order), parts, lambda part, new: None)
    return job, store


@pytest.mark.parametrize("case", CASES)
def test_same_bits_in_any_shards_and_order(case: str, bundles: Bundles, tmp_path: Path) -> None:
    toy, settings = CASES[case]
    order = ordered(bundles(toy), settings=settings)
    found = [
        merged(*worked(order, tmp_path / str(shards), shards, seed), tmp_path / f"{shards}.parquet")
        for shards, seed in ((1, 0), (7, 1))
    ]
    assert found[0] == found[1]


@pytest.mark.parametrize("n", [1, ROWS, PART, 200])
def test_a_larger_job_has_the_rows_of_a_smaller_one(
    n: int, bundles: Bundles, tmp_path: Path
) -> None:
    """The last batch is padded, so that the bits of a row do not depend on n."""
    order = ordered(bundles("tiny"), n)
    job, store, _ = finish(order, tmp_path / "few")
    few = rows_of(job, store, tmp_path / "few.parquet")
    job, store, _ = finish(ordered(bundles("tiny"), 200), tmp_path / "many")
    many = rows_of(job, store, tmp_path / "many.parquet")
    assert few.equals(many.slice(0, n))
    assert len(part_files(tmp_path / "few")) == -(-n // PART)


@dataclass
class Recorder:
    """Rows that only record which of them were asked for."""

    asked: list[tuple[int, int]] = field(default_factory=list)

    def columns(self, first: int, count: int) -> Columns:
        self.asked.append((first, count))
        return {"x": np.arange(first, first + count)}


def test_batches_of_samples_are_whole(bundles: Bundles, tmp_path: Path) -> None:
    """A batch of samples is drawn whole, and what is beyond the part is dropped.

    A model may round alike in batches of any size, so that rows with equal bits do not show it.
    """
    job = make_job(ordered(bundles("tiny"), 30), Store.open(str(tmp_path)))
    for settings, last in ((job.settings, ROWS), (LogProbSettings(), 30 - 24)):
        rows = Recorder()
        found = part_columns(rows, Plan(job).part(1), job.model_copy(update={"settings": settings}))
        assert rows.asked == [(24, last)]
        assert np.array_equal(found["x"], np.arange(24, 30))


def test_extended_job(bundles: Bundles, tmp_path: Path) -> None:
    """A larger n computes what is missing; the short last part is replaced and then deleted."""
    finish(ordered(bundles("tiny"), 100), tmp_path / "out")
    before = {path.name: path.stat().st_mtime_ns for path in part_files(tmp_path / "out")}
    job, store, new = finish(ordered(bundles("tiny"), 200), tmp_path / "out")
    assert new == [False] * 4 + [True] * 5
    assert (job.n, job.earlier) == (200, (100,))
    after = {path.name: path.stat().st_mtime_ns for path in part_files(tmp_path / "out")}
    assert [path.end for path in map(Plan(job).part, range(9))] == [*range(24, 200, 24), 200]
    assert len(after) == 9
    assert [name for name in before if after.get(name) != before[name]] == [
        f"part-000000000096-000000000100-{job.digest}.parquet"
    ]
    other, elsewhere, _ = finish(ordered(bundles("tiny"), 200), tmp_path / "at once")
    assert merged(job, store, tmp_path / "a.parquet") == merged(
        other, elsewhere, tmp_path / "b.parquet"
    )
    # A smaller n is a part of the larger job.
    job, _, new = finish(ordered(bundles("tiny"), 100), tmp_path / "out")
    assert (job.n, set(new)) == (200, {False})


@pytest.mark.parametrize("toy", ["tiny", "llama", "gru"])
def test_events_are_those_of_the_engine(toy: str, bundles: Bundles, tmp_path: Path) -> None:
    job, store, _ = finish(ordered(bundles(toy)), tmp_path / "out")
    table = rows_of(job, store, tmp_path / "all.parquet")
    engine = load_engine(job)
    assert isinstance(engine, AutoregressiveEngine)
    labels = None if engine.data.num_classes is None else np.arange(200) % engine.data.num_classes
    expected = engine.sample(200, labels, seed=3)
    assert np.array_equal(table["index"].to_numpy(), np.arange(200))
    assert np.array_equal(values_of(table, "x"), expected.x)
    assert values_of(table, "x").dtype == np.uint8
    limit = limits(engine, engine.bundle.known_answers())[0].nats
    for name in ("log_prob", "log_q"):
        assert np.abs(table[name].to_numpy() - getattr(expected, name)).max() <= 2 * limit
    if labels is not None:
        assert np.array_equal(table["label"].to_numpy(), labels)
    assert table.schema.field("log_prob").metadata == {b"unit": b"nats"}


def test_labels_are_used_in_turn(bundles: Bundles, tmp_path: Path) -> None:
    """Sample i has label i modulo their number, whichever batch it is in."""
    settings = SampleSettings(seed=3, labels=(1, 0, 1))
    job, store, _ = finish(ordered(bundles("tiny"), 50, settings=settings), tmp_path / "out")
    table = rows_of(job, store, tmp_path / "all.parquet")
    labels = np.array([1, 0, 1])[np.arange(50) % 3]
    engine = load_engine(job)
    assert isinstance(engine, AutoregressiveEngine)
    assert np.array_equal(table["label"].to_numpy(), labels)
    assert np.array_equal(values_of(table, "x"), engine.sample(50, labels, seed=3).x)


def test_latents_are_those_of_the_engine(bundles: Bundles, tmp_path: Path) -> None:
    job, store, _ = finish(ordered(bundles("bernoulli"), 40), tmp_path / "out")
    table = rows_of(job, store, tmp_path / "all.parquet")
    engine = load_engine(job)
    assert isinstance(engine, LatentEngine)
    expected = engine.sample(40, seed=3)
    assert np.array_equal(values_of(table, "x"), expected.x)
    assert np.allclose(values_of(table, "z"), expected.z, atol=1e-5)
    assert set(table.column_names) == {"index", "x", "z", "log_prior", "log_likelihood"}


def test_prompts_are_continued_in_turn(bundles: Bundles, tmp_path: Path) -> None:
    prompts = [[1, 2], [0], [3, 3, 1]]
    given = Prompts(sha256=prompts_content(prompts)[1], count=3, max_new=2)
    settings = SampleSettings(seed=3, prompts=given)
    order = ordered(bundles("startless"), 50, settings=settings, prompts=prompts)
    found = [
        merged(*worked(order, tmp_path / str(shards), shards), tmp_path / f"{shards}.parquet")
        for shards in (1, 3)
    ]
    assert found[0] == found[1]
    job, store, new = finish(order, tmp_path / "1")
    assert set(new) == {False}
    table = rows_of(job, store, tmp_path / "all.parquet")
    engine = load_engine(job)
    assert isinstance(engine, AutoregressiveEngine)
    expected = engine.generate([prompts[i % 3] for i in range(50)], 2, seed=3)
    assert table["tokens"].to_pylist() == [row.tokens.tolist() for row in expected]
    assert table["prompt"].to_pylist() == [i % 3 for i in range(50)]
    assert table["ended"].to_pylist() == [row.ended for row in expected]


def test_another_seed_and_settings_differ(bundles: Bundles, tmp_path: Path) -> None:
    """The planted fault of the tests above: rows depend on the seed and on the settings."""
    tables = []
    for i, settings in enumerate(
        (
            SampleSettings(seed=3),
            SampleSettings(seed=4),
            SampleSettings(seed=3, filters=Filters.of(Sampling(0.5))),
        )
    ):
        job, store, _ = finish(ordered(bundles("tiny"), settings=settings), tmp_path / str(i))
        tables.append(values_of(rows_of(job, store, tmp_path / "all.parquet"), "x"))
    assert not np.array_equal(tables[0], tables[1])
    assert not np.array_equal(tables[0], tables[2])
