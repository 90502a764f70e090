"""Random changes of a training state: other tensors and values, whose hash is made to fit."""

import io
import random
from typing import Any

import torch
from torch import Tensor

from ancestral.files.sealed import write_sealed
from tests.fuzz.control import NOTHING, untouched

_VALUES: tuple[Any, ...] = (
    None,
    -1,
    0,
    10**9,
    2**70,
    float("nan"),
    float("inf"),
    "",
    "x" * 5000,
    [],
    {},
    [[]],
    torch.zeros(0),
    torch.zeros((), dtype=torch.int64),
)
_DTYPES = (torch.float16, torch.float64, torch.int64, torch.bool, torch.complex64)
Path = tuple[Any, ...]


def changed(content: bytes, rng: random.Random) -> tuple[bytes, str]:
    """Return a changed state in bytes, and a description of the change."""
    if untouched(rng):
        return content, NOTHING
    kind, _, packed = content.split(b"\n", 2)
    values = torch.load(io.BytesIO(packed), weights_only=True)
    path = rng.choice(_paths(values))
    parent = values
    for key in path[:-1]:
        parent = parent[key]
    note = _change(parent, path[-1], rng)
    made = io.BytesIO()
    write_sealed(made, kind.decode(), lambda file: torch.save(values, file))
    return made.getvalue(), f"{'.'.join(map(str, path))}: {note}"


def _paths(node: Any, at: Path = ()) -> list[Path]:
    """Return the paths of all values that can be changed."""
    items = list(node.items()) if isinstance(node, dict) else []
    if isinstance(node, list):
        items = list(enumerate(node))
    return [path for key, each in items for path in ((*at, key), *_paths(each, (*at, key)))]


def _change(parent: Any, key: Any, rng: random.Random) -> str:
    value = parent[key]
    if isinstance(value, Tensor) and rng.random() < 0.7:
        parent[key] = _tensor(value, rng)
        return f"{list(parent[key].shape)} of {parent[key].dtype}"
    if rng.random() < 0.2:
        del parent[key]
        return "removed"
    parent[key] = rng.choice(_VALUES)
    return repr(parent[key])[:40]


def _tensor(value: Tensor, rng: random.Random) -> Tensor:
    match rng.randrange(5):
        case 0:
            return value.to(rng.choice(_DTYPES))
        case 1:
            return value.reshape(-1)[: rng.randrange(value.numel() + 1)]
        case 2:
            return torch.full_like(value, rng.choice((0, 1, 255)))
        case 3 if value.is_floating_point():
            return torch.full_like(value, rng.choice((float("nan"), float("inf"), 1e30)))
        case _:
            return value[None].to_sparse() if value.numel() else value[None]
