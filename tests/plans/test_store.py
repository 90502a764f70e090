"""The store of plans survives kills, builds each key once, and loads only the user's plans."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ancestral.bundles.manifest import seal
from ancestral.errors import PlanError
from ancestral.plans.key import LOWERING, PlanKey, serving_profile
from ancestral.plans.record import LOG, PLAN, RECORD
from ancestral.plans.store import PlanStore

KEY = PlanKey(
    graph="step",
    form="tensorrt",
    graph_sha256="a" * 64,
    weights_sha256="b" * 64,
    module="tensorrt_rtx",
    version="1.2.3",
    targets=("sm_80", "sm_89"),
    profiles=({"b": (1, 4, 8), "s": (1, 1, 1)}, {"b": (1, 4, 8), "s": (2, 5, 5)}),
)
WANTED = PlanKey(
    graph="step",
    form="portable",
    graph_sha256="a" * 64,
    weights_sha256="b" * 64,
    module="tensorrt_rtx",
    version="1.2.3",
    targets=("sm_89",),
)
CHANGED = {
    "graph": "prefill",
    "graph_sha256": "1" * 64,
    "weights_sha256": "2" * 64,
    "module": "tensorrt",
    "version": "1.2.4",
    "targets": ("sm_120",),
    "lowering": LOWERING + 1,
}
BYTES = b"vtrt" + bytes(range(256)) * 8


def made(folder: Path) -> tuple[str, ...]:
    """Build a plan and its log."""
    (folder / PLAN).write_bytes(BYTES)
    (folder / LOG).write_text("INFO built\n")
    return ("k_0", "v_0")


@pytest.fixture
def store(tmp_path: Path) -> PlanStore:
    return PlanStore(tmp_path / "plans")


def test_round_trip(store: PlanStore) -> None:
    assert store.find(KEY) is None
    record, new = store.build(KEY, made)
    assert (new, record.in_place, record.size) == (True, ("k_0", "v_0"), len(BYTES))
    again, new = PlanStore(store.folder).build(KEY, lambda folder: pytest.fail("built twice"))
    assert (new, again) == (False, record)
    assert store.read(record) == BYTES
    assert store.records() == ([record], [])
    assert (store.folder / KEY.digest / LOG).read_text() == "INFO built\n"


def flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def foreign(folder: Path) -> None:
    """Put the plan and the record of another key under this key's name."""
    store = PlanStore(folder.parent)
    store.build(KEY.model_copy(update={"version": "0.1"}), made)
    other = next(
        each for each in folder.parent.iterdir() if each.name not in {folder.name, "locks"}
    )
    for name in (PLAN, RECORD):
        (folder / name).write_bytes((other / name).read_bytes())


