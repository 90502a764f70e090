"""The kinds of checkpoints that can be read, by the model_type of their config.json."""

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
    """The kind of checkpoint that a config.json says, and the network.

    Args:
        path: of the file, for messages.
        values: its fields.
        ignored: unknown fields that the user says change nothing.

    Raises:
        CheckpointError: another kind, or code of its own; fields that ask for what a Transformer
            has not, all at once; or a field to ignore that is known, or not there.
    """
    known = f"those that can: {', '.join(KNOWN)}"
    if "auto_map" in values:
        raise CheckpointError(
            f"{path}: expected a model that needs no code of its own, got the field auto_map, "
            f"which names Python files of the folder: they are never run; {known}"
        )
    kind = values.get("model_type")
    if not isinstance(kind, str) or kind not in KNOWN:
        raise CheckpointError(f"{path}: model_type {shown(kind)} cannot be read; {known}")
    try:
        fields = Fields(path, values, ignored)
        fields.skip_general()
        return KNOWN[kind], KNOWN[kind].read(fields)
    except InvalidInput as error:
        raise CheckpointError(f"{path}: {error}") from error
