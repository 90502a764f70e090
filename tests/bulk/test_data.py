"""Data of scores: kinds of files, rows across files, and what is said about an unusable row."""

import gzip
import json
import math
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ancestral.binarisation import binarised
from ancestral.bulk.data import Data, described, open_source
from ancestral.bulk.events import events_of
from ancestral.bulk.make import make_job
from ancestral.bulk.parts import Plan
from ancestral.bulk.rows import Rows
from ancestral.bulk.settings import (
    BoundSettings,
    ClassifySettings,
    EncodeSettings,
    LogProbSettings,
)
from ancestral.bulk.store import Store
from ancestral.bulk.table import values_of
from ancestral.engine import AutoregressiveEngine, LatentEngine
from ancestral.errors import InvalidInput

from .jobs import Bundles, finish, merged, ordered, rows_of, worker_of

N = 50


@pytest.fixture(scope="module")
def x() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 3, (N, 3, 3)).astype(np.uint8)


@pytest.fixture(scope="module")
def y() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 2, N)


def lists(x: np.ndarray) -> pa.Array:
    return pa.array(x.reshape(len(x), -1).tolist())


def fixed(x: np.ndarray) -> pa.Array:
    flat = pa.array(x.reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat, x[0].size)


def tensors(x: np.ndarray) -> pa.Array:
    return pa.FixedShapeTensorArray.from_numpy_ndarray(np.ascontiguousarray(x))


def nested(x: np.ndarray) -> pa.Array:
    return pa.array(x.tolist(), pa.list_(pa.list_(pa.uint8())))


def idx(x: np.ndarray) -> bytes:
    sizes = b"".join(size.to_bytes(4, "big") for size in x.shape)
    return bytes([0, 0, 8, x.ndim]) + sizes + x.tobytes()


def write(kind: str, path: Path, x: np.ndarray, y: np.ndarray) -> Path:
    match kind:
        case "npz":
            np.savez_compressed(path / "d.npz", x=x, y=y)
        case "npy":
            np.save(path / "d.npy", x)
        case "idx":
            (path / "d.idx").write_bytes(idx(x))
        case "packed idx":
            (path / "d.idx").write_bytes(gzip.compress(idx(x)))
        case _:
            column = {"lists": lists, "fixed": fixed, "tensors": tensors, "nested": nested}[kind]
            table = pa.table({"x": column(x), "other": np.arange(len(x)), "label": y})
            pq.write_table(table, path / "d.parquet", row_group_size=7)
    (found,) = path.glob("d.*")
    return found


KINDS = ("npz", "npy", "idx", "packed idx", "lists", "fixed", "tensors", "nested")


@pytest.mark.parametrize("kind", KINDS)
def test_rows_of_files(kind: str, x: np.ndarray, y: np.ndarray, tmp_path: Path) -> None:
    """Any rows of a file can be read, in any order."""
    source = open_source(str(write(kind, tmp_path, x, y)))
    assert source.count == N
    for first, end in ((0, 1), (40, N), (5, 30), (6, 7), (0, N)):
        rows = source.read(first, end)
        assert np.array_equal(np.asarray(rows.values).reshape(-1, 3, 3), x[first:end])
        if kind in {"npz", "lists", "fixed", "tensors", "nested"}:
            assert rows.labels is not None
            assert np.array_equal(rows.labels, y[first:end])
        else:
            assert rows.labels is None


def test_rows_across_files(x: np.ndarray, y: np.ndarray, tmp_path: Path) -> None:
    """The rows of several files are numbered one after another."""
    paths = []
    for i, (part, kind) in enumerate(
        ((slice(0, 20), "npz"), (slice(20, 21), "fixed"), (slice(21, N), "npy"))
    ):
        (tmp_path / str(i)).mkdir()
        paths.append(str(write(kind, tmp_path / str(i), x[part], y[part])))
    data = Data(paths, [described(path) for path in paths])
    found = data.read(18, 25)
    assert [(file, row, len(rows)) for file, row, rows in found] == [
        (0, 18, 2),
        (1, 0, 1),
        (2, 0, 4),
    ]
    joined = np.concatenate([np.asarray(rows.values).reshape(-1, 3, 3) for _, _, rows in found])
    assert np.array_equal(joined, x[18:25])


