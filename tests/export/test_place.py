"""A bundle replaces another one safely at every moment, even if names cannot be exchanged."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ancestral.bundles.manifest import MANIFEST
from ancestral.errors import InvalidInput
from ancestral.export import place
from ancestral.export.place import check_target, placed
from ancestral.files.temporary import temporary_name

REPLACE = """
import os, sys
from pathlib import Path
from ancestral.export import place
from tests.killing import Points

out = Path(sys.argv[1])
if sys.argv[2] == "renames":
    place.exchange = lambda first, second: False
k, status = 0, -9
while status:
    k += 1
    if os.fork() == 0:
        Points(str(out.parent), k)
        place.check_target(out, True)
        with place.placed(out, overwrite=True) as work:
            (work / "manifest.json").write_text(sys.argv[3])
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.wait()[1])
    print(k, status, flush=True)
    sys.stdin.readline()
"""


def manifest(content: str) -> str:
    """Return a manifest that lists no files, with a content that tells two manifests apart."""
    return f'{{"files": {{}}, "weights": "w", "known_answers": "k", "content": "{content}"}}'


def fresh(out: Path) -> None:
    shutil.rmtree(out.parent, ignore_errors=True)
    out.mkdir(parents=True)
    (out / MANIFEST).write_text(manifest("old"))


@pytest.mark.parametrize("how", ["exchange", "renames"])
def test_killed_at_each_point(tmp_path: Path, how: str) -> None:
    """After a kill, a bundle has the name immediately, or after the next export's check."""
    out = tmp_path / "bundles" / "digits"
    fresh(out)
    process = subprocess.Popen(
        [sys.executable, "-c", REPLACE, str(out), how, manifest("new")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert process.stdin is not None
    assert process.stdout is not None
    seen, absent = [], 0
    try:
        for line in process.stdout:
            k, status = map(int, line.split())
            assert status in (-9, 0), k
            absent += not out.exists()
            check_target(out, overwrite=True)
            seen.append((out / MANIFEST).read_text())
            with pytest.raises(InvalidInput, match="pass --overwrite"):
                check_target(out, overwrite=False)
            with placed(out.parent / "other", overwrite=False) as work:
                (work / "file").touch()
            assert sorted(os.listdir(out.parent)) == ["digits", "other"], k
            fresh(out)
            process.stdin.write("\n")
            process.stdin.flush()
            if status == 0:
                break
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.communicate()
    assert set(seen) == {manifest("old"), manifest("new")}
    assert seen[-1] == manifest("new")
    assert (absent > 0) == (how == "renames")


def test_two_processes_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an exchange, an export that checks between the two renames puts nothing back."""
    out = tmp_path / "digits"
    fresh(out)
    monkeypatch.setattr(place, "exchange", lambda first, second: False)
    real = Path.rename

    def rename(self: Path, target: Path) -> Path:
        if self.suffix == ".part":
            check_target(out, overwrite=False)
            assert not out.exists()
        return real(self, target)

    monkeypatch.setattr(Path, "rename", rename)
    with placed(out, overwrite=True) as work:
        (work / MANIFEST).write_text(manifest("new"))
    assert (out / MANIFEST).read_text() == manifest("new")
    assert os.listdir(tmp_path) == ["digits"]


def test_a_failed_rename_puts_the_old_one_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "digits"
    fresh(out)
    monkeypatch.setattr(place, "exchange", lambda first, second: False)
    real = Path.rename

    def rename(self: Path, target: Path) -> Path:
        if self.suffix == ".part":
            raise OSError(5, "Input/output error")
        return real(self, target)

    monkeypatch.setattr(Path, "rename", rename)
    with pytest.raises(OSError, match="Input/output"), placed(out, overwrite=True):
        pass
    assert (out / MANIFEST).read_text() == manifest("old")
    assert os.listdir(tmp_path) == ["digits"]


def test_a_replaced_bundle_is_kept_until_there_is_another(tmp_path: Path) -> None:
    """A bundle is kept if its export was killed between two renames and a user took the name."""
    out = tmp_path / "digits"
    old = temporary_name(out, "old")
    for folder, name in ((old, MANIFEST), (out, "notes")):
        folder.mkdir()
        (folder / name).write_text(manifest("old"))
    with pytest.raises(InvalidInput, match="exists and is not a bundle"):
        check_target(out, overwrite=True)
    assert (old / MANIFEST).read_text() == manifest("old")
    (out / "notes").unlink()
    out.rmdir()
    check_target(out, overwrite=True)
    assert (out / MANIFEST).read_text() == manifest("old")


def test_modes_follow_the_umask(tmp_path: Path) -> None:
    (tmp_path / "ordinary").mkdir()
    with placed(tmp_path / "bundle", overwrite=False):
        pass
    modes = {(tmp_path / name).stat().st_mode for name in ("ordinary", "bundle")}
    assert len(modes) == 1


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_made_during_an_export_is_not_replaced(tmp_path: Path, overwrite: bool) -> None:
    out = tmp_path / "digits"

    def export() -> None:
        with placed(out, overwrite=overwrite):
            out.mkdir()
            (out / "notes").write_text("kept")

    with pytest.raises(InvalidInput, match="exists and is not a bundle"):
        export()
    assert (out / "notes").read_text() == "kept"
    assert os.listdir(tmp_path) == ["digits"]
    (out / "notes").rename(out / MANIFEST)
    with pytest.raises(InvalidInput, match="pass --overwrite"), placed(out, overwrite=False):
        pass
    assert (out / MANIFEST).read_text() == "kept"


@pytest.mark.parametrize("text", ["[" * 10**5, '{"files": {}, "files": {}}', "{}", "\xff"])
def test_a_folder_that_is_not_a_bundle_is_not_replaced(tmp_path: Path, text: str) -> None:
    """A folder whose manifest is of another kind, or nested too deep, is refused."""
    (tmp_path / MANIFEST).write_text(text, encoding="latin-1")
    with pytest.raises(InvalidInput, match="is not a bundle's; choose another path"):
        check_target(tmp_path, overwrite=True)
