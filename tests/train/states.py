"""Files of training states, read and written with hashes that fit."""

import io
from pathlib import Path
from typing import Any

import torch

from ancestral.files import write_atomically
from ancestral.sealed import unsealed, write_sealed

KIND = "ancestral training state 3"


def read_state(path: Path) -> dict[str, Any]:
    content = torch.load(io.BytesIO(unsealed(path.read_bytes(), KIND)), weights_only=True)
    assert isinstance(content, dict)
    return content


def write_state(path: Path, content: object) -> None:
    write_atomically(
        path,
        lambda file: write_sealed(file, KIND, lambda inner: torch.save(content, inner)),
    )