def test_lines_of_texts(tmp_path: Path) -> None:
    """Lines are found again from the places that are remembered, over several thousand lines."""
    texts = [f"text {i} " + "é" * (i % 7) for i in range(5000)]
    lines = [json.dumps(text if i % 2 else {"id": i, "text": text}) for i, text in enumerate(texts)]
    for name, end in (("a.jsonl", "\n"), ("b.jsonl", "")):
        (tmp_path / name).write_text("\n".join(lines) + end)
        source = open_source(str(tmp_path / name))
        for first, end_row in ((4990, 5000), (0, 3), (1023, 1026), (3000, 3001)):
            assert source.read(first, end_row).values == texts[first:end_row]
        assert source.count == 5000
    (tmp_path / "c.jsonl").write_text("")
    assert open_source(str(tmp_path / "c.jsonl")).count == 0


def scored(bundle: Path, settings: Any, paths: list[str], out: Path) -> Any:
    job, store, _ = finish(ordered(bundle, None, settings=settings, data=paths), out)
    return rows_of(job, store, out.with_suffix(".parquet"))


def test_log_prob(x: np.ndarray, y: np.ndarray, bundles: Bundles, tmp_path: Path) -> None:
    path = str(write("npz", tmp_path, x, y))
    engine = AutoregressiveEngine.load(bundles("tiny"), threads=1)
    table = scored(bundles("tiny"), LogProbSettings(), [path], tmp_path / "a")
    assert np.allclose(table["log_prob"].to_numpy(), engine.log_prob(x, y), atol=1e-4)
    assert np.array_equal(table["label"].to_numpy(), y)
    table = scored(bundles("tiny"), LogProbSettings(label=1), [path], tmp_path / "b")
    assert np.allclose(table["log_prob"].to_numpy(), engine.log_prob(x, 1), atol=1e-4)


def test_log_prob_of_texts(bundles: Bundles, tmp_path: Path) -> None:
    texts = ["the cat", "a", "the dog saw the cat and the cat saw the dog " * 5]
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, texts)))
    pq.write_table(pa.table({"text": texts}), tmp_path / "t.parquet")
    engine = AutoregressiveEngine.load(bundles("text"), threads=1)
    encode = engine.tokenizer().encode
    expected = [engine.text_likelihood(encode(text)).total for text in texts]
    for name in ("t.jsonl", "t.parquet"):
        table = scored(
            bundles("text"), LogProbSettings(), [str(tmp_path / name)], tmp_path / name[2]
        )
        assert np.allclose(table["log_prob"].to_numpy(), expected, atol=1e-3)
        assert table["bytes"].to_pylist() == [len(text.encode()) for text in texts]


def test_classes(x: np.ndarray, y: np.ndarray, bundles: Bundles, tmp_path: Path) -> None:
    path = str(write("fixed", tmp_path, x, y))
    found = AutoregressiveEngine.load(bundles("tiny"), threads=1).classify(x)
    table = scored(bundles("tiny"), ClassifySettings(), [path], tmp_path / "a")
    assert np.array_equal(table["label"].to_numpy(), found.label)
    assert np.allclose(values_of(table, "log_joint"), found.log_joint, atol=1e-4)
    assert np.allclose(values_of(table, "log_posterior"), found.log_posterior, atol=1e-4)


def test_bounds_and_codes(bundles: Bundles, tmp_path: Path) -> None:
    engine = LatentEngine.load(bundles("bernoulli"), threads=1)
    x = engine.sample(N, seed=5).x
    path = str(write("npy", tmp_path, x, np.zeros(N)))
    table = scored(bundles("bernoulli"), BoundSettings(k=5, seed=8), [path], tmp_path / "a")
    expected = engine.bound(x, 5, 8)
    for name in ("elbo", "iwae", "reconstruction", "kl", "ess"):
        assert np.allclose(table[name].to_numpy(), getattr(expected, name), atol=1e-4)
    table = scored(bundles("bernoulli"), EncodeSettings(), [path], tmp_path / "b")
    for name, values in engine.encode(x).items():
        assert np.allclose(values_of(table, name), values, atol=1e-5)
    codes = LatentEngine.load(bundles("codes"), threads=1)
    x = codes.sample(N, np.arange(N) % 2, seed=5).x
    (tmp_path / "codes").mkdir()
    path = str(write("npy", tmp_path / "codes", x, np.zeros(N)))
    table = scored(bundles("codes"), EncodeSettings(), [path], tmp_path / "c")
    assert np.array_equal(values_of(table, "codes"), codes.encode(x)["codes"])


