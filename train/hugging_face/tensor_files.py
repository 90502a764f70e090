"""Files of tensors, read one tensor at a time: safetensors, or a pickle written by torch.save.

A pickle is read without running it, by torch's weights_only loader. It makes tensors and plain
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
"""Largest size of a header in bytes; enough for about 150,000 tensors."""
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
"""Errors of torch.load for files that are truncated or of another kind."""


class SafetensorsFile:
    """A safetensors file, opened again for each tensor, so that mapped pages are released."""

    def __init__(self, path: Path) -> None:
        """Read the header.

        Raises:
            CheckpointError: the file is missing, truncated or altered.
        """
        self.path = path
        try:
            found = read_header(path, _LONGEST_HEADER)
            # The library checks more, for example that there are no gaps between tensors.
            with safe_open(path, framework="pt"):
                pass
        except InvalidInput as error:
            raise CheckpointError(str(error)) from error
        except (SafetensorError, ValueError, OSError, MemoryError) as error:
            raise _unreadable(path, error) from error
        self.headers = {name: Header(each.shape, each.dtype) for name, each in found.items()}

    def read(self, name: str) -> Tensor:
        """Return a tensor as stored, mapped from the file: valid while the file does not change.

        Raises:
            CheckpointError: the file was altered since its header was read.
        """
        try:
            with safe_open(self.path, framework="pt") as file:
                tensor: Tensor = file.get_tensor(name)
        except (SafetensorError, OSError, MemoryError) as error:
            raise _unreadable(self.path, error) from error
        return tensor

    def forget(self, name: str) -> None:
        """Do nothing: no memory is held for a tensor."""


def _unreadable(path: Path, error: Exception) -> CheckpointError:
    if isinstance(error, FileNotFoundError):
        return CheckpointError(
            f"{path}: no such file; pass a folder that save_pretrained or `ancestral train` wrote"
        )
    return CheckpointError(
        f"{path}: cannot be read as safetensors ({cut(str(error))}); download it again if it was "
        f"truncated or altered"
    )


class PickledFile:
    """A file of torch.save, opened again for each tensor.

    Files from before torch 1.6 cannot be mapped, and are held in memory as a whole.
    """

    def __init__(self, path: Path) -> None:
        """Read the names and shapes.

        Raises:
            CheckpointError: the file is missing or truncated, or has anything but tensors.
        """
        self.path = path
        tensors = _load(path)
        self.headers = {
            name: Header(tuple(each.shape), DTYPES.get(each.dtype, str(each.dtype)))
            for name, each in tensors.items()
        }
        self._whole = None if zipfile.is_zipfile(path) else tensors

    def read(self, name: str) -> Tensor:
        """Return a tensor as stored, mapped from the file: valid while the file does not change.

        Raises:
            CheckpointError: the file was altered since its names were read.
        """
        tensors = _load(self.path) if self._whole is None else self._whole
        if name not in tensors:
            raise CheckpointError(f"{self.path}: changed while it was read; download it again")
        return tensors[name]

    def forget(self, name: str) -> None:
        """Release the memory of a tensor, if the file is held as a whole."""
        if self._whole is not None:
            self._whole.pop(name, None)


def _refuse_compressed(path: Path) -> None:
    """Refuse a compressed archive; torch.save never compresses.

    Raises:
        CheckpointError: the unpacked archive is larger than its file.
        OSError: the file cannot be read; RuntimeError or BadZipFile if it is not an archive.
    """
    with zipfile.ZipFile(path) as archive:
        size = sum(each.file_size for each in archive.infolist())
    if size > path.stat().st_size:
        raise CheckpointError(
            f"{path}: expected a file of torch.save, which is never compressed, got an archive of "
            f"{size} bytes in a file of {path.stat().st_size}; download it again"
        )


def _load(path: Path) -> dict[str, Tensor]:
    """Load all tensors of a file, mapped if its format allows it."""
    try:
        mapped = zipfile.is_zipfile(path)
        if mapped:
            _refuse_compressed(path)
        with warnings.catch_warnings():
            # The loader warns about pickle protocols that it may not support; it reads them or
            # raises.
            warnings.simplefilter("ignore", UserWarning)
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except CheckpointError:
        raise
    except pickle.UnpicklingError as error:
        named = _GLOBAL.search(str(error))
        got = f"one that needs {named[1]}" if named else "something else, or a truncated one"
        raise CheckpointError(
            f"{path}: expected a pickle of tensors only, got {got}; use a folder with "
            f"model.safetensors, or write one where you trust the file (pickles can run code)"
        ) from error
    except BROKEN as error:
        raise CheckpointError(
            f"{path}: cannot be read as a file of torch.save "
            f"({cut(''.join(str(error).splitlines()[:1]))}); download it again if it was truncated "
            f"or altered"
        ) from error
    if not isinstance(content, dict) or not all(
        isinstance(name, str) and isinstance(each, Tensor) and _is_stored_whole(each)
        for name, each in content.items()
    ):
        raise CheckpointError(
            f"{path}: expected a state dict, tensors by name, got a {type(content).__name__} of "
            f"other things; save only model.state_dict()"
        )
    return content


def _is_stored_whole(tensor: Tensor) -> bool:
    """Return whether a tensor is dense and not larger than its storage: no number is repeated."""
    return (
        tensor.layout is torch.strided
        and tensor.numel() * tensor.element_size() <= tensor.untyped_storage().nbytes()
    )
