"""The tensors of a safetensors file, read one at a time."""

from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from ancestral.errors import CheckpointError
from ancestral.train.hugging_face.differences import Header


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
            with safe_open(path, framework="pt") as file:
                for name in file.keys():  # noqa: SIM118 - no mapping
                    part = file.get_slice(name)
                    self.headers[name] = Header(tuple(part.get_shape()), str(part.get_dtype()))
        except (SafetensorError, OSError) as error:
            raise _unreadable(path, error) from error

    def read(self, name: str) -> Tensor:
        """A tensor as it is stored, mapped from the file: valid while the file does not change.

        Raises:
            CheckpointError: the file was altered meanwhile.
        """
        try:
            with safe_open(self.path, framework="pt") as file:
                tensor: Tensor = file.get_tensor(name)
        except (SafetensorError, OSError) as error:
            raise _unreadable(self.path, error) from error
        return tensor

    def forget(self, name: str) -> None:
        """A tensor is needed no more; nothing is held of it."""


def _unreadable(path: Path, error: Exception) -> CheckpointError:
    return CheckpointError(
        f"{path}: expected safetensors, got: {error}; the file was cut short or altered: "
        f"fetch it anew"
    )