def test_binarised_events(bundles: Bundles, tmp_path: Path) -> None:
    """Event i of the job gets the bits of noise i, as `ancestral bound --binarise` gives them."""
    engine = LatentEngine.load(bundles("bernoulli"), threads=1)
    grey = np.random.default_rng(0).integers(0, 256, (N, *engine.data.event_shape))
    bits = binarised(grey.reshape(N, -1), 256, np.arange(N)).reshape(grey.shape)
    paths = []
    for i, part in enumerate((grey[:13], grey[13:])):
        np.save(tmp_path / f"{i}.npy", part.astype(np.uint8))
        paths.append(str(tmp_path / f"{i}.npy"))
    settings = BoundSettings(k=3, binarise=256)
    table = scored(bundles("bernoulli"), settings, paths, tmp_path / "a")
    assert np.allclose(table["elbo"].to_numpy(), engine.bound(bits, 3, 0).elbo, atol=1e-4)
    table = scored(bundles("bernoulli"), EncodeSettings(binarise=256), paths, tmp_path / "b")
    for name, values in engine.encode(bits).items():
        assert np.allclose(values_of(table, name), values, atol=1e-5)
    with pytest.raises(InvalidInput, match=r"0.npy: row \d+: x: expected values in 0 .. 199, got"):
        scored(bundles("bernoulli"), BoundSettings(binarise=200), paths, tmp_path / "c")
    with pytest.raises(InvalidInput, match="pass --binarise and --levels"):
        scored(bundles("bernoulli"), BoundSettings(), paths, tmp_path / "d")
    np.save(tmp_path / "x.npy", np.zeros((N, 3, 3), np.int64))
    with pytest.raises(InvalidInput, match="--binarise: expected a model with 2 levels, got one"):
        scored(
            bundles("tiny"),
            LogProbSettings(binarise=256),
            [str(tmp_path / "x.npy")],
            tmp_path / "e",
        )


def test_bits_across_two_seeds(bundles: Bundles) -> None:
    """Events beyond 2^32 have the noise of the next seed, from index 0."""
    data = LatentEngine.load(bundles("bernoulli"), threads=1).data
    grey = np.full((4, data.length), 128)
    found = events_of(Rows(grey, None), 2**32 - 2, data, 256)
    before = binarised(grey[:2], 256, np.arange(2**32 - 2, 2**32))
    assert np.array_equal(
        found, np.concatenate([before, binarised(grey[2:], 256, np.arange(2), 1)])
    )


UNUSABLE = {
    "NaN": (lambda x: x.astype(np.float32), np.nan, "expected finite numbers, got nan"),
    "a level too high": (lambda x: x.astype(np.int64), 3, "expected values in 0 .. 2"),
    "a negative level": (lambda x: x.astype(np.int64), -1, "expected values in 0 .. 2"),
}


