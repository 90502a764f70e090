"""Each source of data reads its files, and refuses others with a reason."""

import gzip
import struct
import sys
from pathlib import Path

import numpy as np
import pytest

from ancestral.errors import InvalidInput
from ancestral.train.data import Dataset, Split, load_digits, load_idx, load_npz, load_text
from ancestral.train.data.dataset import random_split
from ancestral.train.data.idx import read_idx
from tests.limited import run_limited


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load_digits()


def idx(values: np.ndarray) -> bytes:
    header = struct.pack(f">4B{values.ndim}I", 0, 0, 8, values.ndim, *values.shape)
    return header + values.astype(np.uint8).tobytes()


def write_mnist(
    folder: Path, *, packed: bool, shape: tuple[int, int] = (3, 2)
) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    arrays = {
        "train-images-idx3-ubyte": rng.integers(0, 256, (9, *shape)),
        "train-labels-idx1-ubyte": np.arange(9) % 4,
        "t10k-images-idx3-ubyte": rng.integers(0, 256, (4, *shape)),
        "t10k-labels-idx1-ubyte": np.arange(4),
    }
    for name, values in arrays.items():
        data = idx(values)
        path = folder / (f"{name}.gz" if packed else name)
        path.write_bytes(gzip.compress(data) if packed else data)
    return arrays


def test_digits_are_cut_by_the_seed_0_permutation(digits: Dataset) -> None:
    order = np.random.default_rng(0).permutation(1797)
    assert np.array_equal(digits.split.test, order[:360])
    assert np.array_equal(digits.split.validation, order[360:504])
    assert np.array_equal(digits.split.train, order[504:])
    assert (len(digits.train), len(digits.validation), len(digits.test)) == (1293, 144, 360)


def test_digits_are_the_images_of_scikit_learn_rows_first(digits: Dataset) -> None:
    from sklearn.datasets import load_digits as original

    bunch = original()
    first = digits.split.train[0]
    assert np.array_equal(digits.train.x[0].reshape(8, 8), bunch.images[first])
    assert digits.train.label is not None
    assert digits.train.label[0] == bunch.target[first]


def test_fingerprint_sees_one_changed_value_and_one_changed_label(digits: Dataset) -> None:
    prints = {digits.fingerprint()}
    for array in (digits.train.x, digits.train.label):
        assert array is not None
        array.flat[7] ^= 1
        prints.add(digits.fingerprint())
        array.flat[7] ^= 1
    assert len(prints) == 3
    assert digits.fingerprint() in prints


def test_label_prior_is_normalised_and_follows_the_counts(digits: Dataset) -> None:
    prior = digits.label_log_prior()
    assert prior is not None
    assert digits.train.label is not None
    counts = np.bincount(digits.train.label)
    assert np.exp(prior).sum() == pytest.approx(1)
    assert np.allclose(np.exp(prior), (counts + 1) / (counts + 1).sum())


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gz"])
def test_idx_round_trip(tmp_path: Path, packed: bool) -> None:
    arrays = write_mnist(tmp_path, packed=packed)
    data = load_idx(tmp_path, validation=2)
    assert data.spec.event_shape == (3, 2)
    assert (data.spec.levels, data.spec.num_classes) == (256, 4)
    assert np.array_equal(data.test.x, arrays["t10k-images-idx3-ubyte"].reshape(4, 6))
    assert data.test.label is not None
    assert np.array_equal(data.test.label, arrays["t10k-labels-idx1-ubyte"])
    images = arrays["train-images-idx3-ubyte"].reshape(9, 6)
    assert np.array_equal(data.train.x, images[data.split.train])
    assert sorted([*data.split.train, *data.split.validation]) == list(range(9))


def test_idx_of_few_events_holds_a_twelfth_of_them_back(tmp_path: Path) -> None:
    write_mnist(tmp_path, packed=False)
    assert len(load_idx(tmp_path).split.validation) == 1


