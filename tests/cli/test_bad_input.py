"""Bad input: exit code 2, a message without a traceback, and no file is lost."""

import errno
import io
import json
import os
import shutil
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from tests.tamper import change_manifest

from .conftest import Cli, refused

OLD = b"what was there before"


def broken(bundle: Path, folder: Path, how: str) -> Path:
    """Return a damaged copy of a bundle, or a path that is not a bundle."""
    copy = folder / "bundle"
    if how == "missing":
        return copy
    if how == "foreign":
        copy.mkdir()
        (copy / "model.onnx").write_bytes(b"something else")
        return copy
    shutil.copytree(bundle, copy)
    manifest = copy / "manifest.json"
    values = json.loads(manifest.read_bytes())
    graph = copy / values["graphs"]["step"]["files"]["portable"]
    match how:
        case "truncated graph":
            graph.write_bytes(graph.read_bytes()[:-1])
        case "truncated manifest":
            manifest.write_bytes(manifest.read_bytes()[:-20])
        case "one bit altered":
            content = bytearray(graph.read_bytes())
            content[len(content) // 2] ^= 1
            graph.write_bytes(content)
        case "from the future":
            change_manifest(copy, lambda values: values.update(version=99))
        case "path trick":
            entry = values["files"][values["weights"]]
            change_manifest(copy, lambda values: values["files"].update({"../../secret": entry}))
    return copy


BROKEN = {
    "missing": "no such directory",
    "foreign": "manifest.json",
    "truncated graph": "bytes",
    "truncated manifest": "JSON",
    "one bit altered": "altered",
    "from the future": "got 99",
    "path trick": "../../secret",
}


@pytest.mark.parametrize("command", ["info", "sample", "verify", "bench"])
@pytest.mark.parametrize("how", BROKEN)
def test_bundle(cli: Cli, tiny_bundle: Path, tmp_path: Path, how: str, command: str) -> None:
    refused(cli(command, broken(tiny_bundle, tmp_path, how)), BROKEN[how])


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (["-n", "0"], "ancestral: -n: expected an integer"),
        (["-n", "-3"], "got -3"),
        (["-n", "many"], "valid integer"),
        (["-n", "4294967295"], "ancestral: -n: expected at most"),
        (["-n", "99999999999999"], "got 99999999999999"),
        (["--temperature", "-0.5"], "ancestral: --temperature: expected"),
        (["--temperature", "nan"], "temperature"),
        (["--top-p", "0"], "ancestral: --top-p: expected"),
        (["--top-k", "0"], "ancestral: --top-k: expected"),
        (["--min-p", "2"], "ancestral: --min-p: expected"),
        (["--label", "2"], "ancestral: --label: expected values in 0 .. 1, got 2"),
        (["--label", "-1"], "got -1"),
        (["--seed", "-1"], "ancestral: --seed: expected"),
        (["--first-index", "-1"], "ancestral: --first-index: expected"),
        (["--batch", "0"], "ancestral: --batch: expected"),
        (["--threads", "0"], "ancestral: --threads: expected"),
        (["--backend", "abacus"], "abacus"),
        (["--device", "tpu"], "tpu"),
        (["--device", "cuda"], "cuda"),
        (["--observed", "nowhere.npy"], "nowhere.npy"),
        (["--unknown-option"], "unknown-option"),
    ],
)
def test_sample_options(
    cli: Cli, tiny_bundle: Path, tmp_path: Path, options: list[str], word: str
) -> None:
    out = tmp_path / "out.npz"
    out.write_bytes(OLD)
    refused(cli("sample", tiny_bundle, "-o", out, *options), word)
    assert out.read_bytes() == OLD


def test_labels_of_a_file_are_not_an_option(cli: Cli, tiny_bundle: Path, tmp_path: Path) -> None:
    """An error about labels names --label only if the labels come from that option."""
    file = tmp_path / "data.npz"
    np.savez(file, x=np.zeros((2, 3, 3), np.int64), y=[0, 7])
    result = cli("log-prob", tiny_bundle, file)
    refused(result, "got 7")
    assert "--label:" not in result.err


