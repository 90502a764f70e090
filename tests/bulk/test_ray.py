"""Jobs and Datasets on a Ray cluster of several nodes, which lose actors and nodes on the way."""

import json
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ancestral.bulk.job import Job
from ancestral.bulk.parts import Part, Plan
from ancestral.bulk.prompts import prompts_content
from ancestral.bulk.settings import (
    ClassifySettings,
    LogProbSettings,
    Prompts,
    SampleSettings,
)
from ancestral.bulk.store import Store
from ancestral.bulk.table import values_of
from ancestral.bulk.workers import WorkerFailed
from ancestral.engine import AutoregressiveEngine, Engine
from ancestral.errors import InvalidInput

from .jobs import ROWS, Bundles, finish, merged, ordered, part_files, rows_of
from .ray_cluster import Nodes, actors, is_alive, started

ray = pytest.importorskip("ray", exc_type=ImportError)
on_ray = pytest.importorskip("ancestral.bulk.ray", exc_type=ImportError)
pytestmark = [
    pytest.mark.bulk,
    # Ray warns of its own defaults.
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.data.context"),
]
PARTS = 40
N = 24 * PARTS
LONG = 60.0
"""Seconds after which something has not happened."""


@pytest.fixture(scope="module")
def nodes(bundles: Bundles) -> Iterator[Nodes]:
    for toy in ("tiny", "text"):
        # Before Ray, whose log handlers would print what the exporter says.
        bundles(toy)
    with started(2) as found:
        yield found


def parts_of(job: Job) -> list[Part]:
    plan = Plan(job)
    return [plan.part(i) for i in range(plan.count)]


class Report:
    """Remembers the parts that were reported, and acts at some of them.

    Attributes:
        seen: each part, and whether it was computed.
        acts: what to do, by the number of parts that were reported.
    """

    def __init__(self, **acts: Any) -> None:
        self.seen: list[tuple[Part, bool]] = []
        self.acts = {int(name.removeprefix("at_")): act for name, act in acts.items()}

    def __call__(self, part: Part, new: bool) -> None:
        self.seen.append((part, new))
        if len(self.seen) in self.acts:
            self.acts[len(self.seen)]()

    def check(self, job: Job) -> None:
        """Check that each part was reported once."""
        assert sorted((part for part, _ in self.seen), key=lambda part: part.first) == parts_of(job)


def check_serial(job: Job, out: Path, order: Any) -> None:
    """Check that a job is complete, has each index once, and has the bits of a serial run."""
    store = Store.open(str(out))
    index = rows_of(job, store, out.with_suffix(".rows"))["index"].to_numpy()
    assert index.tolist() == list(range(job.n))
    expected = finish(order, out.with_name("serial"))
    assert merged(job, store, out.with_suffix(".a")) == merged(*expected[:2], out.with_suffix(".b"))
    assert sorted(os.listdir(out)) == sorted(os.listdir(out.with_name("serial")))


def test_job(bundles: Bundles, tmp_path: Path, nodes: Nodes) -> None:
    """Parts of a job that are there and sound are not computed again; others are."""
    order, out, report = ordered(bundles("tiny")), tmp_path / "out", Report()
    job = on_ray.run(order, str(out), report)
    report.check(job)
    assert all(new for _, new in report.seen)
    check_serial(job, out, order)
    damaged, missing, *_ = part_files(out)
    damaged.write_bytes(damaged.read_bytes()[:-9] + b"damage...")
    missing.unlink()
    again = Report()
    assert on_ray.run(order, str(out), again) == job
    assert {part.name for part, new in again.seen if new} == {damaged.name, missing.name}
    again.check(job)
    check_serial(job, out, order)


def test_relative_paths(
    bundles: Bundles, tmp_path: Path, nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Actors have another working directory than the driver."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bundle").symlink_to(bundles("tiny"))
    np.savez("data.npz", x=np.zeros((30, 3, 3), np.uint8), y=np.zeros(30, np.int64))
    settings = LogProbSettings()
    order = ordered(Path("bundle"), None, settings=settings, data=("data.npz",))
    job = on_ray.run(order, "out")
    check_serial(job, tmp_path / "out", order)


def test_killed_actors(bundles: Bundles, tmp_path: Path, nodes: Nodes) -> None:
    """An actor that is killed in mid-job loses nothing: another one does its part."""
    order, out = ordered(bundles("tiny"), N), tmp_path / "out"
    killed: list[int] = []

    def kill() -> None:
        found = [each for node in nodes.cluster.worker_nodes for each in actors(node, "PartActor")]
        assert found
        os.kill(found[0], signal.SIGKILL)
        killed.append(found[0])

    report = Report(at_3=kill, at_12=kill, at_25=kill)
    job = on_ray.run(order, str(out), report)
    assert len(set(killed)) == 3
    assert not any(map(is_alive, killed))
    report.check(job)
    check_serial(job, out, order)


