"""`ancestral bulk`: what its commands write, print and refuse."""

import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from ancestral.bulk.draws import EventDraws
from ancestral.bulk.job import require_job
from ancestral.bulk.make import make_job
from ancestral.bulk.parts import Plan, part_of_name
from ancestral.bulk.settings import SampleSettings
from ancestral.bulk.status import status as status_of
from ancestral.bulk.store import Store
from ancestral.bulk.table import encoded, facts_of, values_of
from ancestral.bundles.bundle import Bundle
from ancestral.engine import AutoregressiveEngine
from ancestral.errors import BundleError
from tests.cli.conftest import Cli, cli, refused

from .jobs import Bundles, ordered, part_files, worker_of

__all__ = ["cli"]
SMALL = ("--batch", 8, "--part-size", 24, "--threads", 1)


@pytest.fixture
def sampled(cli: Cli, bundles: Bundles, tmp_path: Path) -> Path:
    """Return the folder of a job of 60 samples."""
    result = cli("bulk", "sample", bundles("tiny"), "-n", 60, "-o", tmp_path / "out", *SMALL)
    assert result.code == 0, result.err
    assert re.search("^60 rows in .* shard 0/1 of 60 rows, batches of 8, parts of 24", result.err)
    return tmp_path / "out"


def test_continued_and_extended(cli: Cli, sampled: Path, bundles: Bundles) -> None:
    """The same command does nothing more, and leaves every file as it is."""
    before = {path: path.stat().st_mtime_ns for path in sampled.iterdir()}
    result = cli("bulk", "sample", bundles("tiny"), "-n", 60, "-o", sampled)
    assert result.code == 0
    assert "0 rows in" in result.err
    assert "60 were there" in result.err
    assert {path: path.stat().st_mtime_ns for path in sampled.iterdir()} == before
    assert cli("bulk", "sample", bundles("tiny"), "-n", 70, "-o", sampled).code == 0
    assert [pq.read_metadata(path).num_rows for path in part_files(sampled)] == [24, 24, 22]


def test_status_check_and_merge(cli: Cli, sampled: Path, tmp_path: Path) -> None:
    result = cli("bulk", "status", sampled)
    assert result.code == 0
    assert re.search(r"^done +3 of 3 parts, 60 rows$", result.out, flags=re.MULTILINE)
    result = cli("bulk", "check", sampled, "--share", 1)
    assert result.code == 0
    assert re.search(r"^redrawn +60 rows, 60 of them equal", result.out, flags=re.MULTILINE)
    result = cli("bulk", "merge", sampled, "-o", tmp_path / "all.parquet")
    assert (result.code, result.err) == (0, f"60 rows -> {tmp_path / 'all.parquet'}\n")
    table = pq.read_table(tmp_path / "all.parquet")
    assert table["index"].to_pylist() == list(range(60))
    assert pq.read_metadata(tmp_path / "all.parquet").num_row_groups == 3


def test_json(cli: Cli, sampled: Path) -> None:
    part_files(sampled)[1].unlink()
    result = cli("bulk", "status", sampled, "--json")
    found = json.loads(result.out)
    assert (result.code, found["done"], found["missing"], found["complete"]) == (0, 2, 1, False)
    result = cli("bulk", "check", sampled, "--json")
    found = json.loads(result.out)
    assert (result.code, found["sound"], found["passed"]) == (1, 2, False)
    assert found["failures"] == ["1 of 3 parts are missing or damaged"]
    assert found["redrawn"]["wrong"] == 0


def test_mixture_of_machines_is_shown(cli: Cli, sampled: Path) -> None:
    """A part whose metadata name another machine is sound, and `check` and `status` show it."""
    path = part_files(sampled)[1]
    part, table = part_of_name(path.name), pq.read_table(path)
    assert part is not None
    facts = facts_of(table.schema)
    other = dict(facts.machine) | {"processor": "Other CPU", "instructions_sha256": "0" * 12}
    path.write_bytes(encoded(table, part, facts.bundle, other))
    result = cli("bulk", "check", sampled)
    assert result.code == 0
    assert "mixture      2 sets of instructions" in result.out
    assert "machine      1 parts: Other CPU" in result.out
    assert len(json.loads(cli("bulk", "check", sampled, "--json").out)["instructions"]) == 2
    assert "machine      1 parts: Other CPU" in cli("bulk", "status", sampled).out
    # The metadata are covered by the hash.
    altered = json.loads(pq.read_schema(path).metadata[b"ancestral"])
    altered["machine"] = dict(facts.machine)
    pq.write_table(table.replace_schema_metadata({"ancestral": json.dumps(altered)}), path)
    assert cli("bulk", "check", sampled).code == 1


