"""Events or texts in a Parquet file, read one row group at a time."""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ancestral.arrays import integers, shown
from ancestral.bulk.rows import Rows, Values, check_finite
from ancestral.bulk.store import file_system, without_credentials
from ancestral.errors import InvalidInput

VALUES = ("x", "text")
"""Names of the column of values; the first that a table has is read."""
LABELS = ("y", "label", "labels")
"""Names of the column of labels."""


@dataclass(slots=True)
class ParquetSource:
    """A Parquet file with a column x (numbers, or lists of equal length) or text.

    Attributes:
        path: the file for messages.
        file: the open file.
        values: name of the column of values.
        labels: name of the column of labels, or None.
        starts: first row of each row group, and the number of rows, [groups + 1].
    """

    path: str
    file: pq.ParquetFile
    values: str
    labels: str | None
    starts: NDArray[np.int64]
    _group: tuple[int, Rows] | None = field(default=None, init=False)

    @classmethod
    def open(cls, path: str) -> "ParquetSource":
        """Open a file and find its columns.

        Raises:
            InvalidInput: the file does not exist, is not Parquet, or has neither x nor text.
        """
        place = without_credentials(path)
        filesystem, inner = file_system(path)
        try:
            file = pq.ParquetFile(filesystem.open_input_file(inner))
        except FileNotFoundError as error:
            raise InvalidInput(f"{place}: no such file") from error
        except (pa.ArrowException, OSError) as error:
            raise InvalidInput(
                f"{place}: cannot be read as a Parquet file ({type(error).__name__}); check its "
                f"permissions, or write it again"
            ) from error
        names = file.schema_arrow.names
        values = next((name for name in VALUES if name in names), None)
        if values is None:
            raise InvalidInput(f"{place}: expected a column x or text, got {shown(names)}")
        labels = next((name for name in LABELS if name in names), None)
        groups = range(file.metadata.num_row_groups)
        sizes = [file.metadata.row_group(i).num_rows for i in groups]
        return cls(place, file, values, labels, np.cumsum([0, *sizes], dtype=np.int64))

    @property
    def count(self) -> int:
        """Number of rows."""
        return int(self.starts[-1])

    def read(self, first: int, end: int) -> Rows:
        """Return the rows first .. end - 1.

        Raises:
            InvalidInput: a value is missing, or the lists have different lengths.
        """
        group = int(np.searchsorted(self.starts, first, side="right")) - 1
        found: list[Rows] = []
        while first < end:
            begin, stop = int(self.starts[group]), min(end, int(self.starts[group + 1]))
            found.append(self._rows(group).part(first - begin, stop - begin))
            first, group = stop, group + 1
        return _joined(found)

    def _rows(self, group: int) -> Rows:
        """Read a row group; the last one is kept."""
        if self._group is None or self._group[0] != group:
            self._group = None
            names = [self.values, *([] if self.labels is None else [self.labels])]
            try:
                table = self.file.read_row_group(group, columns=names, use_threads=False)
            except (pa.ArrowException, OSError) as error:
                raise InvalidInput(
                    f"{self.path}: row group {group} cannot be read ({type(error).__name__}); "
                    f"write the file again"
                ) from error
            first = int(self.starts[group])
            labels = None
            if self.labels is not None:
                column = self._column(table, self.labels, first)
                name = f"{self.path}: {self.labels}"
                labels = integers(name, column.to_numpy(zero_copy_only=False))
            self._group = (group, Rows(self._values(table, first), labels))
        return self._group[1]

    def _column(self, table: pa.Table, name: str, first: int) -> pa.Array:
        """Return a column without missing values.

        Raises:
            InvalidInput: a value is missing.
        """
        column = table[name].combine_chunks()
        if column.null_count:
            row = first + int(np.argmax(column.is_null().to_numpy(zero_copy_only=False)))
            raise InvalidInput(
                f"{self.path}: row {row}: expected a value in column {name}, got null"
            )
        return column

    def _values(self, table: pa.Table, first: int) -> Values:
        """Return the values of a row group as an array [n, ...] or as texts.

        Raises:
            InvalidInput: a value is missing or NaN, or the lists have different lengths.
        """
        column = self._column(table, self.values, first)
        if isinstance(column, pa.ExtensionArray):
            tensor: NDArray[Any] = column.to_numpy_ndarray()
            check_finite(tensor, self.path, first)
            return tensor
        if self.values == "text":
            texts: list[str] = column.cast(pa.string()).to_pylist()
            return texts
        shape: list[int] = []
        while pa.types.is_nested(column.type):
            shape.append(self._length(column, first, shape))
            column = column.flatten()
            if column.null_count:
                at = int(np.argmax(column.is_null().to_numpy(zero_copy_only=False)))
                row = first + at // math.prod(shape)
                raise InvalidInput(f"{self.path}: row {row}: expected a number, got null")
        numbers: NDArray[Any] = column.to_numpy(zero_copy_only=False)
        numbers = numbers.reshape(-1, *shape) if shape else numbers[:, None]
        check_finite(numbers, self.path, first)
        return numbers

    def _length(self, column: pa.Array, first: int, shape: list[int]) -> int:
        """Return the length of the lists of a column.

        Args:
            column: lists; those of a row are next to each other.
            first: row of the first list.
            shape: lengths of the lists around these.

        Raises:
            InvalidInput: the lists have different lengths.
        """
        if pa.types.is_fixed_size_list(column.type):
            return int(column.type.list_size)
        lengths = pc.list_value_length(column).to_numpy(zero_copy_only=False)
        wrong = np.flatnonzero(lengths != lengths[0])
        if len(wrong):
            row = first + int(wrong[0]) // math.prod(shape)
            raise InvalidInput(
                f"{self.path}: row {row}: expected lists of equal length in column "
                f"{self.values}, got {lengths[0]} and {lengths[wrong[0]]} values"
            )
        return int(lengths[0])


def _joined(parts: list[Rows]) -> Rows:
    """Return consecutive rows as one."""
    if len(parts) == 1:
        return parts[0]
    labels = [part.labels for part in parts if part.labels is not None]
    joined = np.concatenate(labels) if labels else None
    if isinstance(parts[0].values, list):
        return Rows([text for part in parts for text in part.values], joined)
    return Rows(np.concatenate([np.asarray(part.values) for part in parts]), joined)
