"""kill -9 at any moment loses no file; the next run cleans up and gives the same results.

Commands run in processes that kill themselves at the k-th change to the folder (tests/killing.py).
"""

import importlib.util
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from ancestral.bundles.bundle import Bundle
from ancestral.bundles.manifest import MANIFEST
from ancestral.plans.store import PlanStore
from ancestral.train.checkpoint import WEIGHTS, load_checkpoint
from ancestral.train.training import STATE
from tests.killing import Ended, Killer, run_separately
from tests.train.states import read_state

KILLED = -9
TENSORRT = [
    pytest.mark.tensorrt,
    pytest.mark.skipif(
        importlib.util.find_spec("tensorrt_rtx") is None, reason="tensorrt_rtx is not installed"
    ),
]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Create the watched folder: data, and later results and the cache of the commands."""
    folder = tmp_path_factory.mktemp("killed")
    random = np.random.default_rng(0)
    x, y = random.integers(0, 3, (60, 4, 4)), random.integers(0, 2, 60)
    np.savez(folder / "data.npz", x=x, y=y)
    return folder


@pytest.fixture(scope="module")
def killer(root: Path) -> Iterator[Killer]:
    with Killer(root) as running:
        yield running


def training(root: Path, out: Path, model: str = "transformer", seed: int = 0) -> list[object]:
    """Return a command that trains with two evaluations, at steps 10 and 12, so with two states."""
    data = ["--recipe", "tiny", "--data", f"npz:{root / 'data.npz'}", "--model", model]
    return ["train", *data, "--threads", 1, "--steps", 12, "--seed", seed, "-o", out]


def names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def done(ended: Ended) -> None:
    assert ended.status == 0, ended.printed


def killed(killer: Killer, command: list[object], k: int) -> None:
    """Run a command up to its k-th change, at which it is killed."""
    ended = killer.run(*command, k=k)
    assert ended.status == KILLED, ended


def fresh(old: Path, folder: Path) -> None:
    """Reset a folder: it then holds only a copy of `old`."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    shutil.copytree(old, folder / old.name)


def spread(count: int, points: int) -> list[int]:
    """Return `count` numbers spread evenly over 1 .. points."""
    return sorted({round(k) for k in np.linspace(1, points, count)})


class Replaced:
    """A trained run that a run with another seed replaces, with kills in between."""

    def __init__(self, killer: Killer, root: Path) -> None:
        self.killer = killer
        self.old, self.work = root / "old" / "run", root / "work"
        self.new = root / "new" / "run"
        done(killer.run(*training(root, self.old, seed=1), "--no-evaluate"))
        done(killer.run(*training(root, self.new), "--no-evaluate"))
        self.command = [*training(root, self.work / "run"), "--no-evaluate"]
        fresh(self.old, self.work)
        whole = killer.run(*self.command, "--overwrite")
        done(whole)
        self.points, self.names = whole.points, names(self.work)

    def check(self, k: int) -> bool:
        """Kill at a point, then run again; return whether that resumed the killed run."""
        out = self.work / "run"
        fresh(self.old, self.work)
        killed(self.killer, [*self.command, "--overwrite"], k)
        load_checkpoint(out)
        there = (out / WEIGHTS).read_bytes()
        assert there in [(run / WEIGHTS).read_bytes() for run in (self.old, self.new)], k
        resumed = read_state(out / STATE)["identity"]["seed"] == 0
        done(self.killer.run(*self.command, "--resume" if resumed else "--overwrite"))
        assert names(self.work) == self.names, k
        assert (out / WEIGHTS).read_bytes() == (self.new / WEIGHTS).read_bytes(), k
        states = [read_state(run / STATE) for run in (out, self.new)]
        for part in ("model", "average", "best"):
            for name, tensor in states[0][part].items():
                assert tensor.equal(states[1][part][name]), (k, part, name)
        return resumed


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 24])
def test_train_that_replaces_a_run(killer: Killer, root: Path, count: int) -> None:
    run = Replaced(killer, root)
    points = spread(count, run.points) if count > 1 else [run.points - 10]
    resumed = [run.check(k) for k in points]
    assert resumed[-1], "the run killed at the last point has no state"