def resealed(folder: Path) -> None:
    """Change the key in a record, and seal the record again."""
    values = json.loads((folder / RECORD).read_text())
    values["key"]["version"] = "9.9"
    values["sha256"] = seal(values)
    (folder / RECORD).write_text(json.dumps(values))


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "altered": (lambda folder: flip(folder / PLAN), "altered"),
    "truncated": (lambda folder: (folder / PLAN).write_bytes(BYTES[:-1]), "truncated"),
    "empty": (lambda folder: (folder / PLAN).write_bytes(b""), "truncated"),
    "missing": (lambda folder: (folder / PLAN).unlink(), "cannot be read"),
    "record altered": (
        lambda folder: flip(folder / RECORD),
        "not a valid record of a plan|altered",
    ),
    "record missing": (lambda folder: (folder / RECORD).unlink(), "not a valid record of a plan"),
    "record of a list": (lambda folder: (folder / RECORD).write_text("[]"), "from another version"),
    "record huge": (
        lambda folder: (folder / RECORD).write_bytes(b" " * 2**21),
        "at most 1 MiB, got 2 MiB",
    ),
    "foreign": (foreign, "of another plan"),
    "resealed": (resealed, "of another plan"),
    "open to others": (lambda folder: folder.chmod(0o755), "only you can access"),
    "store open to others": (lambda folder: folder.parent.chmod(0o770), "only you can access"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_refused(store: PlanStore, damage: str) -> None:
    """Each damage is refused with its reason; a build repairs it if the store itself is sound."""
    record, _ = store.build(KEY, made)
    folder = store.folder / KEY.digest
    act, message = DAMAGES[damage]
    act(folder)
    with pytest.raises(PlanError, match=message):
        store.find(KEY)
    records, problems = store.records()
    assert problems or store.problem(records[0])
    if damage != "store open to others":
        assert store.build(KEY, made)[1]
        assert store.read(record) == BYTES


def test_linked_folder(store: PlanStore, tmp_path: Path) -> None:
    """A link to a plan elsewhere is not followed."""
    store.build(KEY, made)
    (store.folder / KEY.digest).rename(tmp_path / "elsewhere")
    (store.folder / KEY.digest).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(PlanError, match="a link or a file"):
        store.find(KEY)


@pytest.mark.parametrize("part", CHANGED)
def test_outdated(store: PlanStore, part: str) -> None:
    """A plan with another part of the key is not found, and the part is named."""
    store.build(KEY, made)
    other = KEY.model_copy(update={part: CHANGED[part]})
    assert other.digest != KEY.digest
    assert store.find(other) is None
    assert list(other.changed(KEY)) == [part]
    if part != "graph":
        assert store.missed(other) == other.changed(KEY)[part]
    assert list(WANTED.refusals(other)) == [part]


def test_words(store: PlanStore) -> None:
    store.build(KEY, made)
    other = KEY.model_copy(update={"version": "1.2.4", "profiles": ({"b": (1, 16, 64)},)})
    assert store.missed(other) == (
        "release of the library: 1.2.4 requested, the plan has 1.2.3; sizes: "
        "b=1:16:64 requested, the plan has b=1:4:8 s=1:1:1, b=1:4:8 s=2:5:5"
    )
    assert store.missed(KEY) == ""
    assert store.missed(KEY.model_copy(update={"graph": "logits"})) == ""
    assert WANTED.refusals(KEY) == {}


@pytest.mark.parametrize(
    ("sizes", "profile"),
    [({"b": 8, "s": 1}, 0), ({"b": 3, "s": 5}, 1), ({"b": 9, "s": 1}, None), ({"k": 1}, None)],
)
def test_profile_of_sizes(sizes: dict[str, int], profile: int | None) -> None:
    assert serving_profile(KEY, sizes) == profile


SLOWLY = """
import sys, time
from pathlib import Path
from ancestral.plans.key import PlanKey
from ancestral.plans.record import PLAN
from ancestral.plans.store import PlanStore

folder, begun, seconds, key, plan = sys.argv[1:]

def make(work):
    (work / PLAN).write_bytes(bytes.fromhex(plan)[:100])
    with Path(begun).open("a") as file:
        file.write("begun\\n")
    time.sleep(float(seconds))
    (work / PLAN).write_bytes(bytes.fromhex(plan))
    return ()

PlanStore(Path(folder)).build(PlanKey.model_validate_json(key), make)
"""


def build_slowly(store: PlanStore, begun: Path, seconds: float) -> subprocess.Popen[bytes]:
    """Start a build of some seconds in another process, and wait until it has begun."""
    arguments = [store.folder, begun, seconds, KEY.model_dump_json(), BYTES.hex()]
    process = subprocess.Popen([sys.executable, "-c", SLOWLY, *map(str, arguments)])
    for _ in range(3000):
        if begun.exists():
            return process
        time.sleep(0.01)
    process.kill()
    pytest.fail("the build did not begin")


def test_killed(store: PlanStore, tmp_path: Path) -> None:
    """After kill -9 during a build, the store is sound and the next build does not wait."""
    process = build_slowly(store, tmp_path / "begun", 600)
    assert store.records() == ([], [])
    process.kill()
    process.wait(60)
    assert store.find(KEY) is None
    record, new = store.build(KEY, made)
    assert new
    assert store.read(record) == BYTES
    assert sorted(each.name for each in store.folder.iterdir()) == sorted([KEY.digest, "locks"])


def test_one_build(store: PlanStore, tmp_path: Path) -> None:
    """If two builds run at the same time, the second one waits for the first one's plan."""
    process = build_slowly(store, tmp_path / "begun", 0.5)
    waited: list[bool] = []
    _, new = store.build(
        KEY, lambda folder: pytest.fail("built twice"), lambda: waited.append(True)
    )
    assert process.wait(60) == 0
    assert (new, waited) == (False, [True])
    assert (tmp_path / "begun").read_text() == "begun\n"


def test_failed_build(store: PlanStore) -> None:
    def fails(folder: Path) -> tuple[str, ...]:
        (folder / PLAN).write_bytes(BYTES)
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        store.build(KEY, fails)
    assert store.records() == ([], [])
    assert [each.name for each in store.folder.iterdir()] == ["locks"]


def test_bounded(tmp_path: Path) -> None:
    """The least recently used plan is removed first; the plan just built stays, however large."""
    store = PlanStore(tmp_path / "plans", limit=2 * len(BYTES) + 1)
    keys = [KEY.model_copy(update={"version": str(i)}) for i in range(3)]
    for i, key in enumerate(keys[:2]):
        store.build(key, made)
        os.utime(store.folder / key.digest, (i, i))
    store.read(store.records()[0][1])
    store.build(keys[2], made)
    left = {record.key.version for record in store.records()[0]}
    assert left == {"0", "2"}
    tight = PlanStore(store.folder, limit=1)
    tight.build(keys[1], made)
    assert [record.key.version for record in tight.records()[0]] == ["1"]


def test_removed(store: PlanStore) -> None:
    store.build(KEY, made)
    assert store.remove("0" * 64) == []
    assert store.remove(KEY.digest[:8]) == [KEY.digest]
    assert store.records() == ([], [])


def test_folder_of_another(tmp_path: Path) -> None:
    (tmp_path / "plans").mkdir(mode=0o755)
    (tmp_path / "plans").chmod(0o755)
    with pytest.raises(PlanError, match="chmod 700"):
        PlanStore(tmp_path / "plans")


def test_no_place_for_plans(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A broken cache folder is refused with the path and what to do."""
    cache = tmp_path / "cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    cache.write_text("a file where the folder should be")
    with pytest.raises(
        PlanError, match=r"cache/ancestral/plans: cannot create a folder .* XDG_CACHE"
    ):
        PlanStore()
    cache.unlink()
    (cache / "ancestral").mkdir(parents=True)
    (cache / "ancestral" / "plans").write_text("a file")
    with pytest.raises(PlanError, match="cannot create a folder of plans"):
        PlanStore()
    (cache / "ancestral" / "plans").unlink()
    PlanStore()
    (cache / "ancestral" / "plans" / "locks").rmdir()
    (cache / "ancestral" / "plans" / "locks").write_text("a file")
    with pytest.raises(PlanError, match="locks: cannot create a folder"):
        PlanStore()


def test_plans_of_a_user_without_a_home(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless(*_: object, **__: object) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr("ancestral.bundles.hashes.user_cache_path", homeless)
    with pytest.raises(PlanError, match="plans: no cache folder"):
        PlanStore()
