"""Random changes of one or two values of a JSON document that a reader may not expect."""

import copy
import json
import random
from typing import Any

from tests.fuzz.control import NOTHING, untouched

_DEEP = "@deep@"
_VALUES: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    1,
    3,
    0.5,
    2**20,
    2**31,
    2**63,
    2**70,
    10**9,
    10**400,
    -(2**63),
    1e308,
    float("inf"),
    float("nan"),
    "",
    "x" * 10_000,
    "\0",
    "\ud800",
    "\x1b[31mred\x1b]0;title\x07",
    "../../../etc/passwd",
    "/dev/zero",
    "*/_ORT_MEM_ADDR_/*",
    "random:1",
    "weights.safetensors",
    [],
    {},
    [[]],
    {"x": {}},
    [0] * 3000,
    [2**20, 2**20],
    [-1],
    _DEEP,
)
Path = tuple[str | int, ...]


def changed(document: Any, rng: random.Random) -> tuple[Any, str]:
    """Return a changed copy, and a description of the changes."""
    if untouched(rng):
        return document, NOTHING
    document = copy.deepcopy(document)
    notes = []
    for _ in range(rng.choice((1, 1, 1, 2))):
        path = rng.choice(_paths(document))
        notes.append(f"{'.'.join(map(str, path))}: {_change(document, path, rng)}")
    return document, "; ".join(notes)


def text_of(document: Any) -> str:
    """Return the JSON text, with nesting that Python's encoder refuses to write."""
    deep = "[" * 20_000 + "]" * 20_000
    return json.dumps(document).replace(json.dumps(_DEEP), deep)


def _paths(node: Any, at: Path = ()) -> list[Path]:
    """Return the paths of all values, but of only the first 6 items of a list."""
    items: list[tuple[str | int, Any]] = []
    if isinstance(node, dict):
        items = list(node.items())
    elif isinstance(node, list):
        items = list(enumerate(node))[:6]
    return [path for key, each in items for path in ((*at, key), *_paths(each, (*at, key)))]


def _change(document: Any, path: Path, rng: random.Random) -> str:
    parent = document
    for key in path[:-1]:
        parent = parent[key]
    key = path[-1]
    match rng.randrange(6):
        case 0:
            del parent[key]
            return "removed"
        case 1 if isinstance(parent[key], int | float):
            parent[key] = rng.choice(
                (parent[key] + 1, parent[key] - 1, -parent[key], 2 * parent[key])
            )
        case 2 if isinstance(parent, list):
            parent.insert(int(key), parent[int(key)])
        case 3:
            parent[key] = copy.deepcopy(_at(document, rng.choice(_paths(document))))
        case 4 if isinstance(parent, dict):
            parent[rng.choice(("x", "", "\x1b[2J", "sha256", "model"))] = parent.pop(key)
            return "renamed"
        case _:
            parent[key] = copy.deepcopy(rng.choice(_VALUES))
    return repr(parent[key] if not isinstance(parent, dict) or key in parent else None)[:80]


def _at(document: Any, path: Path) -> Any:
    for key in path:
        document = document[key]
    return document
