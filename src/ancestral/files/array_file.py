"""Arrays in .npy and .npz files: each is unpacked when it is asked for, none is unpickled."""

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
"""Bytes of one array at most, unless a caller asks for more."""
ALONE = ""
"""Name of the array of an .npy file."""
_ZIP = (b"PK\x03\x04", b"PK\x05\x06")
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""How numpy.savez and numpy.savez_compressed pack."""
_ENCRYPTED = 0x1
_SMALL, _RATIO = 2**28, 200
"""What unpacks to more than so many bytes, and to so many times its packed size, is refused."""
_REFUSED = (OSError, ValueError, MemoryError, OverflowError, RuntimeError)
"""What zipfile raises, beside errors of damage, of what it cannot read, or has no memory for."""
_SUFFIX = ".npy"


@dataclass(frozen=True, slots=True)
class ArrayFile(Mapping[str, NDArray[Any]]):
    """The arrays of an .npz by name; that of an .npy under the name ALONE.

    An array is read anew each time that it is looked up.

    Attributes:
        path: of the file.
        names: of its arrays.
        limit: bytes that an array may have at most.
    """

    path: Path
    names: tuple[str, ...]
    limit: int

    @classmethod
    def open(cls, path: str | Path, *, limit: int = LARGEST_ARRAY) -> "ArrayFile":
        """Find the names of the arrays in a file.

        Args:
            path: of the .npy or .npz; its content says which it is, not its suffix.
            limit: bytes that an array may have at most.

        Raises:
            InvalidInput: there is no such file, it is not a regular one, or is of another kind;
                the error says of which.
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
        """Whether the arrays have names: whether the file is an .npz."""
        return self.names != (ALONE,)

    def __getitem__(self, name: str) -> NDArray[Any]:
        """The array of that name.

        Raises:
            KeyError: there is none.
            InvalidInput: it is damaged, encrypted, packed in an unknown way, not of numbers, or
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
        """The first of the named arrays, or the only one there is.

        Raises:
            InvalidInput: none of the names is there, and there is not just one array; or the array
                cannot be read.
        """
        for name in (*names, *(self.names if len(self) == 1 else ())):
            if name in self.names:
                return self[name]
        raise InvalidInput(
            f"{self.path}: expected an array {' or '.join(names)}, got {shown(sorted(self))}"
        )

    def _member(self, archive: zipfile.ZipFile, name: str, size: int) -> NDArray[Any]:
        """An array of an archive of so many bytes."""
        place = f"{self.path}: array {shown(name)}"
        try:
            entry = archive.getinfo(f"{name}{_SUFFIX}")
        except KeyError as error:
            raise InvalidInput(f"{place}: expected it as before, got it no more") from error
        if entry.flag_bits & _ENCRYPTED:
            raise InvalidInput(f"{place}: expected plain arrays, got an encrypted one: decrypt it")
        if entry.compress_type not in _METHODS:
            raise InvalidInput(
                f"{place}: expected an array packed by numpy.savez or numpy.savez_compressed, got "
                f"compression method {entry.compress_type}: save it again by one of them"
            )
        check_unpacked(place, min(entry.compress_size, size), entry.file_size)
        with archive.open(entry) as stream:
            return read_npy(stream, entry.file_size, place, self.limit)


def write_arrays(out: str | Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write an .npz file.

    Raises:
        OSError: it could not be written; an old file of that name is whole.
    """
    content = io.BytesIO()
    np.savez_compressed(content, allow_pickle=False, **arrays)
    write_atomically(out, content.getvalue())


def check_unpacked(place: str, packed: int, unpacked: int) -> None:
    """Refuse what is packed so densely that it only fills the memory.

    Args:
        place: what the error calls it.
        packed: its bytes in the file.
        unpacked: its bytes in memory.

    Raises:
        InvalidInput: it is large, and unpacks to very many times its size.
    """
    if unpacked > _SMALL and unpacked > _RATIO * packed:
        raise InvalidInput(
            f"{place}: expected data, got {size_text(packed)} that unpack to "
            f"{size_text(unpacked)}, nearly all of one value: if they are meant so, save them "
            f"uncompressed"
        )


@contextmanager
def _opened(path: Path) -> Iterator[BufferedReader]:
    """A file, open for reading; the errors of a damaged one become InvalidInput."""
    try:
        with open_regular(path) as file:
            yield file
    except InvalidInput:
        raise
    except (zipfile.BadZipFile, EOFError, zlib.error, struct.error) as error:
        raise InvalidInput(
            f"{_expected(path)}, got a damaged archive ({error}): copy or download it again"
        ) from error
    except _REFUSED as error:
        raise InvalidInput(f"{_expected(path)}, got: {error}") from error


def _expected(path: Path) -> str:
    return f"{path}: expected an .npy or .npz of numbers"


def _archive(names: list[str]) -> str:
    """A zip archive without arrays, in words."""
    if any(name.rpartition("/")[2] == "data.pkl" for name in names):
        return (
            "a checkpoint of PyTorch, which is a pickle in a zip archive: save its tensors by "
            "numpy.savez, each as tensor.numpy()"
        )
    if not names:
        return "an empty zip archive"
    return f"a zip archive that holds no .npy, but {shown(sorted(names))}"
