"""The supported kinds of checkpoints, by the model_type of their config.json."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, get_args

from ancestral.arrays import shown
from ancestral.errors import CheckpointError, InvalidInput
from ancestral.train.hugging_face.architecture import Architecture, Network
from ancestral.train.hugging_face.fields import Fields
from ancestral.train.hugging_face.gpt2 import GPT2
from ancestral.train.hugging_face.gpt_neox import GPT_NEOX
from ancestral.train.hugging_face.imagegpt import IMAGEGPT
from ancestral.train.hugging_face.llama import Kind, llama_like

KNOWN: Mapping[str, Architecture] = {
    "gpt2": GPT2,
    "imagegpt": IMAGEGPT,
    **{kind: llama_like(kind) for kind in get_args(Kind)},
    "gpt_neox": GPT_NEOX,
}


def read_config(
    path: Path, values: Mapping[str, Any], ignored: Collection[str] = ()
) -> tuple[Architecture, Network]:
    """Return the architecture and the network that a config.json describes.

    Args:
        path: path of the file, for messages.
        values: fields of the file.
        ignored: unknown fields that do not change the model, as stated by the user.

    Raises:
        CheckpointError: the model_type is not supported, or needs Python code from the folder;
            fields are not supported (the message lists them all); or a field in `ignored` is not in
            config.json or cannot be ignored.
    """
    known = (
        f"use a model of type {', '.join(KNOWN)}, or export the model from Python "
        f"(docs/own-model.md)"
    )
    if "auto_map" in values:
        raise CheckpointError(
            f"{path}: the field auto_map names Python files of the folder, which are never run; "
            f"{known}"
        )
    kind = values.get("model_type")
    if not isinstance(kind, str) or kind not in KNOWN:
        raise CheckpointError(f"{path}: model_type {shown(kind)} is not supported; {known}")
    try:
        fields = Fields(path, values, ignored)
        fields.skip_general()
        return KNOWN[kind], KNOWN[kind].read(fields)
    except InvalidInput as error:
        raise CheckpointError(f"{path}: {error}") from error