@pytest.mark.slow
def test_train_of_two_stages(killer: Killer, root: Path) -> None:
    """Resumed after a kill at any point, a new run ends as an unbroken run does."""
    work = root / "stages"
    command = [*training(root, work / "run", "vq"), "--no-evaluate"]
    whole = killer.run(*command)
    done(whole)
    expected, there = names(work), {}
    files = [f"{prior}{WEIGHTS}" for prior in ("", "prior/")]
    for name in files:
        there[name] = (work / "run" / name).read_bytes()
    for k in spread(20, whole.points):
        shutil.rmtree(work)
        killed(killer, command, k)
        done(killer.run(*command, "--resume"))
        assert names(work) == expected, k
        for name in files:
            assert (work / "run" / name).read_bytes() == there[name], (k, name)


def files_of(bundle: Path) -> object:
    """Return the hashes of a bundle's files, after a check of each."""
    Bundle.open(bundle, rehash=True)
    return json.loads((bundle / MANIFEST).read_bytes())["files"]


def check_export(
    killer: Killer,
    folder: Path,
    command: list[object],
    old: Path,
    points: Callable[[int], list[int]],
) -> None:
    """Replace a bundle, with kills in between: either the old or the new one is there, whole."""
    work, cache = folder / "work", killer.folder / "cache"
    # Remembered hashes would change the number of points.
    shutil.rmtree(cache, ignore_errors=True)
    command = [*command, "-o", work / old.name, "--overwrite", "--no-verify"]
    fresh(old, work)
    whole = killer.run(*command)
    done(whole)
    expected, new, before = names(work), files_of(work / old.name), files_of(old)
    assert new != before
    for k in points(whole.points):
        fresh(old, work)
        shutil.rmtree(cache, ignore_errors=True)
        killed(killer, command, k)
        assert files_of(work / old.name) in (new, before), k
        done(killer.run(*command))
        assert names(work) == expected, k
        assert files_of(work / old.name) == new, k


@pytest.mark.parametrize("count", [1, pytest.param(32, marks=pytest.mark.slow)])
def test_export(killer: Killer, root: Path, bundles: Callable[..., Path], count: int) -> None:
    """A kill during a recast to 16 bits, which needs no trace, leaves a whole bundle."""
    folder = root / f"export-{count}"
    old = shutil.copytree(bundles("tiny", "float16"), folder / "old" / "bundle")
    command = ["export", bundles("tiny"), "--dtype", "bfloat16"]

    def points(whole: int) -> list[int]:
        # A single point: just after the old bundle was moved away.
        return spread(count, whole) if count > 1 else [whole - 3]

    check_export(killer, folder, command, Path(old), points)


@pytest.mark.slow
def test_export_of_a_checkpoint(killer: Killer, root: Path, bundles: Callable[..., Path]) -> None:
    folder = root / "checkpoint"
    done(killer.run(*training(root, folder / "run", "table"), "--no-evaluate"))
    old = shutil.copytree(bundles("tiny"), folder / "old" / "bundle")
    check_export(
        killer, folder, ["export", folder / "run"], Path(old), lambda whole: [5, whole - 4]
    )


