"""The tensors of a file, read one at a time: safetensors, or a pickle that torch.save wrote.

A pickle is read without running it, by torch's weights_only loader: it makes tensors and plain
containers, and stops at the first name of anything else.

References:
    torch.load, weights_only: https://docs.pytorch.org/docs/stable/generated/torch.load.html
"""

import pickle
import re
import struct
import warnings
import zipfile
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ancestral.bundles.tensors_file import read_header
from ancestral.errors import CheckpointError, InvalidInput
from ancestral.excerpts import cut
from ancestral.train.hugging_face.stored_tensors import DTYPES, Header

_LONGEST_HEADER = 2**24
"""Bytes: some 150,000 tensors."""
_GLOBAL = re.compile(r"GLOBAL ([\w.]+)")
BROKEN = (
    RuntimeError,
    ArithmeticError,
    OSError,
    EOFError,
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
    AssertionError,
    struct.error,
    zipfile.BadZipFile,
)
"""What torch.load raises on files that were cut short or are something else."""


class SafetensorsFile:
    """One file; it is opened anew for each tensor, so that no mapped pages pile up."""

    def __init__(self, path: Path) -> None:
        """Read the header.

        Raises:
            CheckpointError: the file is missing, cut short or altered.
        """
        self.path = path
        try:
            found = read_header(path, _LONGEST_HEADER)
            # The library knows more: that there is nothing between the tensors, say.
            with safe_open(path, framework="pt"):
                pass
        except InvalidInput as error:
            raise CheckpointError(str(error)) from error
        except (SafetensorError, ValueError, OSError, MemoryError) as error:
            raise _unreadable(path, error) from error
        self.headers = {name: Header(each.shape, each.dtype) for name, each in found.items()}

    def read(self, name: str) -> Tensor:
        """A tensor as it is stored, mapped from the file: valid while the file does not change.

        Raises:
            CheckpointError: the file was altered meanwhile.
        """
        try:
            with safe_open(self.path, framework="pt") as file:
                tensor: Tensor = file.get_tensor(name)
        except (SafetensorError, OSError, MemoryError) as error:
            raise _unreadable(self.path, error) from error
        return tensor

    def forget(self, name: str) -> None:
        """A tensor is needed no more; nothing is held of it."""


def _unreadable(path: Path, error: Exception) -> CheckpointError:
    return CheckpointError(
        f"{path}: expected safetensors, got: {cut(str(error))}; the file was cut short or altered: "
        f"fetch it anew"
    )


class PickledFile:
    """One file; opened anew for each tensor; in the form before torch 1.6 it is held whole."""

    def __init__(self, path: Path) -> None:
        """Read the names and shapes.

        Raises:
            CheckpointError: the file is missing, cut short, or asks for more than tensors.
        """
        self.path = path
        tensors = _load(path)
        self.headers = {
            name: Header(tuple(each.shape), DTYPES.get(each.dtype, str(each.dtype)))
            for name, each in tensors.items()
        }
        self._whole = None if zipfile.is_zipfile(path) else tensors

    def read(self, name: str) -> Tensor:
        """A tensor as it is stored, mapped from the file: valid while the file does not change.

        Raises:
            CheckpointError: the file was altered meanwhile.
        """
        tensors = _load(self.path) if self._whole is None else self._whole
        if name not in tensors:
            raise CheckpointError(f"{self.path}: was altered while it was read: fetch it anew")
        return tensors[name]

    def forget(self, name: str) -> None:
        """A tensor is needed no more: where the file is held whole, its memory is given back."""
        if self._whole is not None:
            self._whole.pop(name, None)


def _refuse_compressed(path: Path) -> None:
    """Refuse an archive that is larger than its file: torch.save compresses nothing.

    Raises:
        CheckpointError: a record of it is.
        OSError: it cannot be read, nor (RuntimeError, BadZipFile) understood.
    """
    with zipfile.ZipFile(path) as archive:
        size = sum(each.file_size for each in archive.infolist())
    if size > path.stat().st_size:
        raise CheckpointError(
            f"{path}: expected what torch.save writes, got an archive of {size} bytes in a file of "
            f"{path.stat().st_size}, which torch.save would not have compressed: fetch it anew"
        )


def _load(path: Path) -> dict[str, Tensor]:
    """All tensors of a file, mapped where its form allows it."""
    try:
        mapped = zipfile.is_zipfile(path)
        if mapped:
            _refuse_compressed(path)
        with warnings.catch_warnings():
            # Of protocols that it may not read whole: it does, or raises.
            warnings.simplefilter("ignore", UserWarning)
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except CheckpointError:
        raise
    except pickle.UnpicklingError as error:
        named = _GLOBAL.search(str(error))
        asked = f"one that asks for {named[1]}" if named else "another, or a part of one"
        raise CheckpointError(
            f"{path}: expected a pickle of tensors alone, got {asked}; what may run code is not "
            f"read: take a folder with model.safetensors, or write one where you trust the file"
        ) from error
    except BROKEN as error:
        raise CheckpointError(
            f"{path}: expected what torch.save writes, got: "
            f"{cut(repr(str(error).splitlines()[:1]))}; the file was cut short or altered: "
            f"fetch it anew"
        ) from error
    if not isinstance(content, dict) or not all(
        isinstance(name, str) and isinstance(each, Tensor) and _is_stored_whole(each)
        for name, each in content.items()
    ):
        raise CheckpointError(
            f"{path}: expected tensors by their names, got {type(content).__name__} of other "
            f"things; a state dict alone can be read"
        )
    return content


def _is_stored_whole(tensor: Tensor) -> bool:
    """Whether a tensor is dense, and has no more numbers than its storage: none is repeated."""
    return (
        tensor.layout is torch.strided
        and tensor.numel() * tensor.element_size() <= tensor.untyped_storage().nbytes()
    )
