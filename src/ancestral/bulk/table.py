"""Rows as a Parquet file: columns, their units, and a hash of their content."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ancestral.bulk.parts import Part
from ancestral.excerpts import cut

Column = NDArray[Any] | Sequence[str] | Sequence[NDArray[Any]]
"""Values of n rows: numbers [n] or [n, ...], texts, or sequences of different lengths."""
Columns = dict[str, Column]
INDEX = "index"
UNITS = {
    "log_prob": "nats",
    "log_q": "nats",
    "log_prior": "nats",
    "log_likelihood": "nats",
    "log_posterior": "nats",
    "log_joint": "nats",
    "elbo": "nats",
    "iwae": "nats",
    "reconstruction": "nats",
    "kl": "nats",
    "kl_closed": "nats",
    "stderr_elbo": "nats",
    "stderr_iwae": "nats",
    "x": "levels",
}
"""Unit of each column that has one."""
_KEY = b"ancestral"
_UNREADABLE = (pa.ArrowException, OSError, ValueError, KeyError, TypeError, RecursionError)
"""Exceptions of pyarrow, and of our reading of the metadata, for a damaged file."""


@dataclass(frozen=True, slots=True)
class Facts:
    """The metadata of a part, in addition to the schema.

    Attributes:
        digest: digest of the job.
        bundle: hash of the bundle.
        first: index of the first row.
        end: index after the last row.
        machine: description of the machine that computed the rows; see `ancestral.bulk.machine`.
        sha256: hash of the content of all columns.
    """

    digest: str
    bundle: str
    first: int
    end: int
    machine: Mapping[str, Any]
    sha256: str

    @property
    def known(self) -> dict[str, Any]:
        """The facts that the hash covers."""
        names = ("digest", "bundle", "first", "end", "machine")
        return {name: getattr(self, name) for name in names}

    def problem(self, part: Part, bundle: str) -> str | None:
        """Return why these are not the facts of a part; None if they are."""
        if (self.digest, self.bundle) != (part.digest, bundle):
            return "its metadata name another job"
        if (self.first, self.end) != (part.first, part.end):
            return f"its metadata name the rows {self.first} .. {self.end - 1}"
        return None


def table_of(columns: Columns, first: int) -> pa.Table:
    """Return columns of rows as a table, with the index of each row.

    Args:
        columns: values by name.
        first: index of the first row.
    """
    arrays = {name: _array(values) for name, values in columns.items()}
    n = len(next(iter(arrays.values())))
    index = pa.array(np.arange(first, first + n, dtype=np.int64))
    fields = [pa.field(INDEX, pa.int64(), nullable=False)]
    for name, array in arrays.items():
        notes = {"unit": UNITS[name]} if name in UNITS else {}
        values = columns[name]
        if isinstance(values, np.ndarray) and values.ndim > 1:
            notes["shape"] = json.dumps(values.shape[1:])
        fields.append(pa.field(name, array.type, nullable=False, metadata=notes or None))
    return pa.Table.from_arrays([index, *arrays.values()], schema=pa.schema(fields))


def encoded(table: pa.Table, part: Part, bundle: str, machine: Mapping[str, Any]) -> pa.Buffer:
    """Return the content of a part's file: one row group, with checksums of its pages."""
    facts: dict[str, Any] = {
        "digest": part.digest,
        "bundle": bundle,
        "first": part.first,
        "end": part.end,
        "machine": dict(machine),
    }
    facts["sha256"] = content_hash(table, facts)
    table = table.replace_schema_metadata({_KEY: json.dumps(facts)})
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, write_page_checksum=True, row_group_size=max(1, len(table)))
    return sink.getvalue()


def facts_of(schema: pa.Schema) -> Facts:
    """Return the facts in the metadata of a schema.

    Raises:
        ValueError: the metadata are missing or damaged.
    """
    content = (schema.metadata or {}).get(_KEY)
    if content is None:
        raise ValueError("no metadata of ancestral")
    values = json.loads(content)
    if not isinstance(values, dict) or set(values) != set(Facts.__dataclass_fields__):
        raise ValueError("the metadata lack a field")
    return Facts(**values)


