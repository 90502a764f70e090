"""Rows of data in files: arrays, Parquet tables, and texts, read in pieces."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ancestral.bulk.array_source import open_arrays
from ancestral.bulk.job import DataFile
from ancestral.bulk.parquet_source import ParquetSource
from ancestral.bulk.rows import Rows, Source
from ancestral.bulk.store import file_system, without_credentials
from ancestral.bulk.text_source import TextSource
from ancestral.bundles.hashes import HashMemory
from ancestral.errors import InvalidInput
from ancestral.files.input_file import unreadable


def open_source(path: str) -> Source:
    """Open a file of data; its suffix and its first bytes decide how it is read.

    Raises:
        InvalidInput: the file does not exist, is of an unknown kind, or lacks a column.
    """
    suffix = Path(path.partition("?")[0]).suffix.lower()
    if suffix in {".parquet", ".pq"}:
        return ParquetSource.open(path)
    if suffix in {".jsonl", ".ndjson"}:
        return TextSource.open(path)
    if "://" in path:
        raise InvalidInput(
            f"{without_credentials(path)}: expected a .parquet or .jsonl file at a URL; copy "
            f"arrays to a disk first"
        )
    return open_arrays(Path(path))


def described(path: str) -> DataFile:
    """Return what a job keeps of a file of data: hash, size and number of rows.

    Raises:
        InvalidInput: the file cannot be read as data.
    """
    filesystem, inner = file_system(path)
    local = "://" not in path
    try:
        info = filesystem.get_file_info(inner)
        digest = _sha256(Path(inner)) if local and info.is_file else None
    except OSError as error:
        raise InvalidInput(unreadable(Path(without_credentials(path)), error)) from error
    if not info.is_file:
        raise InvalidInput(f"{without_credentials(path)}: no such file")
    return DataFile(
        path=inner if local else without_credentials(path),
        size=info.size,
        changed_ns=info.mtime_ns or 0,
        sha256=digest,
        rows=open_source(path).count,
    )


def check_unchanged(path: str, expected: DataFile) -> None:
    """Check that a file of data is the one that a job was made with.

    A file with another time but the same size is hashed: a copy on another machine is accepted.

    Raises:
        InvalidInput: the file has changed, or does not exist.
    """
    filesystem, inner = file_system(path)
    shown = without_credentials(path)
    info = filesystem.get_file_info(inner)
    if not info.is_file:
        raise InvalidInput(f"{shown}: no such file")
    same = (info.size, info.mtime_ns or 0) == (expected.size, expected.changed_ns)
    if not same and expected.sha256 is not None and info.size == expected.size:
        same = _sha256(Path(inner)) == expected.sha256
    if not same:
        raise InvalidInput(
            f"{shown}: changed since the job was made; restore the file, or give another --out"
        )


def _sha256(path: Path) -> str:
    """Return the hash of a local file, which is remembered."""
    memory = HashMemory.load()
    digest = memory.sha256(path, rehash=False)
    memory.save()
    return digest


@dataclass(slots=True)
class Data:
    """The rows of several files, one after another. One file is open at a time.

    Attributes:
        paths: paths or URLs of the files.
        files: the same files as the job describes them.
    """

    paths: Sequence[str]
    files: Sequence[DataFile]
    _opened: tuple[int, Source] | None = field(default=None, init=False)

    def read(self, first: int, end: int) -> list[tuple[int, int, Rows]]:
        """Return rows as a list of (file, row in the file, rows), in order.

        Raises:
            InvalidInput: a file has changed or cannot be read, or a value in it is unusable.
        """
        found = []
        begin = 0
        for i, file in enumerate(self.files):
            low, high = max(first, begin), min(end, begin + file.rows)
            if low < high:
                rows = self._source(i).read(low - begin, high - begin)
                found.append((i, low - begin, rows))
            begin += file.rows
        return found

    def place(self, file: int, row: int) -> str:
        """Return the name of a row for messages."""
        return f"{without_credentials(self.paths[file])}: row {row}"

    def _source(self, i: int) -> Source:
        if self._opened is None or self._opened[0] != i:
            self._opened = None
            check_unchanged(self.paths[i], self.files[i])
            self._opened = (i, open_source(self.paths[i]))
        return self._opened[1]
