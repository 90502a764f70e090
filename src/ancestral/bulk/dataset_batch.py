"""A batch of a dataset that is not in files of ours: its rows, and its columns with the scores."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ancestral.arrays import integers, shown
from ancestral.bulk.draws import joined
from ancestral.bulk.parquet_source import LABELS, VALUES
from ancestral.bulk.rows import Rows
from ancestral.bulk.scores import Score, located
from ancestral.bulk.settings import BoundSettings, ClassifySettings, ScoreSettings
from ancestral.bulk.table import INDEX, Column
from ancestral.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class DatasetBatch:
    """Columns of a batch, as numpy has them.

    Attributes:
        columns: arrays [n, ...] by name: x or text; perhaps y (or label, labels) and index.
    """

    columns: Mapping[str, NDArray[Any]]

    def scored(self, score: Score, settings: ScoreSettings) -> dict[str, Column]:
        """Return the columns of the batch and those of the scores.

        Args:
            score: function that computes the scores.
            settings: its settings. The noise of bounds is that of each row's index.

        Raises:
            InvalidInput: a column is missing or has the name of a score, or a row is refused; the
                message names the row by its index, or by its number in the batch.
        """
        rows, index = self._rows(), self._index()
        cuts = [0, len(rows)]
        if isinstance(settings, BoundSettings):
            if index is None:
                raise InvalidInput(
                    "dataset: expected a column index, by which bounds draw their noise"
                )
            # Rows with consecutive indices are scored at the same time.
            cuts[1:1] = (np.flatnonzero(np.diff(index) != 1) + 1).tolist()
        parts = []
        for first, end in pairwise(cuts):
            start = 0 if index is None else int(index[first])
            place = partial(self._place, first)
            parts.append(located(score, rows.part(first, end), start, place))
        found = joined(parts)
        if not isinstance(settings, ClassifySettings):
            # The labels that were used, which are in the batch or in the settings.
            found.pop("label", None)
        for name in found:
            if name in self.columns:
                raise InvalidInput(f"{name}: a score has this name; rename the column of the data")
        return {**self.columns, **found}

    def _rows(self) -> Rows:
        """Return the events or texts of the batch.

        Raises:
            InvalidInput: there are none, events differ in shape, or a text is missing.
        """
        name = next((name for name in VALUES if name in self.columns), None)
        if name is None:
            names = shown(list(self.columns))
            raise InvalidInput(f"dataset: expected a column x or text, got {names}")
        values = self.columns[name]
        label = next((name for name in LABELS if name in self.columns), None)
        labels = None if label is None else integers(label, self.columns[label])
        if name == "text":
            for i, text in enumerate(values.tolist()):
                if not isinstance(text, str):
                    raise InvalidInput(
                        f"{self._place(0, i)}: text: expected a string, got {shown(text)}"
                    )
            return Rows(values.tolist(), labels)
        if values.dtype == object:
            # Lists of Arrow, each an array.
            for i, each in enumerate(values):
                if np.shape(each) != np.shape(values[0]):
                    shapes = f"{np.shape(values[0])}, got {np.shape(each)}"
                    raise InvalidInput(f"{self._place(0, i)}: x: expected the shape {shapes}")
            values = np.stack(list(values))
        return Rows(values if values.ndim > 1 else values[:, None], labels)

    def _place(self, first: int, i: int) -> str:
        """Return the name of a row for messages."""
        at = first + i
        return (
            f"index {self.columns[INDEX][at]}" if INDEX in self.columns else f"row {at} of a batch"
        )

    def _index(self) -> NDArray[np.int64] | None:
        """Return the index of each row, [n]; None without a column of that name.

        Raises:
            InvalidInput: an index is not an integer of at least 0.
        """
        if INDEX not in self.columns:
            return None
        index = integers(INDEX, self.columns[INDEX])
        if len(index) and index.min() < 0:
            raise InvalidInput(f"index: expected integers of at least 0, got {index.min()}")
        return index
