"""The tensors of a safetensors file, read one at a time."""

from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from ancestral.bundles.tensors_file import read_header
from ancestral.errors import CheckpointError, InvalidInput
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
