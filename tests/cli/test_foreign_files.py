"""Every command refuses a picture, a damaged download, a pipe or a device as its input."""

from pathlib import Path

import pytest

from tests.hostile_arrays import DAMAGED, ODD
from tests.limited import bounded

from .conftest import Bundles, Cli, refused

ARRAYS = {
    "log-prob": "tiny",
    "log-prob --ids": "tiny",
    "classify": "tiny",
    "sample --observed": "tiny",
    "sample --label 0 --particles 2 --observed": "tiny",
    "bound": "bernoulli",
    "encode -o OUT.npz": "bernoulli",
    "decode -o OUT.npz": "bernoulli",
    "reconstruct -o OUT.png": "bernoulli",
    "interpolate -o OUT.png": "bernoulli",
}
"""Commands that read arrays, with all their options but the file; and the toy of their bundle."""
TEXTS = {"log-prob --text": "text", "sample --prompts": "text"}


def arguments(command: str, bundle: Path, file: Path, folder: Path) -> list[object]:
    name, *options = command.replace("OUT", str(folder / "out")).split()
    # An option without its value comes last; the file is its value.
    return [name, bundle, *options, file]


@pytest.mark.parametrize("command", ARRAYS)
def test_arrays(
    cli: Cli, bundles: Bundles, tiny_bundle: Path, tmp_path: Path, command: str
) -> None:
    toy = ARRAYS[command]
    bundle = tiny_bundle if toy == "tiny" else bundles(toy)
    file = tmp_path / "given.npz"
    for name in ("PNG", "one flipped byte", "objects"):
        file.write_bytes(DAMAGED[name][0])
        result = cli(*arguments(command, bundle, file, tmp_path))
        refused(result, str(file), DAMAGED[name][1])
        assert len(result.err.splitlines()) == 1
    refuses_odd(cli, bundle, tmp_path, command)


@pytest.mark.parametrize("command", TEXTS)
def test_texts(cli: Cli, bundles: Bundles, tmp_path: Path, command: str) -> None:
    refuses_odd(cli, bundles(TEXTS[command]), tmp_path, command)


def refuses_odd(cli: Cli, bundle: Path, folder: Path, command: str) -> None:
    """Check that a file that is not a regular file is refused in one line; nothing is written."""
    for i, (kind, make) in enumerate(ODD.items()):
        file = folder / f"odd-{i}"
        make(file)
        with bounded():
            result = cli(*arguments(command, bundle, file, folder))
        refused(result, f"{file}: expected a regular file, got {kind}")
        assert len(result.err.splitlines()) == 1
    assert not list(folder.glob("out*"))


@pytest.mark.parametrize("source", ["npz", "text", "idx"])
def test_data(cli: Cli, tmp_path: Path, source: str) -> None:
    for i, make in enumerate(ODD.values()):
        file = tmp_path / f"odd-{i}"
        if source == "idx":
            file.mkdir()
            make(file / "train-images-idx3-ubyte")
        else:
            make(file)
        command = ["train", "--recipe", "tiny", "--data", f"{source}:{file}"]
        with bounded():
            result = cli(*command, "-o", tmp_path / "run")
        refused(result, str(file), "no file" if source == "idx" else "expected a")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "command", ["sample -o FILE.npz", "log-prob x.npy -o FILE.npz", "bench -o FILE.jsonl"]
)
def test_targets(cli: Cli, tiny_bundle: Path, tmp_path: Path, command: str) -> None:
    """A pipe or a device at the path to write is refused before the work."""
    for kind in ("a pipe", "a device"):
        name, *options = command.replace("FILE", str(tmp_path / kind)).split(" -o ")
        file = Path(options[-1])
        ODD[kind](file)
        first, *rest = name.split()
        with bounded():
            result = cli(first, tiny_bundle, *rest, "-o", file)
        refused(result, "expected a file name, got a pipe or a device", str(file))
