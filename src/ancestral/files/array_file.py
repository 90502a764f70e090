"""Arrays in .npy and .npz files: each is unpacked on access, and nothing is unpickled."""

import io
import os
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ancestral.arrays import shown
from ancestral.errors import InvalidInput
from ancestral.files.atomic import write_atomically
from ancestral.files.input_file import open_regular, size_text
from ancestral.files.kind import FIRST_BYTES, kind_of
from ancestral.files.npy import MAGIC, read_npy

LARGEST_ARRAY = 4 * 2**30
"""Default limit on the bytes of one array."""
ALONE = ""
"""Name of the array of an .npy file."""
_ZIP = (b"PK\x03\x04", b"PK\x05\x06")
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""Compression methods of numpy.savez and numpy.savez_compressed."""
_ENCRYPTED = 0x1
_SMALL, _RATIO = 2**28, 200
"""Data are refused if they unpack to more than so many bytes and to so many times their size."""
_REFUSED = (OSError, ValueError, MemoryError, OverflowError, RuntimeError)
"""Exceptions of zipfile for files that it cannot read or that do not fit in memory."""
_SUFFIX = ".npy"


@dataclass(frozen=True, slots=True)
class ArrayFile(Mapping[str, NDArray[Any]]):
    """Arrays of an .npz by name; the array of an .npy has the name ALONE.

    Each access reads the array from the file again.

    Attributes:
        path: path of the file.
        names: names of its arrays.
        limit: most bytes that an array may have.
    """

    path: Path
    names: tuple[str, ...]
    limit: int

    @classmethod
    def open(cls, path: str | Path, *, limit: int = LARGEST_ARRAY) -> "ArrayFile":
        """Open a file and list its arrays.

        Args:
            path: path of the .npy or .npz; its content decides which it is, not its suffix.
            limit: most bytes that an array may have.

        Raises:
            InvalidInput: the file does not exist, is not a regular file, or is of another kind,
                which the message names.
        """
        path = Path(path)
        with _opened(path) as file:
            start = file.read(FIRST_BYTES)
            if start.startswith(MAGIC):
                return cls(path, (ALONE,), limit)
            if not start.startswith(_ZIP):
                raise InvalidInput(f"{_expected(path)}, got {kind_of(start)}")
            with zipfile.ZipFile(file) as archive:
                names = archive.namelist()
        arrays = dict.fromkeys(n.removesuffix(_SUFFIX) for n in names if n.endswith(_SUFFIX))
        if not arrays:
            raise InvalidInput(f"{_expected(path)}, got {_archive(names)}")
        return cls(path, tuple(arrays), limit)

    @property
    def named(self) -> bool:
        """Whether the arrays have names, that is whether the file is an .npz."""
        return self.names != (ALONE,)

    def __getitem__(self, name: str) -> NDArray[Any]:
        """Read the array of that name.

        Raises:
            KeyError: no array has that name.
            InvalidInput: the array is damaged, encrypted, packed in an unknown way, not numeric, or
                too large.
        """
        if name not in self.names:
            raise KeyError(name)
        with _opened(self.path) as file:
            size = os.fstat(file.fileno()).st_size
            if name == ALONE:
                return read_npy(file, size, str(self.path), self.limit)
            with zipfile.ZipFile(file) as archive:
                return self._member(archive, name, size)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)

    def pick(self, *names: str) -> NDArray[Any]:
        """Read the first of the named arrays that exists, or the only array of the file.

        Raises:
            InvalidInput: no array has one of the names and the file has several arrays, or the
                array cannot be read.
        """
        for name in (*names, *(self.names if len(self) == 1 else ())):
            if name in self.names:
                return self[name]
        raise InvalidInput(
            f"{self.path}: expected an array {' or '.join(names)}, got {shown(sorted(self))}"
        )

    def _member(self, archive: zipfile.ZipFile, name: str, size: int) -> NDArray[Any]:
        """Read an array of an archive of `size` bytes."""
        place = f"{self.path}: array {shown(name)}"
        try:
            entry = archive.getinfo(f"{name}{_SUFFIX}")
        except KeyError as error:
            raise InvalidInput(f"{place}: missing, the file has changed; open it again") from error
        if entry.flag_bits & _ENCRYPTED:
            raise InvalidInput(f"{place}: encrypted; decrypt the file")
        if entry.compress_type not in _METHODS:
            raise InvalidInput(
                f"{place}: expected an array packed by numpy.savez or numpy.savez_compressed, got "
                f"compression method {entry.compress_type}; save it again with one of them"
            )
        check_unpacked(place, min(entry.compress_size, size), entry.file_size)
        with archive.open(entry) as stream:
            return read_npy(stream, entry.file_size, place, self.limit)


def write_arrays(out: str | Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write an .npz file.

    Raises:
        OSError: the file could not be written; an old file of that name is unchanged.
    """
    content = io.BytesIO()
    np.savez_compressed(content, allow_pickle=False, **arrays)
    write_atomically(out, content.getvalue())


def check_unpacked(place: str, packed: int, unpacked: int) -> None:
    """Refuse data that are packed so densely that they only serve to fill the memory.

    Args:
        place: name of the data in errors.
        packed: bytes in the file.
        unpacked: bytes in memory.

    Raises:
        InvalidInput: the data are large and unpack to more than 200 times their size.
    """
    if unpacked > _SMALL and unpacked > _RATIO * packed:
        raise InvalidInput(
            f"{place}: expected data that unpack to at most {_RATIO} times their size, got "
            f"{size_text(packed)} that unpack to {size_text(unpacked)}; if they are right, save "
            f"them uncompressed"
        )


@contextmanager
def _opened(path: Path) -> Iterator[BufferedReader]:
    """Open a file for reading, and turn errors of a damaged one into InvalidInput."""
    try:
        with open_regular(path) as file:
            yield file
    except InvalidInput:
        raise
    except (zipfile.BadZipFile, EOFError, zlib.error, struct.error) as error:
        raise InvalidInput(
            f"{_expected(path)}, got a damaged archive ({error}); copy or download it again"
        ) from error
    except FileNotFoundError as error:
        raise InvalidInput(f"{path}: no such file") from error
    except _REFUSED as error:
        raise InvalidInput(
            f"{path}: cannot be read as an .npy or .npz ({error}); check its permissions, or save "
            f"it again"
        ) from error


def _expected(path: Path) -> str:
    return f"{path}: expected an .npy or .npz of numbers"


def _archive(names: list[str]) -> str:
    """Describe a zip archive without arrays."""
    if any(name.rpartition("/")[2] == "data.pkl" for name in names):
        return (
            "a PyTorch checkpoint, which is a pickle in a zip archive; save its tensors with "
            "numpy.savez, each as tensor.numpy()"
        )
    if not names:
        return "an empty zip archive"
    return f"a zip archive without .npy files, which has {shown(sorted(names))}"