def test_actors_that_die_again_and_again(bundles: Bundles, tmp_path: Path, nodes: Nodes) -> None:
    """A part whose actors are always lost ends the run, and names the part."""
    order = ordered(bundles("tiny"), N)

    def kill() -> None:
        for node in nodes.cluster.worker_nodes:
            for each in actors(node, "PartActor"):
                os.kill(each, signal.SIGKILL)

    with pytest.raises(WorkerFailed, match=r"part-\d+-\d+-\w+.parquet: 1 actors were lost"):
        on_ray.run(order, str(tmp_path / "out"), Report(at_3=kill), retries=0)
    job = on_ray.run(order, str(tmp_path / "out"))
    check_serial(job, tmp_path / "out", order)


def test_node_removed_and_added(bundles: Bundles, tmp_path: Path, nodes: Nodes) -> None:
    """A job goes on when a node fails, and uses a node that comes."""
    order, out = ordered(bundles("tiny"), 4 * N), tmp_path / "out"
    first, _ = nodes.cluster.worker_nodes
    lost: list[int] = []
    new: list[Any] = []
    used: list[int] = []

    def remove() -> None:
        lost.extend(actors(first, "PartActor"))
        nodes.remove(first)

    def report(part: Part, computed: bool) -> None:
        count(part, computed)
        if new and not used:
            used.extend(actors(new[0], "PartActor"))
            time.sleep(0.2)

    count = Report(at_10=remove, at_20=lambda: new.append(nodes.add()))
    job = on_ray.run(order, str(out), report)
    assert lost
    assert not any(map(is_alive, lost))
    assert used
    count.check(job)
    check_serial(job, out, order)


def test_row_that_is_refused(bundles: Bundles, tmp_path: Path, nodes: Nodes) -> None:
    """The error is that of a serial run: it names file and row, and has no traceback of Ray."""
    x = np.zeros((100, 3, 3), np.int64)
    x[57, 0, 0] = 99
    np.savez(tmp_path / "data.npz", x=x, y=np.zeros(100, np.int64))
    data = (str(tmp_path / "data.npz"),)
    order = ordered(bundles("tiny"), None, settings=LogProbSettings(), data=data)
    with pytest.raises(InvalidInput) as found:
        on_ray.run(order, str(tmp_path / "out"))
    assert type(found.value) is InvalidInput
    assert str(found.value).startswith(f"{tmp_path}/data.npz: row 57: x: expected")
    assert "ray" not in str(found.value)
    assert found.value.__cause__ is None
    assert found.value.__suppress_context__
    with pytest.raises(InvalidInput) as serial:
        finish(order, tmp_path / "serial")
    assert str(serial.value) == str(found.value)
    # Parts that were computed at that time are whole, and actors have ended.
    assert {path.suffix for path in (tmp_path / "out").iterdir()} == {".json", ".parquet"}
    end = time.monotonic() + LONG
    while any(actors(node, "PartActor") for node in nodes.cluster.worker_nodes):
        assert time.monotonic() < end
        time.sleep(0.1)


def test_folder_in_memory(bundles: Bundles, nodes: Nodes) -> None:
    with pytest.raises(InvalidInput, match="out: expected a folder that other processes see"):
        on_ray.run(ordered(bundles("tiny")), "memory://somewhere")


def test_folder_that_actors_do_not_see(bundles: Bundles, tmp_path: Path) -> None:
    """An actor on a machine without the folder says so, instead of writing parts there."""
    from ancestral.bulk.ray.actors import PartActor

    start = {"out": str(tmp_path / "out"), "bundle": str(bundles("tiny")), "data": []}
    with pytest.raises(InvalidInput, match=r"out/job.json: no such file"):
        PartActor().open(start)
    assert not (tmp_path / "out").exists()


def by_index(dataset: Any) -> dict[str, list[Any]]:
    """Return the columns of a Dataset, with its rows in the order of their index."""
    rows = sorted(dataset.take_all(), key=lambda row: row["index"])
    assert [row["index"] for row in rows] == list(range(len(rows)))
    return {name: [row[name] for row in rows] for name in rows[0]}


def test_dataset_of_samples(bundles: Bundles, tmp_path: Path, nodes: Nodes) -> None:
    """The rows of a Dataset are those of the job, in bits, and those of the engine."""
    order = ordered(bundles("tiny"), 100, settings=SampleSettings(seed=3, labels=(1, 0)))
    found = by_index(on_ray.sample(order))
    job, store, _ = finish(order, tmp_path / "out")
    table = rows_of(job, store, tmp_path / "rows.parquet")
    assert set(found) == set(table.column_names)
    for name, values in found.items():
        np.testing.assert_array_equal(np.array(values), values_of(table, name))
    engine = Engine.load(bundles("tiny"), threads=1)
    assert isinstance(engine, AutoregressiveEngine)
    drawn = engine.sample(100, 1 - np.arange(100) % 2, seed=3)
    np.testing.assert_array_equal(np.array(found["x"]), drawn.x)


