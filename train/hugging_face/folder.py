"""Read a checkpoint folder of Hugging Face transformers without transformers.

The files are config.json, model.safetensors or pytorch_model.bin, each whole or in parts, and those
of the tokenizer. No code of a folder is run, and nothing is downloaded.
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
"""Default limit on the positions of an event, since caches are as long as events."""
MOST_POSITIONS = 2**20
"""Largest number of positions of an event."""
_WHAT = "the config.json of a checkpoint"


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model that was read from a folder.

    Attributes:
        model: model in float32 and evaluation mode, on the CPU.
        files: contents of the files that belong in a bundle, by name, such as tokenizer.json.
        context: number of positions that the model was made for; its events may have fewer.
        kind: model_type of config.json.
        notes: what the folder lacks or could not be used, and what to do about it.
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
    """Load the model of a folder; every tensor must be accounted for.

    Memory holds the model and one more tensor at a time.

    Args:
        folder: path of a folder with config.json and weights.
        length: number of positions of an event; None means the model's context, but at most 4096.
        start: id of the token before each text. With None there is no such token: the first value
            must be observed, and log p(x_2.. | x_1) is reported. "auto" means the bos_token_id of
            config.json, or the architecture's default if the field is missing; None if the id is
            null or beyond the vocabulary, or if the tokenizer has no start token.
        ignored: unknown fields of config.json that do not change what the model computes.

    Raises:
        CheckpointError: the architecture, a field, a tensor or the tokenizer is not supported or
            does not fit (the message lists all such fields, or tensors); a file is missing,
            truncated or altered; a pickle has anything but tensors; or the model needs code of its
            own.
        InvalidInput: `length` or `start` does not suit the model.
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
    """Return the shape of a sequence of this length, or of an image."""
    context = network.context
    if network.image is not None:
        if length not in (None, context):
            raise InvalidInput(
                f"length: expected {context}, the number of positions of an image, got {length}; "
                f"leave it out"
            )
        return network.image
    if length is None:
        return (min(context, LONGEST),)
    if length > MOST_POSITIONS:
        raise InvalidInput(
            f"length: expected at most {MOST_POSITIONS} positions, since caches are as long, got "
            f"{length}"
        )
    if not 1 <= length <= context:
        raise InvalidInput(f"length: expected 1 .. {context}, the model's context, got {length}")
    return (length,)


def _start(network: Network, requested: int | Literal["auto"] | None, automatic: Tokens) -> Start:
    """Return the start symbol: as requested, unless the model has its own."""
    own = network.config.start
    if own == "learned":
        if requested != "auto":
            raise InvalidInput(
                f"start: expected 'auto' for a model with its own start symbol, got {requested}; "
                f"leave it out"
            )
        return own
    if requested == "auto":
        return next(iter(automatic.ids), None)
    if requested is not None and not 0 <= requested < network.levels:
        raise InvalidInput(
            f"start: expected a token id in 0 .. {network.levels - 1}, or none, got {requested}"
        )
    return requested


def _load(
    tensors: Tensors, architecture: Architecture, network: Network, data: DataSpec
) -> Transformer:
    """Build the model with the folder's weights.

    Raises:
        CheckpointError: tensors do not fit; the message lists them.
    """
    if network.config.layers > len(tensors.headers):
        raise CheckpointError(
            f"{tensors.source.with_name(CONFIG)}: {network.config.layers} layers, but "
            f"{tensors.source.name} has only {len(tensors.headers)} tensors; download the folder "
            f"again"
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
    # A tied output map may be stored as well as the embedding.
    if network.config.tied and head in found and embedding in found:
        del found[head]
        if not torch.equal(tensors.read(embedding), tensors.read(head)):
            untied.append(
                f"{head}: expected the numbers of {embedding}, since tie_word_embeddings is true, "
                f"got others"
            )
    expected = {name: (shape,) for entry in entries for name, shape in entry.stored.items()}
    problems = differences(found, expected) + untied
    if problems:
        raise CheckpointError(
            report(
                f"{tensors.source}: the tensors do not fit {CONFIG}; download the folder again",
                problems,
            )
        )
    with torch.device("meta"):
        model = Transformer(network.config, data)
    state = _assembled(tensors, entries)
    if network.config.positions == "rotary":
        # No file stores these tables.
        state |= tables(data.length, network.config)
    model.load_state_dict(state, assign=True)
    return model.eval()


def _assembled(tensors: Tensors, entries: list[Entry]) -> dict[str, Tensor]:
    """Assemble our tensors, by name; each stored tensor is released after its last use."""
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