@pytest.mark.parametrize(
    ("values", "word"),
    [
        (np.zeros((3, 4), np.int64), "observed: expected"),
        (np.zeros(10, np.int64), "observed: expected"),
        (np.full((3, 3), 3), "-1 .. 2, got 3"),
        (np.zeros((3, 3), np.float32), "expected integers, got float32"),
    ],
    ids=["shape", "longer than the cache", "level", "dtype"],
)
def test_observed(
    cli: Cli, tiny_bundle: Path, tmp_path: Path, values: np.ndarray, word: str
) -> None:
    np.save(tmp_path / "observed.npy", values)
    refused(cli("sample", tiny_bundle, "--observed", tmp_path / "observed.npy"), word)


@pytest.mark.parametrize("name", ["out.jpg", "out", "folder.npz"])
def test_target_is_refused_before_sampling(
    cli: Cli, tiny_bundle: Path, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def begin(*_: object, **__: object) -> None:
        raise AssertionError("sampled first")

    (tmp_path / "folder.npz").mkdir()
    monkeypatch.setattr("ancestral.engine.step_loop.begin", begin)
    refused(cli("sample", tiny_bundle, "-o", tmp_path / name), name)


@pytest.mark.parametrize(
    ("arrays", "word"),
    [
        ({"x": np.zeros((2, 3, 3), np.float64), "y": np.zeros(2, np.int64)}, "got float64"),
        ({"x": np.zeros((2, 3, 4), np.int64), "y": np.zeros(2, np.int64)}, "shape"),
        ({"x": np.full((2, 3, 3), 3), "y": np.zeros(2, np.int64)}, "0 .. 2, got 3"),
        ({"x": np.full((2, 3, 3), -1), "y": np.zeros(2, np.int64)}, "got -1"),
        ({"x": np.zeros((2, 3, 3), np.int64), "y": np.full(2, 2)}, "0 .. 1, got 2"),
        ({"x": np.zeros((2, 3, 3), np.int64), "y": np.zeros(3, np.int64)}, "labels"),
        ({"x": np.zeros((2, 3, 3), np.int64)}, "`--label` is required"),
        ({"a": np.zeros(1), "b": np.zeros(1)}, "expected an array x"),
        ({"x": np.array([{}], object)}, "got Python objects"),
    ],
    ids=["dtype", "shape", "level", "negative", "label", "labels", "no labels", "names", "pickle"],
)
def test_events(
    cli: Cli, tiny_bundle: Path, tmp_path: Path, arrays: dict[str, np.ndarray], word: str
) -> None:
    np.savez(tmp_path / "events.npz", **arrays)
    refused(cli("log-prob", tiny_bundle, tmp_path / "events.npz"), word)


@pytest.mark.parametrize("shape", [(2**40,), (2**20, 2**20), (2**62, 4)])
@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_absurd_events(
    cli: Cli, tiny_bundle: Path, tmp_path: Path, shape: tuple[int, ...], suffix: str
) -> None:
    """A header that promises more data than the file has, or than memory holds, is refused."""
    content = io.BytesIO()
    header = {"descr": "<i8", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(content, header)
    content.write(bytes(64))
    file = tmp_path / f"events{suffix}"
    if suffix == ".npy":
        file.write_bytes(content.getvalue())
    else:
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("x.npy", content.getvalue())
    refused(cli("log-prob", tiny_bundle, file), str(file), "expected an array of at most 4 GiB")


@pytest.mark.parametrize(
    ("x", "word"),
    [
        (np.int64(3), "shape ()"),
        (np.zeros((2, 9), "datetime64[D]"), "got dates"),
        (np.zeros((2, 9), bool), "got bool"),
        (np.zeros((2, 9), [("a", int)]), "expected integers"),
        (np.full((2, 9), "1"), "got text"),
    ],
    ids=["0-d", "dates", "bools", "records", "text"],
)
def test_arrays_of_other_things(
    cli: Cli, tiny_bundle: Path, tmp_path: Path, x: np.ndarray, word: str
) -> None:
    np.save(tmp_path / "x.npy", x)
    refused(cli("log-prob", tiny_bundle, tmp_path / "x.npy", "--label", 0), word)


def test_truncated_events(cli: Cli, tiny_bundle: Path, tmp_path: Path) -> None:
    file = tmp_path / "events.npz"
    np.savez(file, x=np.zeros((200, 3, 3), np.int64))
    file.write_bytes(file.read_bytes()[:-100])
    refused(cli("log-prob", tiny_bundle, file), "expected an .npy or .npz")


@pytest.mark.parametrize("name", ["out.npz", "out.png", "out.txt"])
def test_full_disk(
    cli: Cli, tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    out = tmp_path / name
    out.write_bytes(OLD)
    monkeypatch.setattr("os.fsync", full)
    refused(cli("sample", tiny_bundle, "-n", 2, "-o", out), "the disk is full", "intact")
    assert out.read_bytes() == OLD
    assert [file.name for file in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("command", ["sample", "log-prob", "verify"])
def test_backend_that_is_not_installed(
    cli: Cli, tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    np.save(tmp_path / "x.npy", np.zeros((1, 3, 3), np.int64))
    file = [tmp_path / "x.npy"] if command == "log-prob" else []
    result = cli(command, tiny_bundle, *file, "--backend", "onnxruntime")
    refused(result, "onnxruntime", "pip install 'ancestral[cpu]'")


def test_no_backend_at_all(cli: Cli, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("onnxruntime", "torch"):
        monkeypatch.setitem(sys.modules, name, None)
    refused(cli("verify", tiny_bundle), "no backend is installed", "pip install")
    refused(cli("train", "-o", "runs/x"), "torch", "pip install 'ancestral[train]'")
    refused(cli("export", "runs/x", "-o", "b"), "torch", "pip install 'ancestral[export]'")


@pytest.mark.parametrize("batches", ["0", "1,,2", "a", "1,-2", ""])
def test_batches(cli: Cli, tiny_bundle: Path, batches: str) -> None:
    refused(cli("bench", tiny_bundle, "--batch", batches), "--batch")


def test_wrong_suffix_of_results(cli: Cli, tiny_bundle: Path, tmp_path: Path) -> None:
    refused(cli("bench", tiny_bundle, "-o", tmp_path / "rows.csv"), ".jsonl")
    refused(cli("verify", tiny_bundle, "-o", tmp_path / "report.txt"), ".json")
    refused(cli("log-prob", tiny_bundle, "x.npy", "-o", tmp_path / "nats.txt"), ".npz")


DIGITS = "9" * 5000
"""More digits than `int` converts."""


@pytest.mark.parametrize(
    "line",
    [
        ["sample", "BUNDLE", "-n", DIGITS],
        ["sample", "BUNDLE", "--seed", DIGITS],
        ["sample", "BUNDLE", "--top-p", DIGITS],
        ["sample", "BUNDLE", "--prompt-ids", f"1 {DIGITS}"],
        ["sample", "BUNDLE", "--prompt-ids", "1", "--stop", DIGITS],
        ["sample", "BUNDLE", "--threads", DIGITS],
        ["sample", "BUNDLE", "-o", DIGITS],
        ["bench", "BUNDLE", "--batch", f"1,{DIGITS}"],
        ["compile", "BUNDLE", "--batch", DIGITS],
        ["compile", "BUNDLE", "--prefix", f"1..{DIGITS}"],
        ["latent-grid", "BUNDLE", "-o", "g.png", "--dimensions", f"0,{DIGITS}"],
        ["info", DIGITS],
    ],
    ids=lambda line: "-".join(word[:9] for word in line),
)
def test_thousands_of_digits(cli: Cli, tiny_bundle: Path, line: list[str]) -> None:
    result = cli(*(tiny_bundle if word == "BUNDLE" else word for word in line))
    assert result.code == 2, result
    assert "Traceback" not in result.err


@pytest.mark.parametrize("options", [[], ["--trace"]])
def test_more_threads_than_useful(cli: Cli, tiny_bundle: Path, options: list[str]) -> None:
    most = 4 * (os.cpu_count() or 1)
    result = cli("verify", tiny_bundle, "--threads", most + 1, *options)
    refused(result, f"threads: expected an integer in 1 .. {most}, got {most + 1}")
    refused(cli("train", "-o", "new", "--threads", most + 1), f"1 .. {most}")
    refused(cli("export", "nothing", "-o", "new", "--threads", most + 1), f"1 .. {most}")


@pytest.mark.parametrize(
    ("command", "option", "name"),
    [
        ("sample", "--observed", "events.npz"),
        ("log-prob", "", "events.npz"),
        ("classify", "", "events.npz"),
        ("bound", "", "events.npz"),
        ("encode", "", "events.npz"),
        ("decode", "", "events.npz"),
        ("reconstruct", "", "events.npz"),
        ("interpolate", "", "events.npz"),
    ],
)
def test_inputs_are_not_overwritten(
    cli: Cli, tiny_bundle: Path, tmp_path: Path, command: str, option: str, name: str
) -> None:
    """Neither the events file, by any path to it, nor a file in the bundle is overwritten."""
    file = tmp_path / name
    file.write_bytes(OLD)
    (tmp_path / "folder").mkdir()
    given = [option, file] if option else [file]
    for out in (file, tmp_path / "folder" / ".." / name):
        refused(cli(command, tiny_bundle, *given, "-o", out), "--out", "is an input of the command")
    inside = tiny_bundle / "new.npz"
    refused(cli(command, tiny_bundle, *given, "-o", inside), "--out", "an input of the command")
    assert file.read_bytes() == OLD
    assert not inside.exists()


def test_manifest_is_not_overwritten(cli: Cli, tiny_bundle: Path) -> None:
    manifest = tiny_bundle / "manifest.json"
    before = manifest.read_bytes()
    refused(cli("verify", tiny_bundle, "-o", manifest), "an input of the command")
    refused(cli("export", tiny_bundle, "-o", tiny_bundle, "--overwrite"), "an input of")
    assert manifest.read_bytes() == before


@pytest.mark.parametrize("command", ["train", "export"])
def test_folder_that_cannot_be_created(cli: Cli, tmp_path: Path, command: str) -> None:
    """An output folder that cannot be created is refused before minutes of work."""
    (tmp_path / "file").write_bytes(OLD)
    given = [tmp_path / "run"] if command == "export" else ["--recipe", "tiny"]
    refused(cli(command, *given, "-o", tmp_path / "file" / "new"), "--out", "writable folder")


def test_bundle_of_links(cli: Cli, tiny_bundle: Path, tmp_path: Path) -> None:
    """A bundle of links, as in a hub's cache, is refused in one line that says what to do.

    A link to a whole bundle is accepted.
    """
    snapshot = tmp_path / "snapshot"
    for file in tiny_bundle.rglob("*"):
        link = snapshot / file.relative_to(tiny_bundle)
        if file.is_file():
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(file)
    result = cli("info", snapshot)
    refused(result, "every file is a link", f"cp -rL {snapshot}", "local_dir=")
    assert len(result.err.splitlines()) == 1
    copy = Path(shutil.copytree(snapshot, tmp_path / "copy"))
    assert cli("info", copy).code == 0
    one = copy / "manifest.json"
    (tmp_path / "linked").symlink_to(copy)
    assert cli("info", tmp_path / "linked").code == 0
    weights = json.loads(one.read_bytes())["weights"]
    (copy / weights).unlink()
    (copy / weights).symlink_to(tiny_bundle / weights)
    refused(cli("info", copy), f"{weights}: a link out of the bundle")


def test_whole_numbers_as_floats(cli: Cli, tiny_bundle: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((2, 3, 3)))
    refused(cli("log-prob", tiny_bundle, tmp_path / "x.npy", "--label", 0), ".astype(int)")
    np.save(tmp_path / "x.npy", np.full((3, 3), np.nan))
    result = cli("sample", tiny_bundle, "--observed", tmp_path / "x.npy")
    refused(result, "-1 for values that are not observed")


def test_paths_that_are_not_utf8(cli: Cli, tiny_bundle: Path, tmp_path: Path) -> None:
    """Such a path works for a file, and is refused for a folder, which other libraries open."""
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    try:
        folder.mkdir()
    except OSError:
        pytest.skip("file names of this system are UTF-8")
    samples = folder / "x.npz"
    assert cli("sample", tiny_bundle, "-n", 2, "-o", samples).code == 0
    assert cli("log-prob", tiny_bundle, samples).code == 0
    assert cli("sample", tiny_bundle, "-n", 2, "-o", folder / "x.png").code == 0
    for command in ("info", "sample", "verify"):
        refused(cli(command, folder), "expected a path in UTF-8", "udce9")
    refused(cli("train", "--recipe", "tiny", "-o", folder / "run"), "--out", "UTF-8")
    refused(cli("export", tmp_path / "run", "-o", folder / "new"), "--out", "UTF-8")
