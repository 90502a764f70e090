"""The prompts of a job: ids, in a file of the job's folder that is named by its hash."""

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from ancestral.arrays import shown
from ancestral.bulk.store import Store
from ancestral.errors import InvalidInput
from ancestral.strict_json import Bounds, parse

_BOUNDS = Bounds.of_size(2**30)
"""Bounds on the file of prompts."""


def prompts_content(prompts: Sequence[Sequence[int]]) -> tuple[bytes, str]:
    """Return the content of the file of prompts, and its SHA-256.

    Args:
        prompts: ids of each prompt.
    """
    content = json.dumps([list(map(int, ids)) for ids in prompts], separators=(",", ":")).encode()
    return content, hashlib.sha256(content).hexdigest()


def write_prompts(store: Store, prompts: Sequence[Sequence[int]]) -> str:
    """Write the prompts of a job, and return their SHA-256.

    Raises:
        OSError: the file could not be written.
    """
    content, digest = prompts_content(prompts)
    if store.read(_name(digest)) != content:
        store.put(_name(digest), content)
    return digest


def read_prompts(store: Store, digest: str) -> list[list[int]]:
    """Return the ids of each prompt of a job.

    Raises:
        InvalidInput: the file is missing or damaged.
        OSError: it cannot be read.
    """
    place = store.shown(_name(digest))
    content = store.read(_name(digest))
    if content is None:
        raise InvalidInput(f"{place}: no such file; run the command that made the job again")
    if hashlib.sha256(content).hexdigest() != digest:
        raise InvalidInput(
            f"{place}: altered (its SHA-256 does not match); run the command that made the job "
            f"again"
        )
    found: Any = parse(content, _BOUNDS)
    if not isinstance(found, list):
        raise InvalidInput(f"{place}: expected lists of ids, got {shown(found)}")
    return found


def _name(digest: str) -> str:
    return f"prompts-{digest[:12]}.json"