@pytest.mark.parametrize("fault", UNUSABLE)
def test_unusable_row_is_named(
    fault: str, x: np.ndarray, y: np.ndarray, bundles: Bundles, tmp_path: Path
) -> None:
    """The message names the file and the row in it, and the parts before it are written."""
    convert, value, words = UNUSABLE[fault]
    wrong = convert(x)
    wrong[33, 1, 2] = value
    np.savez(tmp_path / "a.npz", x=x[:10], y=y[:10])
    np.savez(tmp_path / "wrong.npz", x=wrong, y=y)
    paths = [str(tmp_path / name) for name in ("a.npz", "wrong.npz")]
    order = ordered(bundles("tiny"), None, settings=LogProbSettings(), data=paths)
    with pytest.raises(InvalidInput, match=words) as error:
        finish(order, tmp_path / "out")
    assert str(error.value).startswith(f"{tmp_path / 'wrong.npz'}: row 33: ")


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"z": [1, 2]}, r"expected a column x or text, got \['z'\]"),
        ({"x": [[1, 2], None]}, "row 1: expected a value in column x, got null"),
        ({"x": [[1, 2], [1, None]]}, "row 1: expected a number, got null"),
        ({"x": [[1, 2], [1, 2], [1]]}, "row 2: expected lists of equal length"),
        ({"x": [[1], [2]], "y": [1, None]}, "row 1: expected a value in column y, got null"),
        ({"x": [[1], [2]], "y": [0.5, 1.0]}, "expected integers"),
        ({"x": [[1.0, 2.0], [1.0, math.nan]]}, "row 1: x: expected finite numbers, got nan"),
        ({"x": [1.0, -math.inf]}, "row 1: x: expected finite numbers, got -inf"),
        ({"text": ["a", None]}, "row 1: expected a value in column text, got null"),
    ],
)
def test_unusable_tables_are_refused(columns: Any, words: str, tmp_path: Path) -> None:
    path = tmp_path / "d.parquet"
    pq.write_table(pa.table(columns), path)
    count = len(next(iter(columns.values())))
    with pytest.raises(InvalidInput, match=words) as error:
        open_source(str(path)).read(0, count)
    assert str(path) in str(error.value)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{", "row 1: expected JSON"),
        ("3", "row 1: expected a string or an object"),
        ('{"txt": "a"}', "row 1: expected a string or an object"),
        ("", "row 1: expected JSON"),
    ],
)
def test_unusable_lines_are_refused(line: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text(f'"a"\n{line}\n"b"\n')
    with pytest.raises(InvalidInput, match=words):
        open_source(str(tmp_path / "t.jsonl")).read(0, 3)


@pytest.mark.parametrize(
    "name", ["missing.npz", "missing.parquet", "missing.jsonl", "https://x/a.npz", "picture.npz"]
)
def test_unusable_files_are_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "picture.npz").write_bytes(b"\x89PNG\r\n\x1a\n")
    path = name if "://" in name else str(tmp_path / name)
    with pytest.raises(InvalidInput, match=r"no such file|expected"):
        open_source(path)


def test_changed_data_are_another_job(
    x: np.ndarray, y: np.ndarray, bundles: Bundles, tmp_path: Path
) -> None:
    path = write("npz", tmp_path, x, y)
    order = ordered(bundles("tiny"), None, settings=LogProbSettings(), data=[str(path)])
    job, store, _ = finish(order, tmp_path / "out")
    whole = merged(job, store, tmp_path / "a.parquet")
    # A copy with another time is the same data.
    shutil.copy(path, tmp_path / "copy.npz")
    os.utime(tmp_path / "copy.npz", (1, 1))
    copied = ordered(
        bundles("tiny"), None, settings=LogProbSettings(), data=[str(tmp_path / "copy.npz")]
    )
    job, store, new = finish(copied, tmp_path / "out")
    assert set(new) == {False}
    assert merged(job, store, tmp_path / "b.parquet") == whole
    wrong = x.copy()
    wrong[0, 0, 0] = (wrong[0, 0, 0] + 1) % 3
    write("npz", tmp_path, wrong, y)
    with pytest.raises(InvalidInput, match=r"data\[0\].sha256: the folder has"):
        finish(order, tmp_path / "out")


def test_data_that_change_in_mid_job(
    x: np.ndarray, y: np.ndarray, bundles: Bundles, tmp_path: Path
) -> None:
    path = write("fixed", tmp_path, x, y)
    order = ordered(bundles("tiny"), None, settings=LogProbSettings(), data=[str(path)])
    store = Store.open(str(tmp_path / "out"))
    job = make_job(order, store)
    write("fixed", tmp_path, 2 - x, y)
    with pytest.raises(InvalidInput, match="changed since the job was made"):
        worker_of(job, store, order).finish(Plan(job).part(0))
