"""Files of arrays: what numpy writes is read to the bit, all else is refused with a reason."""

import io
import socket
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ancestral.errors import InvalidInput
from ancestral.files.array_file import ALONE, ArrayFile
from ancestral.files.input_file import read_bounded
from ancestral.train.data import load_npz, load_text
from tests.hostile_arrays import DAMAGED, ODD, X, bomb, headed, npy, shaped, zipped
from tests.limited import bounded, run_limited

Read = Callable[[Path], object]


def read_all(path: Path) -> dict[str, np.ndarray]:
    return dict(ArrayFile.open(path))


READERS: dict[str, Read] = {"arrays": read_all, "npz": load_npz}


@pytest.mark.parametrize("name", DAMAGED)
@pytest.mark.parametrize("reader", READERS)
def test_refused(tmp_path: Path, reader: str, name: str) -> None:
    """A refusal has the file's name and what it is, and never advises to read it unsafely."""
    content, words = DAMAGED[name]
    path = tmp_path / "given.npz"
    path.write_bytes(content)
    with pytest.raises(InvalidInput) as error:
        READERS[reader](path)
    text = str(error.value)
    assert text.startswith(str(path))
    assert "pickle=" not in text
    assert len(text) < 400
    if reader == "arrays" or not content.startswith(b"\x93NUMPY"):
        assert words in text, text
    else:
        assert "got an .npy, one array without a name" in text


@pytest.mark.parametrize("kind", ODD)
@pytest.mark.parametrize("reader", [*READERS, "text"])
def test_not_a_file(tmp_path: Path, reader: str, kind: str) -> None:
    ODD[kind](tmp_path / "given.npz")
    read = load_text if reader == "text" else READERS[reader]
    expected = rf"given.npz: expected a regular file, got {kind}"
    with bounded(), pytest.raises(InvalidInput, match=expected):
        read(tmp_path / "given.npz")


def test_a_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket.npy")
        with pytest.raises(InvalidInput, match="got a socket"):
            ArrayFile.open("socket.npy")


