"""The tensors of a checkpoint folder, in one file or several."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from ancestral.errors import CheckpointError
from ancestral.excerpts import cut, report
from ancestral.train.hugging_face.foreign import foreign
from ancestral.train.hugging_face.json_object import read_object
from ancestral.train.hugging_face.stored_tensors import Header
from ancestral.train.hugging_face.tensor_files import PickledFile, SafetensorsFile

_SAFETENSORS, _PICKLE = "model.safetensors", "pytorch_model.bin"
_INDEX = ".index.json"
# transformers looks for the files in this order.
_FILES = (_SAFETENSORS, _SAFETENSORS + _INDEX, _PICKLE, _PICKLE + _INDEX)
_ENDINGS = ("safetensors", "bin", "index.json", "pt", "pth", "h5", "msgpack", "gguf")
_LONGEST_INDEX = 2**26
_MOST_PARTS, _LONGEST_NAME = 10_000, 255

File = SafetensorsFile | PickledFile


class Tensors:
    """Tensors by name, each read on request."""

    def __init__(self, files: Mapping[str, File], source: Path) -> None:
        """Record the file of each tensor.

        Args:
            files: file of each tensor, by the tensor's name.
            source: path of the file or index that lists all tensors, for messages.
        """
        self.source = source
        self._files = files
        self.headers: dict[str, Header] = {name: each.headers[name] for name, each in files.items()}

    def read(self, name: str) -> Tensor:
        """Return a tensor as stored; it is mapped from the file, so copy it to keep it.

        Raises:
            CheckpointError: the file was altered since its header was read.
        """
        return self._files[name].read(name)

    def forget(self, name: str) -> None:
        """Release the memory that is held for a tensor."""
        self._files[name].forget(name)


def open_tensors(folder: Path) -> Tensors:
    """Open the tensors of a folder; only names, shapes and types are read.

    Raises:
        CheckpointError: there is no file of weights; a file is missing or truncated, or does not
            fit the index; or a pickle contains anything but tensors.
    """
    path = _weights_file(folder)
    if not path.name.endswith(_INDEX):
        file = _open(path)
        return Tensors(dict.fromkeys(file.headers, file), path)
    return _open_parts(path)


def _weights_file(folder: Path) -> Path:
    for name in _FILES:
        path = folder / name
        if path.is_file():
            return path
        if path.exists():
            raise CheckpointError(
                f"{path}: expected a regular file, got a folder, a pipe or a device; download the "
                f"folder again"
            )
    found = sorted({file.name for ending in _ENDINGS for file in folder.glob(f"*.{ending}")})
    raise CheckpointError(
        f"{folder}: expected weights in one of {', '.join(_FILES)}, got "
        f"{cut(repr(found), 200) if found else 'no weights'}; "
        + (
            foreign(folder)
            or "download the whole folder, or write it again with transformers' "
            "from_pretrained(...).save_pretrained(...)"
        )
    )


def _open(path: Path) -> File:
    return SafetensorsFile(path) if path.suffix == ".safetensors" else PickledFile(path)


def _open_parts(index: Path) -> Tensors:
    """Open the tensors of an index and its parts.

    Raises:
        CheckpointError: the index and its parts disagree; the message lists the tensors and files.
    """
    places = read_object(index, "the index of a checkpoint", _LONGEST_INDEX).get("weight_map")
    ending = index.name.removesuffix(_INDEX).rpartition(".")[2]
    if not isinstance(places, dict) or not all(
        isinstance(name, str) and _is_part(name, ending) for name in places.values()
    ):
        raise CheckpointError(
            f"{index}: weight_map: expected the name of a .{ending} file in the folder for each "
            f"tensor; download the folder again"
        )
    names = sorted(set(places.values()))
    if len(names) > _MOST_PARTS:
        raise CheckpointError(
            f"{index}: expected at most {_MOST_PARTS} parts, got {len(names)}; download the folder "
            f"again"
        )
    missing = [name for name in names if not (index.parent / name).is_file()]
    if missing:
        raise CheckpointError(
            f"{index}: parts {cut(repr(missing), 200)} of {cut(repr(names), 200)} are missing; "
            f"download them"
        )
    files = {name: _open(index.parent / name) for name in names}
    problems = [
        f"{tensor}: not in {name}, where the index places it"
        for tensor, name in sorted(places.items())
        if tensor not in files[name].headers
    ]
    problems += [
        f"{tensor}: in {name}, but the index places it in {places.get(tensor, 'no file')}"
        for name, file in files.items()
        for tensor in sorted(file.headers)
        if places.get(tensor) != name
    ]
    if problems:
        raise CheckpointError(
            report(f"{index}: the parts do not fit the index; download the folder again", problems)
        )
    return Tensors({tensor: files[name] for tensor, name in places.items()}, index)


def _is_part(name: str, ending: str) -> bool:
    """Return whether a name can be that of a part: a file in the folder, with this ending."""
    plain = not set(name) & {"/", "\\", "\0"}
    # The name may hold lone surrogates; the limit applies to its length on disk.
    length = len(name.encode("utf-8", "surrogatepass"))
    return name.endswith(f".{ending}") and plain and length <= _LONGEST_NAME
