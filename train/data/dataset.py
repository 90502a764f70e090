"""Data sets in three parts, with the indices of each part."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Float32, Int64
from numpy.typing import NDArray

from ancestral.binarisation import binarised, chance
from ancestral.dataspec import DataSpec
from ancestral.errors import InvalidInput
from ancestral.ordering import RASTER, Ordering, permutation
from ancestral.train.data.source_record import SourceRecord

PARTS = ("train", "validation", "test")


@dataclass(frozen=True, slots=True)
class Split:
    """The events for training, for model choice (validation) and for reporting (test).

    Attributes:
        train: indices of the training events in the source, [n]; no index is in two parts.
        validation: indices of the validation events, [m].
        test: indices of the test events, [k].

    Raises:
        InvalidInput: a part is empty, or an index is negative or repeated.
    """

    train: Int64[np.ndarray, " n"]
    validation: Int64[np.ndarray, " m"]
    test: Int64[np.ndarray, " k"]

    def __post_init__(self) -> None:
        together = np.concatenate([self.train, self.validation, self.test])
        if not (len(self.train) and len(self.validation) and len(self.test)):
            raise InvalidInput(
                f"split: expected events in every part, got {len(self.train)} for training, "
                f"{len(self.validation)} for validation and {len(self.test)} for test"
            )
        if int(together.min()) < 0 or len(np.unique(together)) != len(together):
            raise InvalidInput(
                "split: expected distinct indices >= 0, got a negative or repeated one"
            )


@dataclass(frozen=True, slots=True)
class Part:
    """The events of one part of a split, in the order of its indices.

    Attributes:
        x: values, [n, t], flattened in the ordering of the DataSpec: row by row for images.
        label: class of each event, [n]; None for data without labels.
        chance: probability that each value is 1, [n, t], if training draws binary data again at
            each use; x is then a single draw. Otherwise None.
    """

    x: Int64[np.ndarray, "n t"]
    label: Int64[np.ndarray, " n"] | None
    chance: Float32[np.ndarray, "n t"] | None = None

    def __len__(self) -> int:
        return len(self.x)

    def taken(self, index: NDArray[np.int64] | slice) -> "Part":
        """Return some of the events, in the order of the index."""
        label = None if self.label is None else self.label[index]
        return Part(self.x[index], label, None if self.chance is None else self.chance[index])


@dataclass(frozen=True, slots=True)
class Dataset:
    """A data set: its events, their space and their split.

    Attributes:
        spec: space of the events.
        split: indices of the events of each part, in the source.
        train: events that weights are fitted to.
        validation: events that models and settings are chosen on.
        test: events that reported numbers are computed on.
        source: record of the files that the events were read from; None for data that a user names
            or a package holds.
    """

    spec: DataSpec
    split: Split
    train: Part
    validation: Part
    test: Part
    source: SourceRecord | None = field(default=None, kw_only=True)

    def changed(self, change: Callable[[Part], Part], **spec: object) -> "Dataset":
        """Return a data set with the same split and changed parts.

        Args:
            change: function applied to each part.
            **spec: new values of fields of the spec.
        """
        parts = map(change, (self.train, self.validation, self.test))
        return Dataset(self.spec.model_copy(update=spec), self.split, *parts, source=self.source)

    def ordered(self, ordering: Ordering) -> "Dataset":
        """Return the same events with their values in another order.

        Args:
            ordering: new order of the positions.

        Raises:
            InvalidInput: the ordering does not suit these events, or the events are not in raster
                order.
        """
        if self.spec.ordering != RASTER:
            raise InvalidInput(
                f"ordering: expected events in raster order, got order {self.spec.ordering}"
            )
        order = permutation(ordering, self.spec.event_shape)

        def reordered(part: Part) -> Part:
            chance = None if part.chance is None else part.chance[:, order]
            return Part(part.x[:, order], part.label, chance)

        return self.changed(reordered, ordering=ordering)

    def without_labels(self) -> "Dataset":
        """Return the same events without labels, for models of p(x)."""
        return self.changed(lambda part: replace(part, label=None), num_classes=None)

    def binarised(self, seed: int = 0) -> "Dataset":
        """Return binary data: each value is 1 with probability level / (levels - 1).

        Training draws again at each use (dynamic binarisation). Validation and test are drawn once:
        the draw of an event depends on the seed and its index in the source
        (ancestral.binarisation).

        Args:
            seed: seed of the draws.

        Raises:
            InvalidInput: the data are binary already.
        """
        parts = []
        for name in PARTS:
            part, index = getattr(self, name), getattr(self.split, name)
            p = chance(part.x, self.spec.levels) if name == "train" else None
            parts.append(Part(binarised(part.x, self.spec.levels, index, seed), part.label, p))
        spec = self.spec.model_copy(
            update={"levels": 2, "name": f"{self.spec.name}, dynamically binarised"}
        )
        return Dataset(spec, self.split, *parts)

    def fingerprint(self) -> str:
        """Return the SHA-256 of the spec and of all values and labels of the three parts."""
        digest = hashlib.sha256(self.spec.model_dump_json().encode())
        for part in (self.train, self.validation, self.test):
            for values in (part.x, part.chance, part.label):
                if values is not None:
                    digest.update(values.tobytes())
        return digest.hexdigest()

    def label_log_prior(self) -> NDArray[np.float64] | None:
        """Return log p(y) of each class, [k], in nats; None for data without labels.

        p(y) is the frequency among the training labels, with one count added to each class.
        """
        if self.train.label is None or self.spec.num_classes is None:
            return None
        counts = np.bincount(self.train.label, minlength=self.spec.num_classes) + 1.0
        return np.asarray(np.log(counts / counts.sum()))


def cut(
    spec: DataSpec, x: NDArray[np.int64], label: NDArray[np.int64] | None, split: Split
) -> Dataset:
    """Split events into a data set.

    Args:
        spec: space of the events.
        x: values of all events, [n, t].
        label: class of each event, [n]; None for data without labels.
        split: indices of the events of each part.

    Raises:
        InvalidInput: values, labels or indices are out of range or have the wrong shape.
    """
    if x.ndim != 2 or x.shape[1] != spec.length:
        raise InvalidInput(f"x: expected shape [n, {spec.length}], got {list(x.shape)}")
    _check_range("x", x, spec.levels)
    if (label is None) != (spec.num_classes is None):
        given, needed = ("no labels", "labels") if label is None else ("labels", "no labels")
        raise InvalidInput(
            f"label: expected {needed} for num_classes {spec.num_classes}, got {given}"
        )
    if label is not None and spec.num_classes is not None:
        if label.shape != (len(x),):
            raise InvalidInput(f"label: expected shape [{len(x)}], got {list(label.shape)}")
        _check_range("label", label, spec.num_classes)
    parts = []
    for name in PARTS:
        index = getattr(split, name)
        if int(index.max()) >= len(x):
            raise InvalidInput(
                f"split.{name}: expected indices below {len(x)}, the number of events, got "
                f"{int(index.max())}; use the data that the split was made for"
            )
        parts.append(Part(x, label).taken(index))
    return Dataset(spec, split, *parts)


def random_split(n: int, *, test: int, validation: int, seed: int = 0) -> Split:
    """Split n events by a random permutation: first test, then validation, then training.

    Args:
        n: number of events.
        test: number of test events, the first of numpy.random.default_rng(seed).permutation(n).
        validation: number of validation events, the next ones.
        seed: seed of the permutation.

    Raises:
        InvalidInput: a part would be empty.
    """
    order = np.random.default_rng(seed).permutation(n).astype(np.int64)
    return Split(order[test + validation :], order[test : test + validation], order[:test])


def fractional_split(n: int, seed: int = 0) -> Split:
    """Split n events by `random_split`: a fifth for test, a tenth for validation.

    Raises:
        InvalidInput: `n` is less than 3.
    """
    if n < 3:
        raise InvalidInput(f"data: expected at least 3 events, one for each part, got {n}")
    return random_split(n, test=max(1, n // 5), validation=max(1, n // 10), seed=seed)


def _check_range(name: str, values: NDArray[np.int64], limit: int) -> None:
    if values.size and not (int(values.min()) >= 0 and int(values.max()) < limit):
        raise InvalidInput(
            f"{name}: expected integers in 0 .. {limit - 1}, "
            f"got {int(values.min())} .. {int(values.max())}"
        )
