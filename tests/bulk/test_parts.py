"""Parts and shards: names, ranges, Slurm's and Kubernetes' variables; nothing of size n is made."""

import pytest

from ancestral.bulk.job import BundleName, Job, Runtime
from ancestral.bulk.parts import Part, Plan, Shard, part_of_name
from ancestral.bulk.settings import SampleSettings
from ancestral.errors import InvalidInput


def job_of(n: int, part_size: int = 4096) -> Job:
    return Job(
        settings=SampleSettings(),
        bundle=BundleName(sha256="0" * 64, name="toy", path="toy"),
        n=n,
        rows=64,
        part_size=part_size,
        runtime=Runtime(backend="onnxruntime", device="cpu", threads=1),
    )


@pytest.mark.parametrize("n", [0, 1, 63, 64, 65, 1000])
@pytest.mark.parametrize("shards", [1, 3, 20])
def test_shards_cover_each_row_once(n: int, shards: int) -> None:
    plan = Plan(job_of(n, 64))
    parts = [part for i in range(shards) for part in plan.of_shard(Shard(i, shards))]
    rows = sorted(row for part in parts for row in range(part.first, part.end))
    assert rows == list(range(n))
    for i in range(shards):
        shard = Shard(i, shards)
        assert plan.rows_of(shard) == sum(map(len, plan.of_shard(shard)))


def test_a_trillion_rows_are_lazy() -> None:
    plan, shard = Plan(job_of(10**12)), Shard(999, 1000)
    assert plan.count == -(-(10**12) // 4096)
    assert 0.99e9 < plan.rows_of(shard) < 1.01e9
    parts = plan.of_shard(shard)
    assert next(parts) == Part(999 * 4096, 1000 * 4096, plan.job.digest)
    last = plan.part(plan.count - 1)
    assert last.end == 10**12
    assert part_of_name(last.name) == last


@pytest.mark.parametrize(
    "name",
    [
        "job.json",
        "part-0-64-0123456789ab.parquet",
        "part-000000000000-000000000000-0123456789ab.parquet",
        "part-000000000064-000000000000-0123456789ab.parquet",
        "part-0000000000000-000000000064-0123456789ab.parquet",
        "part-000000000000-000000000064-0123456789AB.parquet",
        ".part-000000000000-000000000064-0123456789ab.parquet.0-0.part",
    ],
)
def test_other_names_are_not_parts(name: str) -> None:
    assert part_of_name(name) is None


ENVIRONMENTS = {
    "array": ({"ID": "7", "MIN": "5", "COUNT": "4"}, {}, "env", Shard(2, 4)),
    "array with a step": (
        {"ID": "9", "MIN": "1", "COUNT": "3", "STEP": "4"},
        {},
        "env",
        Shard(2, 3),
    ),
    "tasks": ({}, {"SLURM_PROCID": "3", "SLURM_NTASKS": "8"}, "env", Shard(3, 8)),
    "tasks of an array": (
        {"ID": "1", "MIN": "0", "COUNT": "2"},
        {"SLURM_PROCID": "3", "SLURM_NTASKS": "8"},
        "env",
        Shard(11, 16),
    ),
    "kubernetes": ({}, {"JOB_COMPLETION_INDEX": "3"}, "env/5", Shard(3, 5)),
}


@pytest.mark.parametrize("case", ENVIRONMENTS)
def test_shard_of_the_environment(case: str) -> None:
    array, others, text, expected = ENVIRONMENTS[case]
    given = {f"SLURM_ARRAY_TASK_{name}": value for name, value in array.items()} | others
    assert Shard.parse(text, given) == expected


@pytest.mark.parametrize(
    ("text", "environment", "words"),
    [
        ("5/3", {}, "expected i/n with 0 <= i < n"),
        ("3/3", {}, "expected i/n"),
        ("-1/3", {}, "expected i/n"),
        ("1", {}, "expected i/n"),
        ("1/0", {}, "expected i/n"),
        ("a/b", {}, "expected i/n"),
        ("env", {}, "SLURM_ARRAY_TASK_ID"),
        ("env", {"JOB_COMPLETION_INDEX": "1"}, "env/n"),
        ("env/1", {"JOB_COMPLETION_INDEX": "1"}, "expected i/n"),
        ("env/9", {"SLURM_PROCID": "0", "SLURM_NTASKS": "2"}, "expected 2 shards"),
    ],
)
def test_wrong_shards_are_refused(text: str, environment: dict[str, str], words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        Shard.parse(text, environment)
