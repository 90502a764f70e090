"""Log-probabilities of other systems: what is read, what is left out, and what is refused."""

from pathlib import Path

import numpy as np
import pytest

from ancestral.dataspec import DataSpec
from ancestral.errors import InvalidInput
from ancestral.files.log_prob_file import read_log_probs

DATA = DataSpec(name="text", event_shape=(4,), levels=5, num_classes=3)
GOOD = '{"ids": [1, 2], "log_prob": [-1, -0.5]}\n'


def test_lines(tmp_path: Path) -> None:
    """null is a position without a prediction, wherever it is; NaN is one at the first position."""
    file = tmp_path / "scores.jsonl"
    file.write_text(
        '{"ids": [1, 2, 3], "log_prob": [null, -1.5, null], "label": 2, "text": "abc"}\n\n'
        '{"ids": [4], "log_prob": [NaN], "label": 0}\n'
    )
    found = read_log_probs(file, DATA)
    np.testing.assert_array_equal(found.x, [[1, 2, 3], [4, 0, 0]])
    np.testing.assert_array_equal(found.lengths, [3, 1])
    np.testing.assert_array_equal(found.log_prob, [[np.nan, -1.5, np.nan], [np.nan] * 3])
    assert found.labels is not None
    assert found.labels.tolist() == [2, 0]