ARRAYS = {
    "levels": X,
    "bytes": X.astype(np.uint8),
    "big-endian": X.astype(">i4"),
    "Fortran": np.asfortranarray(X),
    "strided": X[::2, :, ::3],
    "half": X.astype(np.float16) / 3,
    "double": np.array([[np.nan, np.inf, -0.0]]),
    "bools": X > 1,
    "complex": X * 1j,
    "a number": np.asarray(7, np.uint64),
    "nothing": np.zeros((0, 3), np.int16),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_as_numpy_reads(tmp_path: Path, name: str) -> None:
    """Arrays are read in every version of the format, single or in an archive, packed or not."""
    array = ARRAYS[name]
    path = tmp_path / "given"
    for version in (None, (1, 0), (2, 0), (3, 0)):
        path.write_bytes(npy(array, version))
        check_same(ArrayFile.open(path)[ALONE], np.load(path))
    for save in (np.savez, np.savez_compressed):
        with path.open("wb") as file:
            save(file, x=array, y=np.arange(3))
        arrays, expected = ArrayFile.open(path), np.load(path)
        assert list(arrays) == list(expected.files) == ["x", "y"]
        for each in arrays:
            check_same(arrays[each], expected[each])


def check_same(got: np.ndarray, expected: np.ndarray) -> None:
    assert got.shape == expected.shape
    assert got.dtype == expected.dtype.newbyteorder("=")
    np.testing.assert_array_equal(got, expected)


def test_of_python_2(tmp_path: Path) -> None:
    path = tmp_path / "old.npy"
    path.write_bytes(shaped("(2L, 3L)", "'<i4'", np.arange(6, dtype="<i4").tobytes()))
    np.testing.assert_array_equal(ArrayFile.open(path)[ALONE], np.arange(6).reshape(2, 3))


def test_bools_of_other_bytes(tmp_path: Path) -> None:
    path = tmp_path / "bools.npy"
    path.write_bytes(shaped("(3,)", "'|b1'", b"\0\2\xff"))
    assert ArrayFile.open(path)[ALONE].view(np.uint8).tolist() == [0, 1, 1]


def test_only_what_is_asked_for_is_read(tmp_path: Path) -> None:
    """A damaged array does not prevent the reading of another one."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("x.npy", npy(X))
        archive.writestr("pickled.npy", npy(np.array([{}], object)))
        archive.writestr("other.npy", headed("no header"))
        archive.writestr("notes.txt", "not an array")
    path = tmp_path / "given.npz"
    path.write_bytes(file.getvalue())
    arrays = ArrayFile.open(path)
    assert list(arrays) == ["x", "pickled", "other"]
    np.testing.assert_array_equal(arrays["x"], X)
    np.testing.assert_array_equal(load_npz(path).spec.event_shape, (2, 4))
    assert "y" not in arrays
    with pytest.raises(InvalidInput, match="array 'pickled'"):
        arrays["pickled"]
    with pytest.raises(KeyError):
        arrays["y"]


def test_the_bound_is_set_by_the_caller(tmp_path: Path) -> None:
    path = tmp_path / "given.npz"
    np.savez(path, x=X)
    for read in (ArrayFile.open, load_npz):
        with pytest.raises(InvalidInput, match=r"array 'x': .* at most 511 bytes, got shape"):
            dict(read(path, limit=511)) if read == ArrayFile.open else read(path, limit=511)
    np.testing.assert_array_equal(ArrayFile.open(path, limit=512)["x"], X)


def test_a_file_that_changes(tmp_path: Path) -> None:
    path = tmp_path / "given.npz"
    np.savez(path, x=X)
    arrays = ArrayFile.open(path)
    np.savez(path, z=X)
    with pytest.raises(InvalidInput, match="missing, the file has changed"):
        arrays["x"]
    path.unlink()
    with pytest.raises(InvalidInput, match="no such file"):
        arrays["x"]


def test_every_flipped_byte(tmp_path: Path) -> None:
    """An archive with any one byte flipped gives the same arrays, or is refused."""
    file, path = io.BytesIO(), tmp_path / "given.npz"
    np.savez_compressed(file, x=X)
    content = file.getvalue()
    refused = 0
    for i in range(len(content)):
        path.write_bytes(content[:i] + bytes([content[i] ^ (1 << i % 8)]) + content[i + 1 :])
        try:
            arrays = read_all(path)
        except InvalidInput:
            refused += 1
        else:
            assert [array.tolist() for array in arrays.values()] == [X.tolist()]
    assert refused > len(content) / 3


MEMORY = """
for path in sys.argv[1:]:
    try:
        arrays = dict(ArrayFile.open(path))
    except InvalidInput as error:
        print(error)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="memory is bounded as on Linux")
def test_memory(tmp_path: Path) -> None:
    """Absurd sizes are refused before they take memory; the limit is 200 MiB above Python's own."""
    paths = []
    contents = {
        "bomb": bomb(3 * 2**27),
        "claimed": shaped(f"({2**28},)"),
        "packed": zipped(shaped(f"({2**28},)", data=bytes(2**20)), zipfile.ZIP_DEFLATED),
        "absurd": shaped(f"({2**40},)"),
        "header": headed("{" * 10**6, version=2),
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        paths.append(tmp_path / name)
    with (tmp_path / "sparse").open("wb") as file:
        file.write(shaped(f"({2**28},)"))
        file.truncate(2**31 + file.tell() - 64)
    imports = "import sys\nfrom ancestral.files.array_file import ArrayFile\n"
    imports += "from ancestral.errors import InvalidInput"
    printed = run_limited(imports, MEMORY, *paths, tmp_path / "sparse").splitlines()
    assert len(printed) == 6
    assert "unpack to 384 MiB; if they are right" in printed[0]
    for line in printed[1:3]:
        assert "the file is truncated" in line
    assert "at most 4 GiB" in printed[3]
    assert "10,000 bytes" in printed[4]
    assert "fits in memory" in printed[5]


def test_bounded(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_bytes(b"12345")
    assert read_bounded(path, 5) == b"12345"
    with pytest.raises(InvalidInput, match="at most 4 bytes, got 5 bytes"):
        read_bounded(path, 4)
    with path.open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(InvalidInput, match="at most 4 GiB, got 1024 GiB"):
        load_text(path)


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_a_file_that_is_larger_than_it_says() -> None:
    with pytest.raises(InvalidInput, match="at most 10 bytes"):
        read_bounded(Path("/proc/self/maps"), 10)
