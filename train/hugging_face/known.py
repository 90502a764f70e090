"""The kinds of checkpoints that can be read, by the model_type of their config.json."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from ancestral.arrays import shown
from ancestral.errors import CheckpointError, InvalidInput
from ancestral.train.hugging_face.architecture import Architecture, Network
from ancestral.train.hugging_face.fields import Fields
from ancestral.train.hugging_face.gpt2 import GPT2
from ancestral.train.hugging_face.gpt_neox import GPT_NEOX
from ancestral.train.hugging_face.imagegpt import IMAGEGPT
from ancestral.train.hugging_face.llama import llama_like

KNOWN = ("gpt2", "imagegpt", "llama", "mistral", "qwen2", "qwen3", "gpt_neox")


def find(path: Path, values: Mapping[str, Any]) -> Architecture:
    """The kind that a config.json says.

    Args:
        path: of the file, for messages.
        values: its fields.

    Raises:
        CheckpointError: another kind, or code of its own.
    """
    if "auto_map" in values:
        raise CheckpointError(
            f"{path}: expected a model that needs no code of its own, got the field auto_map, "
            f"which names Python files of the folder: they are never run; {_known()}"
        )
    match values.get("model_type"):
        case "gpt2":
            return GPT2
        case "imagegpt":
            return IMAGEGPT
        case "gpt_neox":
            return GPT_NEOX
        case "llama" | "mistral" | "qwen2" | "qwen3" as kind:
            return llama_like(kind)
        case other:
            raise CheckpointError(f"{path}: model_type {shown(other)} cannot be read; {_known()}")


def network_of(
    path: Path,
    values: Mapping[str, Any],
    architecture: Architecture,
    ignored: Collection[str] = (),
) -> Network:
    """What a config.json says.

    Args:
        path: of the file, for messages.
        values: its fields.
        architecture: which kind it is.
        ignored: unknown fields that the user says change nothing.

    Raises:
        CheckpointError: fields that ask for what a Transformer has not, all at once; or a field to
            ignore that is known, or not there.
    """
    try:
        return architecture.read(Fields(path, values, ignored))
    except InvalidInput as error:
        raise CheckpointError(f"{path}: {error}") from error


def _known() -> str:
    return f"those that can: {', '.join(KNOWN)}"
