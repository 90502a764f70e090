"""Files of log-probabilities that another system gave to sequences, in JSONL or .npz.

JSONL has a line for each sequence: {"ids": [5, 7, 2], "log_prob": [null, -1.25, -0.5]}, in nats,
and perhaps "label". An .npz has ids [n, t], padded with -1 or cut by lengths [n], log_prob [n, t],
and perhaps labels y [n]. Many systems have no prediction at the first position: null, or NaN there,
is left out.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ancestral.arrays import LARGEST, integers, reals, shown
from ancestral.dataspec import DataSpec
from ancestral.errors import InvalidInput
from ancestral.files.array_file import ArrayFile
from ancestral.files.input_file import open_regular, unreadable
from ancestral.files.json_lines import json_lines
from ancestral.given_log_probs import GivenLogProbs

_ARRAYS = (b"PK\x03\x04", b"PK\x05\x06", b"\x93NUM")
"""First bytes of .npz and .npy files."""
_ROUNDING = 1e-4
"""Largest log p in nats that counts as 0: a logit minus a logsumexp in float32 may exceed 0."""
_BYTES = 40
"""Bytes of memory that one position takes: ids, log p, and copies while they are compared."""
_SCORES = '{"ids": [...], "log_prob": [...]}'


@dataclass(frozen=True, slots=True)
class _Row:
    """A sequence of a file.

    Attributes:
        place: name of the row for errors.
        ids: values of the sequence, [m].
        log_prob: log p of each in nats, [m]; NaN where there is no prediction.
        label: its class, or None.
    """

    place: str
    ids: NDArray[np.int64]
    log_prob: NDArray[np.float64]
    label: int | None


def read_log_probs(path: Path, data: DataSpec) -> GivenLogProbs:
    """Read sequences and their log p in nats.

    Args:
        path: a JSONL or an .npz; its first bytes decide which it is.
        data: space of the model's events, by which ids and labels are checked; labels are ignored
            if it has no classes.

    Raises:
        InvalidInput: the file cannot be read, or a sequence is ragged, is longer than the model,
            has ids that the model does not have, or has log p that is NaN or positive; the message
            names the line of a JSONL, or the row of an .npz.
    """
    rows, most = [], 0
    for row in _npz_rows(path) if _has_arrays(path) else _json_rows(path):
        _check(row, data)
        rows.append(row)
        most = max(most, len(row.ids))
        if len(rows) * most * _BYTES > LARGEST:
            raise InvalidInput(
                f"{path}: expected at most {LARGEST // _BYTES:,} positions with padding, got more; "
                f"split the file"
            )
    if not rows:
        raise InvalidInput(f"{path}: expected at least one sequence, got an empty file")
    missing = [row.label is None or data.num_classes is None for row in rows]
    if any(missing) and not all(missing):
        raise InvalidInput(
            f"{rows[missing.index(True)].place}: label: missing, other rows have it; give one to "
            f"every row, or use --label"
        )
    ids = np.zeros((len(rows), most), np.int64)
    log_prob = np.full(ids.shape, np.nan)
    for i, row in enumerate(rows):
        ids[i, : len(row.ids)], log_prob[i, : len(row.ids)] = row.ids, row.log_prob
    labels = None if any(missing) else np.array([row.label for row in rows], np.int64)
    return GivenLogProbs(ids, np.array([len(row.ids) for row in rows]), log_prob, labels)


def _has_arrays(path: Path) -> bool:
    try:
        with open_regular(path) as file:
            return file.read(4) in _ARRAYS
    except OSError as error:
        raise InvalidInput(unreadable(path, error)) from error


def _json_rows(path: Path) -> Iterator[_Row]:
    for number, value in json_lines(path):
        place = f"{path}: line {number}"
        if not isinstance(value, dict) or not {"ids", "log_prob"} <= value.keys():
            raise InvalidInput(f"{place}: expected an object {_SCORES}, got {shown(value)}")
        ids, log_prob, label = value["ids"], value["log_prob"], value.get("label")
        _check_list(f"{place}: ids", ids, "integers", (int,))
        _check_list(f"{place}: log_prob", log_prob, "numbers or null", (int, float, type(None)))
        if not (label is None or (isinstance(label, int) and not isinstance(label, bool))):
            raise InvalidInput(f"{place}: label: expected an integer, got {shown(label)}")
        numbers = [np.nan if each is None else each for each in log_prob]
        nats, null = reals(f"{place}: log_prob", numbers), np.array([e is None for e in log_prob])
        _check_nan(place, nats, null)
        yield _Row(place, integers(f"{place}: ids", ids), nats, label)


def _npz_rows(path: Path) -> Iterator[_Row]:
    file = ArrayFile.open(path)
    ids = integers(f"{path}: ids", file.pick("ids"))
    log_prob = reals(f"{path}: log_prob", file.pick("log_prob"))
    if ids.ndim != 2 or log_prob.shape != ids.shape:
        raise InvalidInput(
            f"{path}: expected ids and log_prob of one shape [n, t], got {list(ids.shape)} and "
            f"{list(log_prob.shape)}"
        )
    n, t = ids.shape
    lengths = _vector(file, path, n, "lengths", "length")
    labels = _vector(file, path, n, "y", "labels", "label")
    for i in range(n):
        place = f"{path}: row {i}"
        length = int((ids[i] != -1).sum()) if lengths is None else int(lengths[i])
        if not 0 <= length <= t or (lengths is None and (ids[i, :length] == -1).any()):
            raise InvalidInput(
                f"{place}: expected padding of -1 after the ids only, or a length in 0 .. {t}, got "
                f"{shown(ids[i].tolist()) if lengths is None else length}"
            )
        nats = log_prob[i, :length]
        _check_nan(place, nats, np.zeros(length, bool))
        yield _Row(place, ids[i, :length], nats, None if labels is None else int(labels[i]))


def _vector(file: ArrayFile, path: Path, n: int, *names: str) -> NDArray[np.int64] | None:
    """Return the first of the named arrays that is in the file, [n]; None without any."""
    name = next((name for name in names if name in file.names), None)
    if name is None:
        return None
    values = integers(f"{path}: {name}", file[name])
    if values.shape != (n,):
        raise InvalidInput(
            f"{path}: {name}: expected one for each of {n} rows, got shape {list(values.shape)}"
        )
    return values


def _check_list(place: str, values: Any, what: str, types: tuple[type, ...]) -> None:
    """Check that a value of JSON is a flat list of some types."""
    if not isinstance(values, list):
        raise InvalidInput(f"{place}: expected a list, got {shown(values)}")
    for each in values:
        if isinstance(each, bool) or not isinstance(each, types):
            raise InvalidInput(f"{place}: expected {what}, got {shown(each)}")


def _check_nan(place: str, nats: NDArray[np.float64], null: NDArray[Any]) -> None:
    """Refuse NaN beyond the first position, where it is a fault and not a missing prediction."""
    wrong = np.flatnonzero(np.isnan(nats) & ~null.astype(bool))
    wrong = wrong[wrong > 0]
    if len(wrong):
        raise InvalidInput(
            f"{place}: log_prob: expected numbers of nats, got NaN at position {wrong[0]}; only "
            f"the first may be NaN, and null in JSONL marks a position without a prediction"
        )


def _check(row: _Row, data: DataSpec) -> None:
    """Check one sequence against the model's space of events."""
    ids, nats, place = row.ids, row.log_prob, row.place
    if ids.shape != nats.shape:
        raise InvalidInput(
            f"{place}: expected as many log_prob as ids, got {nats.size} and {ids.size}"
        )
    if not 1 <= len(ids) <= data.length:
        raise InvalidInput(
            f"{place}: expected 1 .. {data.length} ids, the model's length, got {len(ids)}; cut "
            f"the sequence and score its parts again"
        )
    wrong = np.flatnonzero((ids < 0) | (ids >= data.levels))
    if len(wrong):
        raise InvalidInput(
            f"{place}: ids: expected values in 0 .. {data.levels - 1}, got {ids[wrong[0]]} at "
            f"position {wrong[0]}"
        )
    classes = data.num_classes
    if row.label is not None and classes is not None and not 0 <= row.label < classes:
        raise InvalidInput(
            f"{place}: label: expected values in 0 .. {classes - 1}, got {shown(row.label)}"
        )
    wrong = np.flatnonzero(nats > _ROUNDING)
    if len(wrong):
        raise InvalidInput(
            f"{place}: log_prob: expected nats <= 0, got {nats[wrong[0]]} at position {wrong[0]}; "
            f"pass the log of the probability, not its negative"
        )
