"""What a folder says of text: its tokenizer, the token that starts one, those that end one."""

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
"""In the order in which they are looked for."""
_UNREAD = (
    ("tokenizer.model",),
    ("spiece.model",),
    ("vocab.json", "merges.txt"),
    ("vocab.json",),
    ("vocab.txt",),
)
"""Files of tokenizers that transformers opens, and from which it can write a tokenizer.json."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """Token ids that a folder names.

    Attributes:
        ids: those that the vocabulary has.
        reason: why there are none, or fewer than the folder names; empty otherwise.
    """

    ids: tuple[int, ...]
    reason: str = ""


def read_tokenizer(folder: Path, levels: int) -> tuple[TokenizerKind | None, dict[str, bytes]]:
    """The kind of a folder's tokenizer and its file by its name; None where there is none.

    A vocab.txt of pieces of words (WordPiece) is none: alone it does not say how words are cut.

    Raises:
        CheckpointError: the file is not sound, or has ids beyond the vocabulary.
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
    """What a folder without a tokenizer that can be read has instead; empty where it has none."""
    for names in _UNREAD:
        if all((folder / name).is_file() for name in names):
            return (
                f"values are ids: the folder has {' and '.join(names)}, which are not read; "
                f"AutoTokenizer.from_pretrained({str(folder)!r}, use_fast=True)"
                f".save_pretrained({str(folder)!r}) of transformers writes the tokenizer.json "
                f"that is"
            )
    return ""


def start_token(
    folder: Path, values: Mapping[str, Any], default: int | None, levels: int
) -> Tokens:
    """The token that starts a text: bos_token_id, where the vocabulary and the tokenizer have it.

    Args:
        folder: of the checkpoint.
        values: of its config.json.
        default: where config.json says nothing.
        levels: of the vocabulary.

    Raises:
        CheckpointError: the tokenizer's settings are no JSON object, or the id is none.
    """
    settings = folder / _TOKENIZER_CONFIG
    if settings.is_file():
        told = read_object(settings, "the settings of a tokenizer", _LONGEST)
        if "bos_token" in told and told["bos_token"] is None:
            return Tokens((), f"{_TOKENIZER_CONFIG} has bos_token null")
    token = values.get("bos_token_id", default)
    return _tokens(folder / "config.json", "bos_token_id", token, levels)


def stop_tokens(
    folder: Path, values: Mapping[str, Any], default: int | None, levels: int
) -> Tokens:
    """The tokens that end a text: eos_token_id of generation_config.json, else of config.json.

    Ids beyond the vocabulary are left out: no position can be one.

    Raises:
        CheckpointError: a file is no JSON object, or the ids are none.
    """
    path, told = folder / "config.json", values.get("eos_token_id", default)
    generation = folder / _GENERATION_CONFIG
    if generation.is_file():
        settings = read_object(generation, "the settings of text generation", _LONGEST)
        if settings.get("eos_token_id") is not None:
            path, told = generation, settings["eos_token_id"]
    return _tokens(path, "eos_token_id", told, levels)


def text_notes(start: Tokens | None, stop: Tokens) -> list[str]:
    """Why a text has no start or no end, or fewer ends than the folder names.

    Args:
        start: as the folder names it; None where the user chose.
        stop: as the folder names them.
    """
    notes = []
    if start is not None and not start.ids:
        notes.append(f"no start token: {start.reason}: --start ID chooses one")
    if stop.reason:
        none = "" if stop.ids else "no stop token: "
        ask = "" if stop.ids else ": --stop when sampling"
        notes.append(f"{none}{stop.reason}{ask}")
    return notes


def _tokens(path: Path, name: str, told: Any, levels: int) -> Tokens:
    """One id, several, or none, each once, those that the vocabulary has."""
    ids = told if isinstance(told, list) else [] if told is None else [told]
    if not all(type(each) is int for each in ids):
        raise CheckpointError(f"{path}: {name}: expected token ids, got {shown(told)}")
    distinct = tuple(dict.fromkeys(ids))
    kept = tuple(each for each in distinct if 0 <= each < levels)
    if not ids:
        return Tokens((), f"{path.name} has no {name}")
    beyond = [each for each in distinct if each not in kept]
    if not beyond:
        return Tokens(kept)
    several = f"s {shown(beyond)[1:-1]} are" if len(beyond) > 1 else f" {shown(beyond[0])} is"
    return Tokens(kept, f"{name}{several} beyond the vocabulary of {levels}")