def test_pauses_do_not_count(sampled: Path) -> None:
    """The rate is that of the times when the job ran."""
    for i, path in enumerate(part_files(sampled)):
        at = 10**18 + (0, 2 * 10**9, 10**15)[i]
        os.utime(path, ns=(at, at))
    store = Store.open(str(sampled))
    found = status_of(require_job(store), store)
    assert found.rate is not None
    assert abs(found.rate - 60 / 3 / 2) < 1e-6


def test_damaged_part_is_shown(cli: Cli, sampled: Path) -> None:
    victim = part_files(sampled)[2]
    victim.write_bytes(b"PAR1")
    result = cli("bulk", "status", sampled)
    assert result.code == 1
    assert f"damaged      {victim.name}: not a Parquet file" in result.out
    result = cli("bulk", "check", sampled)
    assert result.code == 1
    assert victim.name in result.err


def test_workers_and_shards(cli: Cli, sampled: Path, bundles: Bundles, tmp_path: Path) -> None:
    """Two shards of two processes each write the same files as one process."""
    for shard in ("1/2", "0/2"):
        words = ("-n", 60, "-o", tmp_path / "shards", *SMALL, "--shard", shard, "--workers", 2)
        result = cli("bulk", "sample", bundles("tiny"), *words)
        assert result.code == 0, result.err
    names = [path.name for path in part_files(sampled)]
    assert [path.name for path in part_files(tmp_path / "shards")] == names
    for name in names:
        assert (tmp_path / "shards" / name).read_bytes() == (sampled / name).read_bytes()


