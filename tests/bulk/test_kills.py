"""A command that is killed at any moment leaves whole parts; the same command finishes the job."""

import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from ancestral.bulk.job import require_job
from ancestral.bulk.store import Store
from tests.killing import Ended, Killer, run_separately

from .jobs import Bundles, merged, part_files

N = 72


def command(bundle: Path, out: Path, shard: str = "0/1") -> list[object]:
    words = "--batch 8 --part-size 24 --threads 1 --seed 3 --shard"
    return ["bulk", "sample", bundle, "-n", N, "-o", out, *words.split(), shard]


def table(out: Path) -> bytes:
    store = Store.open(str(out))
    return merged(require_job(store), store, out.with_suffix(".parquet"))


def check_whole(out: Path) -> None:
    """Check that each file of a part that has its name is what a whole job has."""
    whole = {path.name: path.read_bytes() for path in part_files(out.parent / "whole")}
    for path in part_files(out):
        assert path.read_bytes() == whole[path.name]


@pytest.fixture(scope="module")
def points(bundles: Bundles, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """Return a folder with a whole job, and the number of points at which it could be killed."""
    folder = tmp_path_factory.mktemp("kills")
    # The first command also remembers the hashes of the bundle, so that it has more points.
    for name in ("whole", "counted"):
        ended = run_separately(folder, 0, command(bundles("tiny"), folder / name))
        assert ended.status == 0, ended.printed
    assert ended.points > 20
    return folder, ended.points


def killed_at(
    k: int, folder: Path, bundle: Path, run: Callable[..., Ended], shards: tuple[str, ...]
) -> None:
    """Kill a job at its k-th change, then finish it by these shards, and compare the tables."""
    out = folder / f"at-{k}"
    assert run(*command(bundle, out), k=k).status == -9
    check_whole(out)
    for shard in shards:
        ended = run(*command(bundle, out, shard))
        assert ended.status == 0, ended.printed
    assert table(out) == table(folder / "whole")
    assert sorted(os.listdir(out)) == sorted(os.listdir(folder / "whole"))


def test_killed_at_a_point(points: tuple[Path, int], bundles: Bundles) -> None:
    folder, last = points
    chosen = {2 * last // 3: ("0/2", "1/2")}
    with Killer(folder) as killer:
        for k, shards in chosen.items():
            killed_at(k, folder, bundles("tiny"), killer.run, shards)


@pytest.mark.slow
def test_killed_at_any_point(points: tuple[Path, int], bundles: Bundles) -> None:
    """The job is killed again and again, a hundred times in all, each time at another point."""
    folder, last = points
    chosen = random.Random(0)
    with Killer(folder) as killer:
        kills = 0
        while kills < 100:
            out = folder / f"again-{kills}"
            while True:
                k = chosen.randint(1, last)
                ended = killer.run(*command(bundles("tiny"), out), k=k)
                if ended.status == 0:
                    break
                assert ended.status == -9
                kills += 1
                check_whole(out)
            assert table(out) == table(folder / "whole")
            assert sorted(os.listdir(out)) == sorted(os.listdir(folder / "whole"))


@pytest.mark.slow
def test_full_disk(points: tuple[Path, int], bundles: Bundles) -> None:
    """If a part does not fit, the command says so, and leaves no unfinished file."""
    folder, _ = points
    out = folder / "full"
    room = part_files(folder / "whole")[0].stat().st_size - 100
    with Killer(folder) as killer:
        ended = killer.run(*command(bundles("tiny"), out), room=room)
        assert ended.status == 2
        assert "Traceback" not in ended.printed
        assert os.listdir(out) == ["job.json"]
        assert killer.run(*command(bundles("tiny"), out)).status == 0
    assert table(out) == table(folder / "whole")
