"""The tensors of a safetensors file, read one at a time."""

from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from ancestral.errors import CheckpointError
from ancestral.excerpts import cut
from ancestral.train.hugging_face.differences import Header

_LONGEST_HEADER = 2**24
"""Bytes: some 150,000 tensors."""


class SafetensorsFile:
    """One file; it is opened anew for each tensor, so that no mapped pages pile up."""

    def __init__(self, path: Path) -> None:
        """Read the header.

        Raises:
            CheckpointError: the file is missing, cut short or altered.
        """
        self.path = path
        self.headers: dict[str, Header] = {}
        try:
            _check_header(path)
            with safe_open(path, framework="pt") as file:
                for name in file.keys():  # noqa: SIM118 - no mapping
                    part = file.get_slice(name)
                    self.headers[name] = Header(tuple(part.get_shape()), str(part.get_dtype()))
        except (SafetensorError, OSError, MemoryError) as error:
            raise _unreadable(path, error) from error

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


def _check_header(path: Path) -> None:
    """Refuse what is not a file, and a header that is longer than any of a model.

    Raises:
        CheckpointError: it is one.
        OSError: the file cannot be read.
    """
    if path.exists() and not path.is_file():
        raise CheckpointError(f"{path}: expected a file of safetensors, got a folder or a pipe")
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
    # A header beyond the end of the file is refused by safetensors itself.
    if _LONGEST_HEADER < length <= path.stat().st_size:
        raise CheckpointError(
            f"{path}: expected a header of at most {_LONGEST_HEADER} bytes, got one of {length}: "
            f"fetch it anew"
        )


def _unreadable(path: Path, error: Exception) -> CheckpointError:
    return CheckpointError(
        f"{path}: expected safetensors, got: {cut(str(error))}; the file was cut short or altered: "
        f"fetch it anew"
    )
