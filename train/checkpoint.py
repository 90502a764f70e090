"""A trained model as a folder: weights.safetensors, split.safetensors and config.json."""

import contextlib
import hashlib
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from ancestral.arrays import shown
from ancestral.bundles.hashes import Fingerprint, fingerprint
from ancestral.errors import CheckpointError, InvalidInput
from ancestral.excerpts import cut
from ancestral.files.atomic import write_together
from ancestral.files.renames import finish_renames
from ancestral.files.temporary import temporaries
from ancestral.train.checkpoint_config import (
    CONFIG,
    WHAT,
    CheckpointConfig,
    Summary,
    package_versions,
    read_config,
)
from ancestral.train.data.dataset import PARTS, Split
from ancestral.train.hugging_face.json_object import read_file
from ancestral.train.hugging_face.tensor_files import SafetensorsFile
from ancestral.train.models.families import Model, config_from_json, family_of, model_config
from ancestral.train.stored_model import check_weights, skeleton

WEIGHTS, SPLIT = "weights.safetensors", "split.safetensors"
PRIOR = "prior"
"""Folder, inside a checkpoint of a model over codes, of the checkpoint of its prior."""
_LONGEST = 2**48
_TRIES, _PAUSE = 5, 0.1
"""How often, and after how many seconds, files that are being replaced are read again."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a folder holds but the weights: config.json, and which events were used for what."""

    config: CheckpointConfig
    split: Split | None


def save_checkpoint(
    path: str | Path,
    model: Model,
    *,
    split: Split | None = None,
    training: dict[str, Any] | None = None,
    summary: Summary | None = None,
    log_prior: tuple[float, ...] | None = None,
) -> None:
    """Write a checkpoint folder; an old one of that name stays whole where the disk fills.

    The three files are on disk before the first takes its name, config.json last: it holds the
    hashes of the others, so that files of two checkpoints are never read as one. Where the process
    is killed between two names, `load_checkpoint` finishes the change.

    Args:
        path: of the folder.
        model: its weights are saved as they are.
        split: which events were used for what.
        training: the training configuration.
        summary: how training went.
        log_prior: log p(y) of each class.

    Raises:
        OSError: it could not be written.
    """
    folder = Path(path)
    tensors: dict[str, Tensor] = dict(model.state_dict())
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    contents = {WEIGHTS: safetensors.torch.save(state)}
    if split is not None:
        indices = {part: np.ascontiguousarray(getattr(split, part)) for part in PARTS}
        contents[SPLIT] = safetensors.numpy.save(indices)
    config = CheckpointConfig(
        family=family_of(model),
        model=model_config(model),
        data=model.data,
        training=training,
        summary=summary,
        log_prior=log_prior,
        versions=package_versions(),
        files={name: hashlib.sha256(data).hexdigest() for name, data in contents.items()},
    )
    contents[CONFIG] = config.encoded()
    write_together({folder / name: data for name, data in contents.items()})


def load_checkpoint(path: str | Path) -> tuple[Model, Checkpoint]:
    """The model, in evaluation mode on the CPU, and what stands beside its weights.

    Nothing is unpickled, and the global random generator is left alone. The header of the weights
    is compared with the configuration before a model is built, or the weights are read.

    Raises:
        CheckpointError: a file is missing, truncated or altered, the folder is something else, or a
            later version wrote it; or the configuration is not that of the weights.
    """
    folder = Path(path)
    for _ in range(_TRIES):
        before = _stamp(folder)
        try:
            return _load(folder)
        except CheckpointError:
            # Another process may be replacing the files, or have done so between two reads.
            if _stamp(folder) == before and not any(temporaries(folder, "renames")):
                raise
            time.sleep(_PAUSE)
    return _load(folder)


def _load(folder: Path) -> tuple[Model, Checkpoint]:
    """The checkpoint as it is now; errors as of `load_checkpoint`."""
    finish_renames(folder)
    config = read_config(folder)
    unknown = sorted(config.files.keys() - {WEIGHTS, SPLIT})
    if unknown:
        raise CheckpointError(f"{folder}: config.json names an unknown file {shown(unknown[0])}")
    if WEIGHTS not in config.files:
        raise CheckpointError(f"{folder}: config.json names no {WEIGHTS}; train again")
    headers = SafetensorsFile(folder / WEIGHTS).headers
    try:
        model = skeleton(config_from_json(config.family, config.model), config.data, headers)
        check_weights(model, headers)
    except InvalidInput as error:
        raise CheckpointError(f"{folder}: the model does not fit its config: {error}") from error
    contents = {}
    for name, expected in config.files.items():
        contents[name] = read_file(folder / name, WHAT, _LONGEST)
        got = hashlib.sha256(contents[name]).hexdigest()
        if got != expected:
            raise CheckpointError(
                f"{folder / name}: expected SHA-256 {cut(expected, 64)}, got {got}; the file was "
                f"altered or cut short: train again, or resume the run that wrote it"
            )
    try:
        model.load_state_dict(safetensors.torch.load(contents[WEIGHTS]), assign=True)
        split = _read_split(contents[SPLIT]) if SPLIT in contents else None
    except (InvalidInput, SafetensorError, RuntimeError) as error:
        raise CheckpointError(
            f"{folder}: the files do not fit the config: {cut(str(error))}"
        ) from error
    return model, Checkpoint(config, split)


def _stamp(folder: Path) -> list[Fingerprint]:
    """What changes where a checkpoint is replaced: the fingerprints of its files."""
    found = []
    for name in (WEIGHTS, SPLIT, CONFIG):
        with contextlib.suppress(OSError):
            found.append(fingerprint((folder / name).stat()))
    return found


def _read_split(data: bytes) -> Split:
    """The indices of a file.

    Raises:
        InvalidInput: they are none.
        SafetensorError: the file holds none.
    """
    indices = safetensors.torch.load(data)
    if indices.keys() != set(PARTS) or not all(
        each.dtype == torch.int64 and each.ndim == 1 for each in indices.values()
    ):
        raise InvalidInput(f"{SPLIT}: expected whole numbers [n] by the names {PARTS}")
    return Split(*(indices[part].numpy() for part in PARTS))
