"""What a folder specifies about text: its tokenizer, start token and stop tokens."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ancestral.arrays import shown
from ancestral.errors import CheckpointError, InvalidInput
from ancestral.text.kinds import check_tokenizer
from ancestral.text.tokenizer import TOKENIZER_FILES, TokenizerKind
from ancestral.train.hugging_face.json_object import read_file, read_object

_TOKENIZER_CONFIG, _GENERATION_CONFIG = "tokenizer_config.json", "generation_config.json"
_LONGEST, _LONGEST_TOKENIZER = 2**26, 2**28
_KINDS: tuple[TokenizerKind, ...] = ("tokenizers", "words")
"""Kinds of tokenizers, in the order in which their files are looked for."""
_UNREAD = (
    ("tokenizer.model",),
    ("spiece.model",),
    ("vocab.json", "merges.txt"),
    ("vocab.json",),
    ("vocab.txt",),
)
"""Tokenizer files that are not read, but from which transformers can write a tokenizer.json."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """Token ids that a folder specifies.

    Attributes:
        ids: ids that are in the vocabulary.
        reason: why there are no ids, or fewer than the folder specifies; empty otherwise.
    """

    ids: tuple[int, ...]
    reason: str = ""


def read_tokenizer(folder: Path, levels: int) -> tuple[TokenizerKind | None, dict[str, bytes]]:
    """Return the kind of a folder's tokenizer, and its file by name; (None, {}) if there is none.

    A vocab.txt of word pieces (WordPiece) is not used, since it does not say how words are split.

    Raises:
        CheckpointError: the file is not a valid tokenizer, or has ids beyond the vocabulary.
    """
    for kind in _KINDS:
        path = folder / TOKENIZER_FILES[kind]
        if not path.is_file():
            continue
        content = read_file(path, "a tokenizer", _LONGEST_TOKENIZER)
        if kind == "words" and any(line.startswith(b"##") for line in content.splitlines()):
            continue
        try:
            check_tokenizer(kind, content, levels)
        except InvalidInput as error:
            raise CheckpointError(f"{folder}: {error}") from error
        return kind, {path.name: content}
    return None, {}


def unread_tokenizer(folder: Path) -> str:
    """Return a note about tokenizer files that are not supported; empty if there are none."""
    for names in _UNREAD:
        if all((folder / name).is_file() for name in names):
            return (
                f"values are ids: the folder has {' and '.join(names)}, which cannot be read; "
                f"write a tokenizer.json with AutoTokenizer.from_pretrained({str(folder)!r}, "
                f"use_fast=True).save_pretrained({str(folder)!r}) of transformers"
            )
    return ""


def start_token(
    folder: Path, values: Mapping[str, Any], default: int | None, levels: int
) -> Tokens:
    """Return the start token: bos_token_id, if the vocabulary and the tokenizer have it.

    Args:
        folder: path of the checkpoint.
        values: fields of its config.json.
        default: id if config.json has no such field.
        levels: size of the vocabulary.

    Raises:
        CheckpointError: tokenizer_config.json is not a JSON object, or the id is not an integer.
    """
    settings = folder / _TOKENIZER_CONFIG
    if settings.is_file():
        config = read_object(settings, "the settings of a tokenizer", _LONGEST)
        if "bos_token" in config and config["bos_token"] is None:
            return Tokens((), f"{_TOKENIZER_CONFIG} has bos_token null")
    token = values.get("bos_token_id", default)
    return _tokens(folder / "config.json", "bos_token_id", token, levels)


def stop_tokens(
    folder: Path, values: Mapping[str, Any], default: int | None, levels: int
) -> Tokens:
    """Return the stop tokens: eos_token_id of generation_config.json, otherwise of config.json.

    Ids beyond the vocabulary are left out, since no position can have them.

    Raises:
        CheckpointError: a file is not a JSON object, or an id is not an integer.
    """
    path, ids = folder / "config.json", values.get("eos_token_id", default)
    generation = folder / _GENERATION_CONFIG
    if generation.is_file():
        settings = read_object(generation, "the settings of text generation", _LONGEST)
        if settings.get("eos_token_id") is not None:
            path, ids = generation, settings["eos_token_id"]
    return _tokens(path, "eos_token_id", ids, levels)


def text_notes(start: Tokens | None, stop: Tokens) -> list[str]:
    """Return notes on why a text has no start or stop token, or fewer than the folder specifies.

    Args:
        start: start token of the folder; None if the user chose one.
        stop: stop tokens of the folder.
    """
    notes = []
    if start is not None and not start.ids:
        notes.append(f"no start token: {start.reason}; pass --start ID to choose one")
    if stop.reason:
        none = "" if stop.ids else "no stop token: "
        ask = "" if stop.ids else "; pass --stop when sampling"
        notes.append(f"{none}{stop.reason}{ask}")
    return notes


def _tokens(path: Path, name: str, value: Any, levels: int) -> Tokens:
    """Return the distinct ids of a field, which may be one id, a list or null."""
    ids = value if isinstance(value, list) else [] if value is None else [value]
    if not all(type(each) is int for each in ids):
        raise CheckpointError(
            f"{path}: {name}: expected token ids, got {shown(value)}; download the folder again"
        )
    distinct = tuple(dict.fromkeys(ids))
    kept = tuple(each for each in distinct if 0 <= each < levels)
    if not ids:
        return Tokens((), f"{path.name} has no {name}")
    beyond = [each for each in distinct if each not in kept]
    if not beyond:
        return Tokens(kept)
    several = f"s {shown(beyond)[1:-1]} are" if len(beyond) > 1 else f" {shown(beyond[0])} is"
    return Tokens(kept, f"{name}{several} beyond the vocabulary of {levels}")