def test_idx_levels_are_equal_cells_of_256(tmp_path: Path) -> None:
    arrays = write_mnist(tmp_path, packed=False)
    data = load_idx(tmp_path, validation=2, levels=8)
    assert data.spec.levels == 8
    assert np.array_equal(data.test.x, arrays["t10k-images-idx3-ubyte"].reshape(4, 6) // 32)


def _longer(data: bytes) -> bytes:
    return data + b"\0"


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda data: b"\0\0\x0d\x03" + data[4:], "magic number 00000803"),
        (lambda data: data[:-1], "truncated"),
        (_longer, "truncated or has another file's"),
        (lambda data: data[:9], "header of 16 bytes"),
        (lambda data: data[:3], "got 000008"),
        (lambda data: b"", "an empty file"),
    ],
    ids=["floats", "short", "long", "header", "magic", "empty"],
)
def test_idx_refuses_a_spoilt_file(tmp_path: Path, spoil, message: str) -> None:
    write_mnist(tmp_path, packed=False)
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(InvalidInput, match=message):
        load_idx(tmp_path, validation=2)


def test_idx_refuses_a_cut_gz_a_missing_file_and_too_few_labels(tmp_path: Path) -> None:
    write_mnist(tmp_path, packed=True)
    path = tmp_path / "train-images-idx3-ubyte.gz"
    whole = path.read_bytes()
    path.write_bytes(whole[:-9])
    with pytest.raises(InvalidInput, match="cannot be read as an IDX file"):
        load_idx(tmp_path, validation=2)
    path.unlink()
    with pytest.raises(InvalidInput, match=r"no file .*; pass the folder with the four IDX files"):
        load_idx(tmp_path, validation=2)
    path.write_bytes(whole)
    labels = tmp_path / "t10k-labels-idx1-ubyte.gz"
    labels.write_bytes(gzip.compress(idx(np.arange(3))))
    with pytest.raises(InvalidInput, match="4 images and 3 labels"):
        load_idx(tmp_path, validation=2)


def test_idx_is_recognised_by_its_content(tmp_path: Path) -> None:
    """The suffix does not matter, packed or not; a .gz may have several members."""
    values = np.arange(24).reshape(4, 3, 2)
    content = idx(values)
    for name, data in {
        "packed": gzip.compress(content),
        "plain.gz": content,
        "members.gz": gzip.compress(content[:9]) + gzip.compress(content[9:]),
        "zeros.gz": gzip.compress(content) + bytes(100),
    }.items():
        (tmp_path / name).write_bytes(data)
        np.testing.assert_array_equal(read_idx(tmp_path / name, axes=3), values)


PACKED = gzip.compress(idx(np.random.default_rng(0).integers(0, 256, (40, 5, 5))))
IDX = {
    "garbage after": (PACKED + b"garbage", "Not a gzipped file"),
    "more inside": (gzip.compress(idx(np.zeros((2, 3, 4))) + b"\0"), "got more"),
    "another member": (PACKED + gzip.compress(b"1"), "got more"),
    "less inside": (gzip.compress(idx(np.zeros((2, 3, 4)))[:-1]), "got 39"),
    "truncated": (PACKED[:-9], "ended before"),
    "flipped": (PACKED[:500] + bytes([PACKED[500] ^ 8]) + PACKED[501:], "as an IDX file ("),
    "claimed": (gzip.compress(idx(np.zeros((2, 3, 4)))[:4] + b"\xff" * 12), "at most 4 GiB"),
    "claimed plainly": (idx(np.zeros((2, 3, 4)))[:4] + b"\xff" * 12, "at most 4 GiB"),
    "a picture": (b"\x89PNG\r\n\x1a\n" + bytes(60), "a PNG picture"),
    "an archive": (b"PK\x03\x04" + bytes(60), "a zip archive"),
    "labels": (gzip.compress(idx(np.arange(4))), "one with 1 axes"),
}


