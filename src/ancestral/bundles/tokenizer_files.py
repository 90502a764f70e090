"""The tokenizer of a bundle: there, and of the same values as its model."""

from collections.abc import Mapping
from pathlib import Path

from ancestral.dataspec import DataSpec
from ancestral.errors import InvalidInput
from ancestral.text.kinds import check_tokenizer


def check_text(data: DataSpec, files: Mapping[str, bytes]) -> None:
    """Refuse to write a bundle whose tokenizer is missing, or is another model's.

    Args:
        data: of the model.
        files: that the bundle is to hold, by name.

    Raises:
        InvalidInput: it is.
    """
    kind, name = data.tokenizer, data.tokenizer_file
    if kind is None or name is None:
        return
    if name not in files:
        raise InvalidInput(
            f"files: expected {name}, the tokenizer that the data name, got {sorted(files)}"
        )
    check_tokenizer(kind, files[name], data.levels)


def tokenizer_problems(path: Path, data: DataSpec) -> list[str]:
    """Whether every id of the tokenizer is a value of the model."""
    name = data.tokenizer_file
    try:
        check_text(data, {} if name is None else {name: (path / name).read_bytes()})
    except (InvalidInput, OSError) as error:
        return [str(error)]
    return []
