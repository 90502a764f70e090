"""Files of training states, read and written with hashes that fit."""

from pathlib import Path
from typing import Any

import torch

from ancestral.files.atomic import write_atomically
from ancestral.files.sealed import check_sealed, write_sealed

KIND = "ancestral training state 1"


def read_state(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        check_sealed(file, KIND)
        content = torch.load(file, weights_only=True)
    assert isinstance(content, dict)
    return content


def write_state(path: Path, content: object) -> None:
    write_atomically(
        path,
        lambda file: write_sealed(file, KIND, lambda inner: torch.save(content, inner)),
    )
