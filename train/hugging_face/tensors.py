"""All tensors of a checkpoint folder, over the files that they are in."""

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
# The order in which transformers looks for them.
_FILES = (_SAFETENSORS, _SAFETENSORS + _INDEX, _PICKLE, _PICKLE + _INDEX)
_ENDINGS = ("safetensors", "bin", "index.json", "pt", "pth", "h5", "msgpack", "gguf")
_LONGEST_INDEX = 2**26
_MOST_PARTS, _LONGEST_NAME = 10_000, 255

File = SafetensorsFile | PickledFile


class Tensors:
    """Tensors by name, each read when it is asked for."""

    def __init__(self, files: Mapping[str, File], source: Path) -> None:
        """Say which file holds each.

        Args:
            files: that hold each tensor.
            source: file or index that names them all, for messages.
        """
        self.source = source
        self._files = files
        self.headers: dict[str, Header] = {name: each.headers[name] for name, each in files.items()}

    def read(self, name: str) -> Tensor:
        """A tensor as it is stored; mapped, so copy what is kept.

        Raises:
            CheckpointError: its file was altered meanwhile.
        """
        return self._files[name].read(name)

    def forget(self, name: str) -> None:
        """A tensor is needed no more: what is held of it may go."""
        self._files[name].forget(name)


def open_tensors(folder: Path) -> Tensors:
    """The tensors of a folder: their names, shapes and types are read, and no more.

    Raises:
        CheckpointError: no file of weights, one that is missing, cut short, or not what the index
            says, or a pickle that asks for more than tensors.
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
            raise CheckpointError(f"{path}: expected a file, got a folder, a pipe or a device")
    found = sorted({file.name for ending in _ENDINGS for file in folder.glob(f"*.{ending}")})
    raise CheckpointError(
        f"{folder}: expected one of {', '.join(_FILES)}, got "
        f"{cut(repr(found), 200) if found else 'no weights'}; "
        + (
            foreign(folder)
            or "fetch the folder whole, or write it anew with transformers' "
            "from_pretrained(...).save_pretrained(...)"
        )
    )


def _open(path: Path) -> File:
    return SafetensorsFile(path) if path.suffix == ".safetensors" else PickledFile(path)


def _open_parts(index: Path) -> Tensors:
    """The tensors of an index and its parts.

    Raises:
        CheckpointError: the index and its parts disagree: each tensor and file is named.
    """
    places = read_object(index, "the index of a checkpoint", _LONGEST_INDEX).get("weight_map")
    ending = index.name.removesuffix(_INDEX).rpartition(".")[2]
    if not isinstance(places, dict) or not all(
        isinstance(name, str) and _is_part(name, ending) for name in places.values()
    ):
        raise CheckpointError(
            f"{index}: expected the field weight_map to name a .{ending} file of the folder for "
            f"each tensor; fetch the folder anew"
        )
    names = sorted(set(places.values()))
    if len(names) > _MOST_PARTS:
        raise CheckpointError(
            f"{index}: expected at most {_MOST_PARTS} parts, got {len(names)}; fetch the folder "
            f"anew"
        )
    missing = [name for name in names if not (index.parent / name).is_file()]
    if missing:
        raise CheckpointError(
            f"{index}: expected the parts {cut(repr(names), 200)}, got none of the name "
            f"{cut(repr(missing), 200)}: fetch them"
        )
    files = {name: _open(index.parent / name) for name in names}
    problems = [
        f"{tensor}: expected in {name}, which does not hold it"
        for tensor, name in sorted(places.items())
        if tensor not in files[name].headers
    ]
    problems += [
        f"{tensor}: in {name}, where the index has {places.get(tensor, 'no such tensor')}"
        for name, file in files.items()
        for tensor in sorted(file.headers)
        if places.get(tensor) != name
    ]
    if problems:
        raise CheckpointError(
            report(
                f"{index}: the parts are not those of the index; fetch the folder anew", problems
            )
        )
    return Tensors({tensor: files[name] for tensor, name in places.items()}, index)


def _is_part(name: str, ending: str) -> bool:
    """Whether a name is that of a file in the folder itself."""
    plain = not set(name) & {"/", "\\", "\0"}
    # It may hold what is no text; the length is that on disk.
    length = len(name.encode("utf-8", "surrogatepass"))
    return name.endswith(f".{ending}") and plain and length <= _LONGEST_NAME