@pytest.mark.parametrize("padding", ["-1", "lengths"])
def test_arrays(padding: str, tmp_path: Path) -> None:
    ids, log_prob = np.array([[1, 2, 3], [4, 0, 0]]), np.array([[np.nan, -1.5, -2], [-3, 7, 7]])
    more = {"lengths": np.array([3, 1])}
    if padding == "-1":
        ids[1, 1:], more = -1, {}
    np.savez(tmp_path / "scores.npz", ids=ids, log_prob=log_prob.astype(np.float32), **more)
    found = read_log_probs(tmp_path / "scores.npz", DATA)
    np.testing.assert_array_equal(found.x, [[1, 2, 3], [4, 0, 0]])
    np.testing.assert_array_equal(found.log_prob, [[np.nan, -1.5, -2], [-3, np.nan, np.nan]])
    assert found.labels is None


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('{"ids": [1, 2], "log_prob": [-1]}', "expected as many log_prob as ids, got 1 and 2"),
        ('{"ids": [1, 2], "log_prob": [-1, NaN]}', "got NaN at position 1"),
        ('{"ids": [1, 2], "log_prob": [-1, 2]}', "expected nats <= 0, got 2.0 at position 1"),
        ('{"ids": [1, 2], "log_prob": [-1, Infinity]}', "expected nats <= 0, got inf"),
        ('{"ids": [1, 5], "log_prob": [-1, -1]}', r"values in 0 .. 4, got 5 at position 1"),
        ('{"ids": [1, -1], "log_prob": [-1, -1]}', r"values in 0 .. 4, got -1"),
        ('{"ids": [1, 1, 1, 1, 1], "log_prob": [-1, -1, -1, -1, -1]}', r"1 .. 4 ids, .*got 5"),
        ('{"ids": [], "log_prob": []}', r"1 .. 4 ids, .*got 0"),
        ('{"ids": [1.5], "log_prob": [-1]}', "ids: expected integers, got 1.5"),
        ('{"ids": [true], "log_prob": [-1]}', "ids: expected integers, got True"),
        ('{"ids": [null], "log_prob": [-1]}', "ids: expected integers, got None"),
        ('{"ids": [1], "log_prob": ["-1"]}', "expected numbers or null, got '-1'"),
        ('{"ids": [[1]], "log_prob": [[-1]]}', r"ids: expected integers, got \[1\]"),
        ('{"ids": [10000000000000000000000], "log_prob": [-1]}', "ids: expected"),
        ('{"ids": 1, "log_prob": -1}', "ids: expected a list, got 1"),
        ('{"ids": [1], "log_prob": [-1], "label": "a"}', "label: expected an integer"),
        ('{"ids": [1], "log_prob": [-1], "label": 3}', r"label: expected values in 0 .. 2, got 3"),
        (f'{{"ids": [1], "log_prob": [-1], "label": {10**30}}}', "label: expected values in"),
        ('{"ids": [1], "log_prob": [-1], "label": 1}', "label: missing"),
        ('{"ids": [1], "ids": [2], "log_prob": [-1]}', "each key once"),
        ('{"tokens": [1]}', "expected an object"),
        ("[1, 2]", "expected an object"),
        ("not json", "not JSON, got 'not json'"),
    ],
)
def test_bad_lines(line: str, words: str, tmp_path: Path) -> None:
    """Each is one sentence that names the line; the first line is sound."""
    file = tmp_path / "scores.jsonl"
    file.write_text(f"{GOOD}{line}\n")
    number = 1 if "missing" in words else 2
    with pytest.raises(InvalidInput, match=f"scores.jsonl: line {number}: .*{words}"):
        read_log_probs(file, DATA)


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"ids": [[1, 2]], "log_prob": [[-1.0]]}, "of one shape"),
        ({"ids": [1, 2], "log_prob": [-1.0, -1.0]}, "of one shape"),
        ({"ids": [[1.0]], "log_prob": [[-1.0]]}, "ids: expected integers"),
        ({"ids": [[-1, 2]], "log_prob": [[-1.0, -1.0]]}, "row 0: expected padding of -1 after"),
        ({"ids": [[1, 2]], "log_prob": [[-1.0, np.nan]]}, "row 0: log_prob: .*NaN at position 1"),
        ({"ids": [[1]], "log_prob": [[-1.0]], "lengths": [2]}, "row 0: expected padding"),
        ({"ids": [[1]], "log_prob": [[-1.0]], "lengths": [1, 1]}, "lengths: expected one for"),
        ({"ids": [[1]], "log_prob": [[-1.0]], "y": [1, 1]}, "y: expected one for each of 1 rows"),
        ({"ids": [[-1]], "log_prob": [[-1.0]]}, r"row 0: expected 1 .. 4 ids"),
        ({"x": [[1]], "log_prob": [[-1.0]]}, "expected an array ids"),
        ({"ids": np.zeros((0, 3), int), "log_prob": np.zeros((0, 3))}, "at least one sequence"),
    ],
)
def test_bad_arrays(arrays: dict[str, object], words: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "scores.npz", **{name: np.array(each) for name, each in arrays.items()})
    with pytest.raises(InvalidInput, match=words):
        read_log_probs(tmp_path / "scores.npz", DATA)


def test_bad_files(tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_text("\n")
    with pytest.raises(InvalidInput, match="at least one sequence"):
        read_log_probs(tmp_path / "empty.jsonl", DATA)
    with pytest.raises(InvalidInput, match="no such file"):
        read_log_probs(tmp_path / "none.jsonl", DATA)
    with pytest.raises(InvalidInput, match="got a folder"):
        read_log_probs(tmp_path, DATA)


def test_labels_without_classes(tmp_path: Path) -> None:
    """A model without classes ignores the labels of a file, as `log-prob` does."""
    (tmp_path / "scores.jsonl").write_text(f'{GOOD}{{"ids": [1], "log_prob": [-1], "label": 9}}')
    data = DATA.model_copy(update={"num_classes": None})
    assert read_log_probs(tmp_path / "scores.jsonl", data).labels is None


def test_rounding(tmp_path: Path) -> None:
    """A log p that exceeds 0 by the rounding of float32 is accepted."""
    (tmp_path / "scores.jsonl").write_text('{"ids": [1], "log_prob": [2e-7]}')
    assert read_log_probs(tmp_path / "scores.jsonl", DATA).log_prob[0, 0] == 2e-7