def footer_of(content: Any, part: Part, bundle: str) -> tuple[Facts | None, str | None]:
    """Read the end of a part's file.

    Args:
        content: bytes of the file, or an open file.
        part: the part that it should be.
        bundle: hash of the job's bundle.

    Returns:
        The facts, and None; or what is wrong: the file is not Parquet, or another part.
    """
    try:
        file = pq.ParquetFile(content)
        facts = facts_of(file.schema_arrow)
        rows = file.metadata.num_rows
    except _UNREADABLE as error:
        return None, f"not a Parquet file of a part ({_words(error)})"
    problem = facts.problem(part, bundle)
    if problem is None and rows != len(part):
        problem = f"expected {len(part)} rows, got {rows}"
    return facts, problem


def read_part(
    content: bytes, part: Part, bundle: str
) -> tuple[pa.Table | None, Facts | None, str | None]:
    """Read a part's file and check all of it.

    Args:
        content: bytes of the file.
        part: the part that it should be.
        bundle: hash of the job's bundle.

    Returns:
        The table, its facts, and None; or what is wrong as the last item.
    """
    buffer = pa.BufferReader(content)
    facts, problem = footer_of(buffer, part, bundle)
    if facts is None or problem is not None:
        return None, facts, problem
    try:
        # Only this thread reads. One of pyarrow's could release the bytes, which are Python's, when
        # the interpreter has begun to end; the process would be aborted.
        file = pq.ParquetFile(buffer, page_checksum_verification=True, pre_buffer=False)
        table = file.read(use_threads=False)
        whole = content_hash(table, facts.known) == facts.sha256
        index = table[INDEX].to_numpy()
    except _UNREADABLE as error:
        return None, facts, f"its pages cannot be decoded ({_words(error)})"
    if not whole or not np.array_equal(index, np.arange(part.first, part.end)):
        return None, facts, "altered (its SHA-256 does not match)"
    return table, facts, None


def content_hash(table: pa.Table, facts: Mapping[str, Any]) -> str:
    """Return the SHA-256 of the facts, and of the names, types and values of all columns."""
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for name in table.column_names:
        column = table[name].combine_chunks()
        if isinstance(column, pa.ChunkedArray):
            column = pa.concat_arrays(column.chunks)
        digest.update(f"{name} {_kind(column.type)} {len(column)}\n".encode())
        for piece in _bytes_of(column):
            digest.update(piece)
    return digest.hexdigest()


def values_of(table: pa.Table, name: str) -> NDArray[Any]:
    """Return the numbers of a column, [n] or [n, ...], with the shape that was written."""
    field, column = table.schema.field(name), table[name].combine_chunks()
    if not pa.types.is_fixed_size_list(field.type):
        return np.asarray(column.to_numpy(zero_copy_only=False))
    shape = json.loads((field.metadata or {}).get(b"shape", b"[-1]"))
    return np.asarray(column.flatten().to_numpy(zero_copy_only=False)).reshape(len(column), *shape)


def _array(values: Column) -> pa.Array:
    """Return the values of a column: numbers, fixed-size lists, texts, or lists."""
    if isinstance(values, np.ndarray):
        if values.ndim == 1:
            return pa.array(np.ascontiguousarray(values))
        flat = np.ascontiguousarray(values).reshape(-1)
        size = flat.size // max(len(values), 1)
        return pa.FixedSizeListArray.from_arrays(pa.array(flat), size)
    if all(isinstance(each, str) for each in values):
        return pa.array(list(values), pa.string())
    kind = pa.from_numpy_dtype(np.asarray(values[0]).dtype)
    return pa.array([np.asarray(each) for each in values], pa.list_(kind))


def _kind(found: pa.DataType) -> str:
    """Return the name of a type; the names of fields inside lists depend on the writer."""
    if pa.types.is_fixed_size_list(found):
        return f"{_kind(found.value_type)}[{found.list_size}]"
    return f"{_kind(found.value_type)}[]" if pa.types.is_list(found) else str(found)


def _bytes_of(array: pa.Array) -> Iterator[bytes]:
    """Yield the values of an array, independent of how it is stored in memory."""
    kind = array.type
    if pa.types.is_fixed_size_list(kind):
        yield from _bytes_of(array.flatten())
    elif pa.types.is_list(kind):
        yield pc.list_value_length(array).to_numpy(zero_copy_only=False).tobytes()
        yield from _bytes_of(array.flatten())
    elif pa.types.is_string(kind):
        yield pc.binary_length(array).to_numpy(zero_copy_only=False).tobytes()
        yield "".join(array.to_pylist()).encode()
    else:
        yield array.to_numpy(zero_copy_only=False).tobytes()


def _words(error: BaseException) -> str:
    """Return the first line of an error of pyarrow."""
    return cut(str(error).partition("\n")[0] or type(error).__name__, 120)