@pytest.mark.parametrize("every", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_sample(killer: Killer, root: Path, bundles: Callable[..., Path], every: bool) -> None:
    """After a kill, the file has its old or its new content; so has the memory of hashes."""
    bundle, folder = bundles("tiny"), root / f"sample-{every}"
    folder.mkdir()

    def command(seed: int, out: Path) -> list[object]:
        return ["sample", bundle, "-n", 4, "--threads", 1, "--seed", seed, "-o", out]

    done(killer.run(*command(1, folder / "old.npz")))
    done(killer.run(*command(0, folder / "new.npz")))
    old, new = (dict(np.load(folder / name)) for name in ("old.npz", "new.npz"))
    out = folder / "out.npz"
    shutil.copy(folder / "old.npz", out)
    shutil.rmtree(root / "cache", ignore_errors=True)
    whole = killer.run(*command(0, out))
    done(whole)
    expected = names(folder)
    for k in range(1, whole.points + 1) if every else [whole.points - 2]:
        shutil.copy(folder / "old.npz", out)
        shutil.rmtree(root / "cache", ignore_errors=True)
        killed(killer, command(0, out), k)
        there = dict(np.load(out))
        assert any(np.array_equal(there["x"], each["x"]) for each in (old, new)), k
        done(killer.run(*command(0, out)))
        assert names(folder) == expected, k
        assert names(root / "cache" / "ancestral") == {"hashes.json"}
        np.testing.assert_array_equal(np.load(out)["x"], new["x"])


@pytest.mark.parametrize(
    "every",
    [
        pytest.param(False, marks=[*TENSORRT, pytest.mark.slow]),
        pytest.param(True, marks=[*TENSORRT, pytest.mark.slow]),
    ],
)
def test_compile(killer: Killer, root: Path, bundles: Callable[..., Path], every: bool) -> None:
    """A kill leaves no partial plan, and the next run leaves no folder of a build."""
    store = root / "cache" / "ancestral" / "plans"
    options = ["--graph", "log_prob", "--target", "sm_80", "--batch", "1,2,4"]
    command = ["compile", bundles("tiny"), "--module", "tensorrt_rtx", *options]
    shutil.rmtree(store, ignore_errors=True)
    whole = killer.run(*command)
    done(whole)
    expected = names(store)
    for k in range(1, whole.points + 1) if every else [whole.points - 4]:
        shutil.rmtree(store, ignore_errors=True)
        killed(killer, command, k)
        if store.exists():
            records, problems = PlanStore(store).records()
            assert problems == [], k
            assert [PlanStore(store).problem(record) for record in records] == [""] * len(records)
        done(killer.run(*command))
        assert names(store) == expected, k


@pytest.mark.slow
def test_separate_processes(root: Path, bundles: Callable[..., Path]) -> None:
    """Kills have the same effect without the fork, in a new process for each command."""
    folder = root / "separate"
    folder.mkdir()
    command = ["sample", bundles("tiny"), "-n", 4, "--threads", 1, "-o", folder / "out.npz"]
    whole = run_separately(root, 0, command)
    done(whole)
    for k in (whole.points - 3, whole.points - 1):
        assert run_separately(root, k, command).status == KILLED
        done(run_separately(root, 0, command))
        assert names(folder) == {"out.npz"}
    command = [*training(root, folder / "run", "table"), "--no-evaluate"]
    assert run_separately(root, 8, command).status == KILLED
    done(run_separately(root, 0, [*command, "--overwrite"]))
    load_checkpoint(folder / "run")


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize(
    ("what", "room"),
    [
        ("train", 20_000),
        ("sample", 1_500),
        pytest.param("export", 5_000, marks=pytest.mark.slow),
        pytest.param("compile", 10_000, marks=[*TENSORRT, pytest.mark.slow]),
    ],
)
def test_files_that_cannot_grow(
    killer: Killer, root: Path, bundles: Callable[..., Path], what: str, room: int
) -> None:
    """As on a full disk: exit code 2, no traceback, old files stay whole, no new ones are left."""
    folder = root / f"full-{what}"
    folder.mkdir()
    shutil.rmtree(root / "cache", ignore_errors=True)
    match what:
        case "train":
            command = [*training(root, folder / "run"), "--no-evaluate", "--overwrite"]
            done(killer.run(*training(root, folder / "run", seed=1), "--no-evaluate"))
        case "export":
            shutil.copytree(bundles("tiny", "float16"), folder / "bundle")
            command = ["export", bundles("tiny"), "-o", folder / "bundle", "--overwrite"]
            command += ["--dtype", "bfloat16", "--no-verify"]
        case "sample":
            (folder / "out.npz").write_bytes(b"old")
            command = ["sample", bundles("tiny"), "-n", 300, "--threads", 1]
            command += ["-o", folder / "out.npz"]
        case _:
            command = ["compile", bundles("tiny"), "--module", "tensorrt_rtx"]
            command += ["--graph", "log_prob", "--target", "sm_80", "--batch", "1,2,4"]
    before = contents(folder)
    ended = killer.run(*command, room=room)
    assert ended.status == 2, ended
    assert "Traceback" not in ended.printed
    assert "File too large" in ended.printed
    assert contents(folder) == before
    left = {name for name in names(root / "cache" / "ancestral") if "locks/" not in name}
    assert left <= {"plans", "plans/locks", "hashes.json"}