def test_prompts(cli: Cli, bundles: Bundles, tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_text("the cat\nthe dog\n")
    words = ("-n", 6, "--max-new", 3, "-o", tmp_path / "out", *SMALL)
    given = ("--prompts", tmp_path / "prompts.txt", "--temperature", 0.8)
    result = cli("bulk", "sample", bundles("text"), *words, *given)
    assert result.code == 0, result.err
    table = pq.read_table(part_files(tmp_path / "out")[0])
    assert table["prompt"].to_pylist() == [0, 1] * 3
    assert all(len(tokens) <= 3 for tokens in table["tokens"].to_pylist())
    assert table["text"].to_pylist()[0] == _decoded(bundles("text"), table["tokens"][0].as_py())
    (tmp_path / "prompts.txt").write_text("the cat\nthe cow\n")
    result = cli("bulk", "sample", bundles("text"), *words, *given)
    refused(result, "another job", "settings.prompts.sha256")
    # The prompts are in the folder, so that `check` needs no other file.
    assert cli("bulk", "check", tmp_path / "out", "--share", 1).code == 0


def _decoded(bundle: Path, ids: list[int]) -> str:
    return AutoregressiveEngine.load(bundle).tokenizer().decode(ids)


def test_no_rows(cli: Cli, bundles: Bundles, tmp_path: Path) -> None:
    result = cli("bulk", "sample", bundles("tiny"), "-n", 0, "-o", tmp_path / "out")
    assert result.code == 0
    assert part_files(tmp_path / "out") == []
    assert cli("bulk", "status", tmp_path / "out").code == 0
    assert cli("bulk", "check", tmp_path / "out").code == 0
    refused(cli("bulk", "merge", tmp_path / "out", "-o", tmp_path / "a.parquet"), "n = 0")
    # It can be extended as any other job.
    assert cli("bulk", "sample", bundles("tiny"), "-n", 5, "-o", tmp_path / "out").code == 0
    assert len(part_files(tmp_path / "out")) == 1


def test_a_trillion_rows(cli: Cli, bundles: Bundles, tmp_path: Path) -> None:
    """One part of 10^12 rows is done at once, at the end of the job, where seeds have changed."""
    n, parts = 10**12, -(-(10**12) // 24)
    words = ("-n", n, "-o", tmp_path / "out", *SMALL, "--seed", 5)
    result = cli("bulk", "sample", bundles("tiny"), *words, "--shard", f"{parts - 1}/{parts}")
    assert result.code == 0, result.err
    (path,) = part_files(tmp_path / "out")
    table = pq.read_table(path)
    assert table["index"].to_pylist() == list(range((parts - 1) * 24, n))
    first = (parts - 1) * 24
    engine = AutoregressiveEngine.load(bundles("tiny"), threads=1)
    labels = (first + np.arange(len(table))) % 2
    seed, index = 5 + first // 2**32, first % 2**32
    expected = engine.sample(len(table), labels, seed, index)
    assert np.array_equal(values_of(table, "x"), expected.x)
    result = cli("bulk", "status", tmp_path / "out")
    assert result.code == 0
    assert f"1 of {parts:,} parts" in result.out


def test_rows_across_two_seeds(bundles: Bundles) -> None:
    """A batch in which the seed changes has the rows of both."""
    engine = AutoregressiveEngine.load(bundles("tiny"), threads=1)
    draws = EventDraws(engine, SampleSettings(seed=5, labels=(1,)))
    found = draws.columns(2**32 - 3, 8)["x"]
    first, second = (engine.sample(8, 1, 5, 2**32 - 8), engine.sample(8, 1, 6, 0))
    assert np.array_equal(found, np.concatenate([first.x[5:], second.x[:5]]))


REFUSED = {
    "shard": (("-n", 5, "--shard", "5/3"), "--shard: expected i/n"),
    "number of rows": (("-n", -1), "--n: expected an integer in 0"),
    "too many rows": (("-n", 2**63), "--n: expected an integer"),
    "seed": (("-n", 5, "--seed", -1), "--seed: expected an integer"),
    "last seed": (("-n", 2**33, "--seed", 2**64 - 1), "seed: expected at most"),
    "labels": (("-n", 5, "--labels", "1,a"), "--labels: expected labels"),
    "label": (("-n", 5, "--labels", "7"), "labels: expected values in 0 .. 1"),
    "batch": (("-n", 5, "--batch", 0), "--batch: expected an integer"),
    "part size": (("-n", 5, "--part-size", 0), "--part-size: expected an integer"),
    "workers": (("-n", 5, "--workers", 0), "--workers: expected an integer"),
    "threads": (("-n", 5, "--threads", "measure"), "--threads: expected a number"),
    "mean": (("-n", 5, "--mean"), "--mean: not used with an autoregressive model"),
    "max-new": (("-n", 5, "--max-new", 3), "--max-new: only used with a prompt"),
    "temperature": (("-n", 5, "--temperature", -1), "--temperature: expected"),
    "backend": (("-n", 5, "--backend", "abacus"), "backend: expected one of"),
}


REFUSED_SCORES = {
    "levels": (("--levels", 256), "--levels: only used with --binarise"),
    "no levels": (("--binarise",), "`--levels` is required with --binarise"),
    "few levels": (("--binarise", "--levels", 2), "--levels: expected an integer in 3"),
    "binarise": (("--binarise", "--levels", 256), "--binarise: expected a model with 2 levels"),
    "stride": (("--stride", 0), "--stride: expected an integer in 1"),
    "label": (("--label", 7), "--label: expected values in 0 .. 1"),
}


@pytest.mark.parametrize("what", REFUSED_SCORES)
def test_bad_options_of_scores_are_refused(
    what: str, cli: Cli, bundles: Bundles, tmp_path: Path
) -> None:
    words, message = REFUSED_SCORES[what]
    np.save(tmp_path / "x.npy", np.zeros((5, 3, 3), np.int64))
    given = (bundles("tiny"), tmp_path / "x.npy", "-o", tmp_path / "out", *words)
    refused(cli("bulk", "log-prob", *given), message)
    assert not (tmp_path / "out" / "job.json").exists()


@pytest.mark.parametrize("what", REFUSED)
def test_bad_options_are_refused(what: str, cli: Cli, bundles: Bundles, tmp_path: Path) -> None:
    """Bad input ends with exit code 2 and a sentence, and makes no job."""
    words, message = REFUSED[what]
    result = cli("bulk", "sample", bundles("tiny"), "-o", tmp_path / "out", *words)
    refused(result, message)
    assert not (tmp_path / "out" / "job.json").exists()


def test_bad_folders_are_refused(cli: Cli, bundles: Bundles, tmp_path: Path) -> None:
    bundle = bundles("tiny")
    (tmp_path / "file").touch()
    refused(cli("bulk", "sample", bundle, "-n", 5, "-o", tmp_path / "file"), "expected a folder")
    refused(cli("bulk", "sample", bundle, "-n", 5, "-o", bundle / "in"), "inside")
    refused(cli("bulk", "sample", bundle, "-n", 5, "-o", "nothing://a/b"), "nothing://a/b")
    # A folder in which no file can be created, whoever the user is.
    result = cli("bulk", "sample", bundle, "-n", 5, "-o", "/proc/ancestral-bulk")
    refused(result, "/proc/ancestral-bulk")
    for command in ("status", "check"):
        refused(cli("bulk", command, tmp_path), "job.json: no such file")


def test_data_that_have_moved(cli: Cli, bundles: Bundles, tmp_path: Path) -> None:
    """`check` takes the files of a job from where they are now, if they are the same."""
    np.savez(tmp_path / "x.npz", x=np.ones((5, 3, 3), np.int64), y=np.zeros(5, np.int64))
    out = tmp_path / "out"
    assert cli("bulk", "log-prob", bundles("tiny"), tmp_path / "x.npz", "-o", out, *SMALL).code == 0
    moved = (tmp_path / "x.npz").rename(tmp_path / "y.npz")
    refused(cli("bulk", "check", out), "x.npz: no such file")
    assert cli("bulk", "check", out, "--data", moved).code == 0
    refused(cli("bulk", "check", out, "--data", moved, "--data", moved), "--data: expected as many")
    np.savez(moved, x=np.zeros((5, 3, 3), np.int64), y=np.zeros(5, np.int64))
    refused(cli("bulk", "check", out, "--data", moved), "changed since the job was made")


def test_wrong_kind_of_model(cli: Cli, bundles: Bundles, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((5, 3, 3), np.int64))
    data, out = tmp_path / "x.npy", ("-o", tmp_path / "out")
    refused(cli("bulk", "bound", bundles("tiny"), data, *out), "use `ancestral bulk log-prob`")
    refused(cli("bulk", "log-prob", bundles("bernoulli"), data, *out), "use `ancestral bulk bound`")
    refused(cli("bulk", "log-prob", bundles("tiny"), data, *out), f"{data}: row 0", "`--label` is")
    words = ("bulk", "bound", bundles("bernoulli"), data, *out)
    refused(cli(*words, "--labelled"), "--labelled: the data have no labels")
    assert not (tmp_path / "out" / "job.json").exists()


def test_bundle_that_changes(cli: Cli, sampled: Path, bundles: Bundles, tmp_path: Path) -> None:
    """A job whose bundle has another hash now is refused, and nothing is drawn."""
    shutil.copytree(bundles("gru"), tmp_path / "other")
    words = ("-n", 90, "-o", sampled)
    refused(cli("bulk", "sample", tmp_path / "other", *words), "another job", "bundle")
    refused(cli("bulk", "check", sampled, "--bundle", tmp_path / "other"), "expected the bundle")
    assert len(part_files(sampled)) == 3


def test_bundle_that_changes_in_mid_job(bundles: Bundles, tmp_path: Path) -> None:
    """If the weights change while a job runs, it ends, and the parts before that are sound."""
    shutil.copytree(bundles("tiny"), tmp_path / "bundle")
    order = ordered(tmp_path / "bundle")
    store = Store.open(str(tmp_path / "out"))
    worker = worker_of(job := make_job(order, store), store, order)
    plan = Plan(job)
    assert worker.finish(plan.part(0))
    weights = tmp_path / "bundle" / Bundle.open(tmp_path / "bundle").manifest.weights
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(BundleError, match="changed since the bundle was opened"):
        worker.finish(plan.part(1))
    assert [path.name for path in part_files(tmp_path / "out")] == [plan.part(0).name]
