"""job.json: what a job's digest depends on, and what is said about another job in the folder."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ancestral.bulk.job import JOB, read_job, require_job
from ancestral.bulk.make import make_job
from ancestral.bulk.parts import Shard
from ancestral.bulk.settings import Filters, LogProbSettings, SampleSettings
from ancestral.bulk.store import Store
from ancestral.errors import InvalidInput

from .jobs import Bundles, finish, ordered
from .test_parts import job_of

DIFFERENT: dict[str, tuple[dict[str, Any], str]] = {
    "seed": ({"settings": SampleSettings(seed=4)}, "settings.seed: the folder has 3, this .* 4"),
    "labels": ({"settings": SampleSettings(seed=3, labels=(1,))}, "settings.labels"),
    "filters": (
        {"settings": SampleSettings(seed=3, filters=Filters(top_k=2))},
        r"settings.filters.top_k: the folder has null, this command 2",
    ),
    "batch": ({"batch": 4}, "rows: the folder has 8, this command 4"),
    "part size": ({"part_size": 32}, "part_size: the folder has 24, this command 32"),
    "threads": ({"threads": 2}, "runtime.threads: the folder has 1, this command 2"),
    "backend": ({"backend": "torch"}, 'runtime.backend: .* "onnxruntime", this command "torch"'),
}


@pytest.fixture(scope="module")
def folder(bundles: Bundles, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a job of no rows."""
    out = tmp_path_factory.mktemp("job")
    finish(ordered(bundles("tiny"), 0), out)
    return out


@pytest.mark.parametrize("what", DIFFERENT)
def test_another_job_is_refused(what: str, folder: Path, bundles: Bundles) -> None:
    given, words = DIFFERENT[what]
    before = (folder / JOB).read_bytes()
    with pytest.raises(InvalidInput, match="another job is in this folder") as error:
        make_job(ordered(bundles("tiny"), 0, **given), Store.open(str(folder)))
    lines = str(error.value).splitlines()
    assert len(lines) == 2
    (line,) = lines[1:]
    assert re.search(words, line)
    assert (folder / JOB).read_bytes() == before


def test_another_kind_is_refused_in_a_line(folder: Path, bundles: Bundles, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((2, 3, 3), np.int64))
    data = [str(tmp_path / "x.npy")]
    order = ordered(bundles("tiny"), None, settings=LogProbSettings(label=1), data=data)
    with pytest.raises(InvalidInput, match=r'settings.kind: the folder has "sample"') as error:
        make_job(order, Store.open(str(folder)))
    assert len(str(error.value).splitlines()) == 2


def test_another_bundle_is_refused(folder: Path, bundles: Bundles) -> None:
    with pytest.raises(InvalidInput, match="bundle: the folder has"):
        make_job(ordered(bundles("gru"), 0), Store.open(str(folder)))


def test_what_is_left_open_is_as_in_the_folder(folder: Path, bundles: Bundles) -> None:
    order = ordered(bundles("tiny"), 0, batch=None, part_size=None, threads=None, workers=5)
    job = make_job(order, Store.open(str(folder)))
    assert (job.rows, job.part_size, job.runtime.threads) == (8, 24, 1)


def test_a_moved_bundle_is_the_same_job(folder: Path, bundles: Bundles, tmp_path: Path) -> None:
    shutil.copytree(bundles("tiny"), tmp_path / "elsewhere")
    make_job(ordered(tmp_path / "elsewhere", 0), Store.open(str(folder)))


def test_digest_depends_on_all_but_n_and_paths() -> None:
    job = job_of(100)
    same = job.model_copy(update={"n": 7, "earlier": (3,), "versions": {"numpy": "9"}})
    assert same.digest == job.digest
    moved = job.bundle.model_copy(update={"path": "/elsewhere", "name": "other"})
    assert job.model_copy(update={"bundle": moved}).digest == job.digest
    others = {
        job.model_copy(update=change).digest
        for change in (
            {"rows": 32},
            {"part_size": 8192},
            {"settings": SampleSettings(seed=1)},
            {"runtime": job.runtime.model_copy(update={"threads": 2})},
            {"bundle": job.bundle.model_copy(update={"sha256": "1" * 64})},
        )
    }
    assert len(others | {job.digest}) == 6


def test_digest_is_kept_across_versions() -> None:
    """Parts of old jobs stay parts: a change of the digest needs a new version of the format."""
    assert job_of(100).digest == "2577988ed131"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda values: values | {"version": 2}, "newer ancestral"),
        (lambda values: values | {"rows": 0}, "not a job"),
        (lambda values: values | {"unknown": 1}, "not a job"),
        (lambda values: values | {"settings": {"kind": "dance"}}, "not a job"),
        (lambda values: [], "not a job"),
    ],
)
def test_damaged_job_is_refused(
    change: Any, words: str, folder: Path, bundles: Bundles, tmp_path: Path
) -> None:
    values = json.loads((folder / JOB).read_text())
    (tmp_path / JOB).write_text(json.dumps(change(values)))
    with pytest.raises(InvalidInput, match=words):
        make_job(ordered(bundles("tiny"), 0), Store.open(str(tmp_path)))


def test_job_that_is_not_json_is_refused(tmp_path: Path) -> None:
    (tmp_path / JOB).write_text("{")
    with pytest.raises(InvalidInput, match="not the JSON of a job"):
        read_job(Store.open(str(tmp_path)))


def test_folder_without_a_job(tmp_path: Path) -> None:
    assert read_job(Store.open(str(tmp_path / "missing"))) is None
    with pytest.raises(InvalidInput, match="no such file"):
        require_job(Store.open(str(tmp_path)))


def test_measured_rows_are_kept(bundles: Bundles, tmp_path: Path) -> None:
    """The rows of a batch are chosen once; the size of a part is a multiple of them."""
    order = ordered(bundles("tiny"), 10, batch=None, part_size=100)
    jobs = [make_job(order, Store.open(str(tmp_path))) for _ in range(2)]
    assert jobs[0] == jobs[1]
    assert jobs[0].rows in {16, 32, 64, 128, 256}
    assert jobs[0].part_size % jobs[0].rows == 0
    assert jobs[0].part_size >= 100


def test_a_faster_process_makes_the_job(
    bundles: Bundles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two processes that start at once agree on the job of the one that wrote it first."""
    store = Store.open(str(tmp_path))
    first = make_job(ordered(bundles("tiny"), 10), store)
    order = ordered(bundles("tiny"), 10, batch=None, part_size=None)
    # The second one looks before the first one has written.
    looks = iter([True])

    def early(store: Store) -> Any:
        return None if next(looks, False) else read_job(store)

    monkeypatch.setattr("ancestral.bulk.make.read_job", early)
    assert make_job(order, store) == first


def test_shards_wait_for_the_job_in_an_object_store(bundles: Bundles) -> None:
    """In a store without exclusive writes, another shard than 0 waits, or gives up in the end."""
    place = "memory://bulk-waiting"
    order = ordered(bundles("tiny"), 10, batch=None)
    waited: list[float] = []

    def sleep(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 3:
            make_job(ordered(bundles("tiny"), 10), Store.open(place))

    job = make_job(order, Store.open(place), Shard(1, 2), sleep)
    assert (job.rows, len(waited)) == (8, 3)
    with pytest.raises(InvalidInput, match="start shard 0"):
        make_job(order, Store.open("memory://bulk-empty"), Shard(1, 2), lambda seconds: None)