@pytest.mark.parametrize("name", IDX)
def test_idx_refuses(tmp_path: Path, name: str) -> None:
    content, words = IDX[name]
    path = tmp_path / "images.gz"
    path.write_bytes(content)
    with pytest.raises(InvalidInput) as error:
        read_idx(path, axes=3)
    assert str(error.value).startswith(f"{path}: ")
    assert words in str(error.value)


def test_idx_every_flipped_byte(tmp_path: Path) -> None:
    """A .gz with any one byte flipped gives the same array, or is refused."""
    path, values = tmp_path / "images.gz", np.arange(600).reshape(6, 10, 10) % 7
    content, refused = gzip.compress(idx(values)), 0
    for i in range(len(content)):
        path.write_bytes(content[:i] + bytes([content[i] ^ (1 << i % 8)]) + content[i + 1 :])
        try:
            np.testing.assert_array_equal(read_idx(path, axes=3), values)
        except InvalidInput:
            refused += 1
    assert refused > len(content) / 2


def test_idx_is_bounded(tmp_path: Path) -> None:
    path = tmp_path / "images"
    path.write_bytes(idx(np.zeros((2, 3, 4))))
    assert read_idx(path, axes=3, limit=24).shape == (2, 3, 4)
    with pytest.raises(InvalidInput, match="at most 23 bytes, got a header of shape"):
        read_idx(path, axes=3, limit=23)