def test_dataset_of_continuations(bundles: Bundles, tmp_path: Path, nodes: Nodes) -> None:
    """Prompts go to the actors; texts and ids of different lengths come back."""
    ids = [[1, 2], [3]]
    prompts = Prompts(sha256=prompts_content(ids)[1], count=2, max_new=5)
    order = replace(
        ordered(bundles("text"), 30, settings=SampleSettings(seed=3, prompts=prompts)), prompts=ids
    )
    found = by_index(on_ray.sample(order))
    job, store, _ = finish(order, tmp_path / "out")
    table = rows_of(job, store, tmp_path / "rows.parquet")
    assert found["text"] == table["text"].to_pylist()
    assert [each.tolist() for each in found["tokens"]] == table["tokens"].to_pylist()
    assert found["prompt"] == table["prompt"].to_pylist()
    assert found["log_prob"] == table["log_prob"].to_pylist()


def test_empty_dataset(bundles: Bundles, nodes: Nodes) -> None:
    assert on_ray.sample(ordered(bundles("tiny"), 0)).take_all() == []


def test_scores_of_a_dataset(bundles: Bundles, nodes: Nodes) -> None:
    """Scores have the bits of the engine's, and other columns are kept."""
    chosen = np.random.default_rng(0)
    x = chosen.integers(0, 3, (40, 3, 3))
    y, index = chosen.integers(0, 2, 40), chosen.permutation(40)
    dataset = ray.data.from_items(
        [{"index": index[i], "x": x[i], "y": y[i], "name": f"row {i}"} for i in range(40)],
        override_num_blocks=1,
    )
    order = ordered(bundles("tiny"), None, settings=LogProbSettings())
    found = by_index(on_ray.score(dataset, order))
    engine = Engine.load(bundles("tiny"), threads=1)
    assert isinstance(engine, AutoregressiveEngine)
    expected = np.empty(40)
    for first in range(0, 40, ROWS):
        some = slice(first, first + ROWS)
        expected[index[some]] = engine.log_prob(x[some], y[some])
    np.testing.assert_array_equal(np.array(found["log_prob"]), expected)
    assert [found["name"][i] for i in index] == [f"row {i}" for i in range(40)]
    assert set(found) == {"index", "x", "y", "name", "log_prob"}


def test_scores_of_parts(bundles: Bundles, tmp_path: Path, nodes: Nodes) -> None:
    """The parts of a job are a Dataset; so are samples, which are scored as they are drawn."""
    # Each step of a Dataset has a CPU at the same time.
    node = nodes.add()
    order = ordered(bundles("tiny"), 60)
    finish(order, tmp_path / "out")
    files = ray.data.read_parquet([str(path) for path in part_files(tmp_path / "out")])
    classes = replace(order, settings=ClassifySettings(), n=None)
    found = by_index(on_ray.score(files.drop_columns(["label"]), classes))
    drawn = by_index(on_ray.score(on_ray.sample(order).drop_columns(["label"]), classes))
    assert found["label"] == drawn["label"]
    engine = Engine.load(bundles("tiny"), threads=1)
    assert isinstance(engine, AutoregressiveEngine)
    assert found["label"] == engine.classify(np.array(drawn["x"])).label.tolist()
    nodes.remove(node)


def test_row_of_a_dataset_that_is_refused(bundles: Bundles, nodes: Nodes) -> None:
    """The sentence, with the index of the row, is in Ray's error."""
    rows = [{"index": 100 + i, "x": np.zeros((3, 3), np.int64), "y": 0} for i in range(20)]
    rows[13]["x"] = np.full((3, 3), 99)
    order = ordered(bundles("tiny"), None, settings=LogProbSettings())
    with pytest.raises(Exception, match="index 113: x: expected"):
        on_ray.score(ray.data.from_items(rows), order).take_all()


def test_kinds_of_orders(bundles: Bundles, nodes: Nodes) -> None:
    order = ordered(bundles("tiny"))
    with pytest.raises(InvalidInput, match="order: expected scores, got samples"):
        on_ray.score(ray.data.range(3), order)
    with pytest.raises(InvalidInput, match="order: expected samples, got log_prob"):
        on_ray.sample(replace(order, settings=LogProbSettings()))


def test_threads(bundles: Bundles, tmp_path: Path, nodes: Nodes) -> None:
    """A new job has one thread; a job that is there keeps its number."""
    order = replace(ordered(bundles("tiny")), threads=None)
    assert on_ray.run(order, str(tmp_path / "one")).runtime.threads == 1
    two = finish(replace(order, threads=2), tmp_path / "two")[0]
    node = nodes.add(cpus=2)
    assert on_ray.run(order, str(tmp_path / "two")) == two
    nodes.remove(node)
    facts = json.loads((tmp_path / "two" / "job.json").read_text())
    assert facts["runtime"]["threads"] == 2
