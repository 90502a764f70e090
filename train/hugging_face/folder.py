"""A checkpoint folder of Hugging Face transformers, read without it.

config.json, model.safetensors or pytorch_model.bin, in parts or whole, and the tokenizer's files.
No code of a folder is run, nothing is fetched.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from ancestral.dataspec import DataSpec, explained
from ancestral.errors import CheckpointError, InvalidInput
from ancestral.excerpts import report
from ancestral.train.hugging_face.architecture import Architecture, Network
from ancestral.train.hugging_face.foreign import refuse_adapter
from ancestral.train.hugging_face.imagegpt import read_palette
from ancestral.train.hugging_face.json_object import read_object
from ancestral.train.hugging_face.known import read_config
from ancestral.train.hugging_face.stored_tensors import Entry, Shape, assemble, differences
from ancestral.train.hugging_face.tensors import Tensors, open_tensors
from ancestral.train.hugging_face.text import (
    Tokens,
    read_tokenizer,
    start_token,
    stop_tokens,
    text_notes,
    unread_tokenizer,
)
from ancestral.train.models.block import tables
from ancestral.train.models.inputs import Start
from ancestral.train.models.transformer import Transformer

CONFIG = "config.json"
LONGEST = 4096
"""Positions of an event where none are asked for and the context is longer: caches are as long."""
MOST_POSITIONS = 2**20
"""Positions of an event that may be asked for."""
_WHAT = "the config.json of a checkpoint"


@dataclass(frozen=True, slots=True)
class Loaded:
    """What was read.

    Attributes:
        model: float32, in evaluation mode on the CPU.
        files: that belong in a bundle of it, by name: a tokenizer's.
        context: positions that it was made for; its events may have fewer.
        kind: model_type of its config.json.
        notes: what the folder lacks or names in vain, and what to do about it.
    """

    model: Transformer
    files: Mapping[str, bytes]
    context: int
    kind: str
    notes: tuple[str, ...] = ()


def load_hugging_face(
    folder: str | Path,
    *,
    length: int | None = None,
    start: int | Literal["auto"] | None = "auto",
    ignored: Collection[str] = (),
) -> Loaded:
    """The model of a folder, each tensor of it accounted for.

    Held in memory are the model and one tensor more.

    Args:
        folder: with config.json and weights.
        length: positions of an event; the model's context where None, but at most 4096.
        start: id of the token that stands before each text; None where there is none: x_0 must
            then be observed, and what is told is log p(x_2.. | x_1). "auto" is the bos_token_id of
            config.json, or none where that is none, beyond the vocabulary, or a token that the
            tokenizer does without.
        ignored: fields of config.json, unknown here, that do not change what the model computes.

    Raises:
        CheckpointError: an architecture, a field, a tensor or a tokenizer that does not fit, all
            fields or all tensors at once; a file that is missing, cut short or altered; a pickle
            that asks for more than tensors; code that the model would need.
        InvalidInput: a length or a start that the model cannot have.
    """
    folder = Path(folder)
    refuse_adapter(folder)
    path = folder / CONFIG
    values = read_object(path, _WHAT)
    architecture, network = read_config(path, values, ignored)
    tensors = open_tensors(folder)
    kind, files = read_tokenizer(folder, network.levels)
    stop = stop_tokens(folder, values, architecture.eos, network.levels)
    with explained(path, CheckpointError):
        data = DataSpec(
            name="text" if network.image is None else "images",
            event_shape=_event_shape(network, length),
            levels=network.levels,
            tokenizer=kind,
            stop=stop.ids,
            palette=None if network.image is None else read_palette(folder, network.levels),
        )
    automatic = start_token(folder, values, architecture.bos, network.levels)
    config = replace(network.config, start=_start(network, start, automatic))
    network = replace(network, config=config)
    notes = text_notes(automatic if start == "auto" else None, stop)
    unread = "" if kind is not None else unread_tokenizer(folder)
    return Loaded(
        model=_load(tensors, architecture, network, data),
        files=files,
        context=network.context,
        kind=values["model_type"],
        notes=() if config.start == "learned" else (*notes, *([unread] if unread else ())),
    )


def _event_shape(network: Network, length: int | None) -> Shape:
    """Of a sequence of so many positions, or of an image."""
    context = network.context
    if network.image is not None:
        if length not in (None, context):
            raise InvalidInput(
                f"length: expected none, for images keep their {context} positions, got {length}"
            )
        return network.image
    if length is None:
        return (min(context, LONGEST),)
    if length > MOST_POSITIONS:
        raise InvalidInput(
            f"length: expected at most {MOST_POSITIONS} positions, for caches are as long, "
            f"got {length}"
        )
    if not 1 <= length <= context:
        raise InvalidInput(f"length: expected 1 .. {context}, the model's context, got {length}")
    return (length,)


def _start(network: Network, asked: int | Literal["auto"] | None, automatic: Tokens) -> Start:
    """What stands before each event: as asked, but for a model with a symbol of its own."""
    own = network.config.start
    if own == "learned":
        if asked != "auto":
            raise InvalidInput(
                f"start: expected none given, for the model has its own, got {asked}"
            )
        return own
    if asked == "auto":
        return next(iter(automatic.ids), None)
    if asked is not None and not 0 <= asked < network.levels:
        raise InvalidInput(
            f"start: expected a token id in 0 .. {network.levels - 1}, or none, got {asked}"
        )
    return asked


def _load(
    tensors: Tensors, architecture: Architecture, network: Network, data: DataSpec
) -> Transformer:
    """The model with the folder's weights.

    Raises:
        CheckpointError: tensors that do not fit, all at once.
    """
    if network.config.layers > len(tensors.headers):
        raise CheckpointError(
            f"{tensors.source.with_name(CONFIG)}: expected no more layers than "
            f"{tensors.source.name} has tensors, which is {len(tensors.headers)}, "
            f"got {network.config.layers}; fetch the folder anew"
        )
    prefix, heads = architecture.prefix, architecture.heads
    if not any(name.startswith(prefix) for name in tensors.headers):
        prefix = ""
    head = next((head for head in heads if head in tensors.headers), heads[0])
    entries = architecture.entries(network, data.length, prefix, head)
    embedding = f"{prefix}{architecture.embedding}.weight"
    found = {
        name: header
        for name, header in tensors.headers.items()
        if not architecture.ignored.fullmatch(name.removeprefix(prefix))
    }
    untied = []
    # An output map may be stored beside the embedding that it is.
    if network.config.tied and head in found and embedding in found:
        del found[head]
        if not torch.equal(tensors.read(embedding), tensors.read(head)):
            untied.append(
                f"{head}: expected {embedding}, for tie_word_embeddings is true, got other numbers"
            )
    expected = {name: (shape,) for entry in entries for name, shape in entry.stored.items()}
    problems = differences(found, expected) + untied
    if problems:
        raise CheckpointError(report(f"{tensors.source}: not the tensors of {CONFIG}", problems))
    with torch.device("meta"):
        model = Transformer(network.config, data)
    state = _assembled(tensors, entries)
    if network.config.positions == "rotary":
        # Which no file holds.
        state |= tables(data.length, network.config)
    model.load_state_dict(state, assign=True)
    return model.eval()


def _assembled(tensors: Tensors, entries: list[Entry]) -> dict[str, Tensor]:
    """Our tensors by their names; a folder's are let go of after their last use."""
    last = {name: entry.ours for entry in entries for name in entry.stored}
    for name in tensors.headers.keys() - last.keys():
        tensors.forget(name)
    state = {}
    for entry in entries:
        state[entry.ours] = assemble(entry, tensors.read)
        for name in entry.stored:
            if last[name] == entry.ours:
                tensors.forget(name)
    return state