READ = """
try:
    read_idx(sys.argv[1], axes=3)
except InvalidInput as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="memory is bounded as on Linux")
def test_idx_does_not_fill_the_memory(tmp_path: Path) -> None:
    """Highly compressed zeros are refused by the header, or if there are more than it claims."""
    imports = "import sys\nfrom ancestral.train.data.idx import read_idx\n"
    imports += "from ancestral.errors import InvalidInput"
    for count, words in ((2**10, "got more"), (2**21, "unpack to 2 GiB; if they are right")):
        path = tmp_path / "bomb.gz"
        with gzip.open(path, "wb", compresslevel=1) as file:
            file.write(struct.pack(">4B3I", 0, 0, 8, 3, count, 32, 32))
            for _ in range(2**5):
                file.write(bytes(2**22))
        assert words in run_limited(imports, READ, path, extra=100 * 2**20)


def test_npz_infers_levels_and_classes_and_keeps_the_shape(tmp_path: Path) -> None:
    x = np.random.default_rng(0).integers(0, 5, (20, 2, 3, 2))
    x[0, 0, 0, 0] = 4
    np.savez(tmp_path / "own.npz", x=x, y=np.arange(20) % 3)
    data = load_npz(tmp_path / "own.npz")
    assert data.spec.event_shape == (2, 3, 2)
    assert (data.spec.name, data.spec.levels, data.spec.num_classes) == ("own", 5, 3)
    assert np.array_equal(data.validation.x, x.reshape(20, 12)[data.split.validation])
    assert load_npz(tmp_path / "own.npz", levels=9, num_classes=4).spec.levels == 9
    again = load_npz(tmp_path / "own.npz", split=data.split)
    assert again.fingerprint() == data.fingerprint()


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"images": np.zeros((4, 2), int)}, "expected an array x"),
        ({"x": np.zeros(4, int)}, r"shape \[n, ...\]"),
        ({"x": np.zeros((4, 2))}, "expected integers in x, got float64"),
        ({"x": np.full((4, 2), -1)}, ">= 0"),
        ({"x": np.zeros((0, 2), int)}, "expected values in x"),
        ({"x": np.zeros((4, 2), int), "y": np.zeros(3, int)}, r"label: expected shape \[4\]"),
        ({"x": np.array([[object()]] * 4)}, "got Python objects"),
        ({"x": np.zeros((2, 2), int)}, "at least 3 events"),
        ({"x": np.full((4, 2), 2**40)}, r"bad\.npz: levels: .*, got 1099511627777"),
        (
            {"x": np.zeros((4, 2), int), "y": np.full(4, 2**40)},
            r"num_classes: .*, got 1099511627777",
        ),
    ],
    ids=[
        "no-x",
        "flat",
        "float",
        "negative",
        "empty",
        "labels",
        "pickle",
        "few",
        "large",
        "classes",
    ],
)
def test_npz_refuses(tmp_path: Path, arrays: dict[str, np.ndarray], message: str) -> None:
    np.savez(tmp_path / "bad.npz", **arrays)
    with pytest.raises(InvalidInput, match=message):
        load_npz(tmp_path / "bad.npz")


def test_npz_refuses_other_files_and_values_beyond_the_levels(tmp_path: Path) -> None:
    path = tmp_path / "bad.npz"
    with pytest.raises(InvalidInput, match="no such file"):
        load_npz(path)
    path.write_bytes(b"PK\x03\x04 not an archive")
    with pytest.raises(InvalidInput, match=r"expected an \.npy or \.npz of numbers, got"):
        load_npz(path)
    np.save(tmp_path / "lone.npy", np.zeros((4, 2), int))
    with pytest.raises(InvalidInput, match=r"lone\.npy: .* array x .*, got an \.npy, one array"):
        load_npz(tmp_path / "lone.npy")
    np.savez(path, x=np.full((4, 2), 3))
    with pytest.raises(InvalidInput, match=r"0 \.\. 1, got 3 \.\. 3"):
        load_npz(path, levels=2)


def test_text_windows_are_the_bytes_in_order(tmp_path: Path) -> None:
    text = "åäö and so on, for a while".encode() * 20
    (tmp_path / "a.txt").write_bytes(text)
    data = load_text(tmp_path / "a.txt", length=11)
    n = len(text) // 11
    assert data.spec.tokenizer == "bytes"
    assert (data.spec.levels, data.spec.num_classes) == (256, None)
    joined = np.concatenate([data.train.x, data.validation.x, data.test.x])
    assert bytes(joined.reshape(-1).astype(np.uint8)) == text[: n * 11]
    assert data.train.label is None
    with pytest.raises(InvalidInput, match="at least 3 windows"):
        load_text(tmp_path / "a.txt", length=len(text) // 2)
    with pytest.raises(InvalidInput, match="no such file"):
        load_text(tmp_path / "none.txt")


def test_split_refuses_overlap_emptiness_and_foreign_indices(digits: Dataset) -> None:
    one, two = np.array([1]), np.array([2])
    with pytest.raises(InvalidInput, match="distinct"):
        Split(one, two, one)
    with pytest.raises(InvalidInput, match="every part"):
        Split(one, two, two[:0])
    with pytest.raises(InvalidInput, match="below 1797"):
        load_digits(Split(one, two, np.array([1797])))
    assert len(random_split(10, test=3, validation=2).train) == 5


def test_npz_may_have_the_split(tmp_path: Path) -> None:
    path, x = tmp_path / "own.npz", np.arange(20).reshape(10, 2)
    parts = {"train": [9, 1, 3], "validation": [2], "test": [0, 4]}
    np.savez(path, x=x, **parts)
    data = load_npz(path)
    assert [part.x[:, 0].tolist() for part in (data.train, data.validation, data.test)] == [
        [18, 2, 6],
        [4],
        [0, 8],
    ]
    other = Split(*(np.array([i]) for i in (5, 6, 7)))
    assert load_npz(path, split=other).train.x.tolist() == [[10, 11]]
    for wrong, message in (
        ({"train": [1], "test": [0]}, "the indices of all parts"),
        (parts | {"test": [1]}, "own.npz: split: expected distinct indices"),
        (parts | {"test": [10]}, "expected indices below 10"),
        (parts | {"test": [[0]]}, r"of shape \[n\]"),
        (parts | {"test": [0.5]}, "expected integers in test"),
    ):
        np.savez(path, x=x, **wrong)
        with pytest.raises(InvalidInput, match=message):
            load_npz(path)
