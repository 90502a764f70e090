"""Checkpoint folders of trained models: config.json, and the files whose hashes it has."""

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
from pydantic import ValidationError
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
from ancestral.train.data.source_record import SourceRecord
from ancestral.train.hugging_face.json_object import read_file
from ancestral.train.hugging_face.tensor_files import SafetensorsFile
from ancestral.train.models.families import Model, config_from_json, family_of, model_config
from ancestral.train.stored_model import check_weights, skeleton

WEIGHTS, SPLIT, SOURCE = "weights.safetensors", "split.safetensors", "source.json"
PRIOR = "prior"
"""Subfolder with the checkpoint of the prior, in the checkpoint of a model over codes."""
_LONGEST, _LONGEST_SOURCE = 2**48, 2**24
_TRIES, _PAUSE = 5, 0.1
"""How often files that are being replaced are read again, and the seconds between two tries."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The content of a checkpoint folder except for the weights.

    Attributes:
        config: content of config.json.
        split: the events of each part of the data; None if the checkpoint has no split.
        source: record of the files that the data were made of; None for data without one.
    """

    config: CheckpointConfig
    split: Split | None
    source: SourceRecord | None = None


def save_checkpoint(
    path: str | Path,
    model: Model,
    *,
    split: Split | None = None,
    source: SourceRecord | None = None,
    training: dict[str, Any] | None = None,
    summary: Summary | None = None,
    log_prior: tuple[float, ...] | None = None,
) -> None:
    """Write a checkpoint folder; an existing one is replaced as a whole, or kept if writing fails.

    All files are on disk before the first is renamed. config.json is renamed last: it holds the
    hashes of the others, so files of two checkpoints are never read as one. If the process is
    killed between two renames, `load_checkpoint` completes them.

    Args:
        path: path of the folder.
        model: model whose weights are saved.
        split: the events of each part of the data.
        source: record of the files that the data were made of.
        training: training configuration.
        summary: summary of the training run.
        log_prior: log p(y) of each class, in nats.

    Raises:
        OSError: a file cannot be written.
    """
    folder = Path(path)
    tensors: dict[str, Tensor] = dict(model.state_dict())
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    contents = {WEIGHTS: safetensors.torch.save(state)}
    if split is not None:
        indices = {part: np.ascontiguousarray(getattr(split, part)) for part in PARTS}
        contents[SPLIT] = safetensors.numpy.save(indices)
    if source is not None:
        contents[SOURCE] = source.model_dump_json(indent=1).encode()
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
    """Load the model and the configuration of a checkpoint folder.

    Nothing is unpickled, and the global random generator is not used. The header of the weights is
    compared with the configuration before the model is built and the weights are read.

    Args:
        path: path of a folder that `save_checkpoint` wrote.

    Returns:
        The model, in evaluation mode on the CPU, and the rest of the folder.

    Raises:
        CheckpointError: a file is missing, truncated or altered; the folder is not a checkpoint, or
            a later version wrote it; or the weights do not fit the configuration.
    """
    folder = Path(path)
    for _ in range(_TRIES):
        before = _stamp(folder)
        try:
            return _load(folder)
        except CheckpointError:
            # Another process may be replacing the files, or may have done so between two reads.
            if _stamp(folder) == before and not any(temporaries(folder, "renames")):
                raise
            time.sleep(_PAUSE)
    return _load(folder)


def _load(folder: Path) -> tuple[Model, Checkpoint]:
    """Load the checkpoint as it is now; the errors are those of `load_checkpoint`."""
    finish_renames(folder)
    config = read_config(folder)
    unknown = sorted(config.files.keys() - {WEIGHTS, SPLIT, SOURCE})
    if unknown:
        raise CheckpointError(
            f"{folder / CONFIG}: lists the unknown file {shown(unknown[0])}; update ancestral "
            f"(pip install --upgrade ancestral), or train again"
        )
    if WEIGHTS not in config.files:
        raise CheckpointError(f"{folder / CONFIG}: does not list {WEIGHTS}; train again")
    headers = SafetensorsFile(folder / WEIGHTS).headers
    try:
        model = skeleton(config_from_json(config.family, config.model), config.data, headers)
        check_weights(model, headers)
    except InvalidInput as error:
        raise CheckpointError(
            f"{folder}: the weights do not fit config.json; train again: {error}"
        ) from error
    contents = {}
    for name, expected in config.files.items():
        contents[name] = read_file(
            folder / name, WHAT, _LONGEST_SOURCE if name == SOURCE else _LONGEST
        )
        got = hashlib.sha256(contents[name]).hexdigest()
        if got != expected:
            raise CheckpointError(
                f"{folder / name}: altered or truncated (expected SHA-256 {cut(expected, 64)}, got "
                f"{got}); train again, or resume the run that wrote it"
            )
    try:
        model.load_state_dict(safetensors.torch.load(contents[WEIGHTS]), assign=True)
        split = _read_split(contents[SPLIT]) if SPLIT in contents else None
        source = None
        if SOURCE in contents:
            source = SourceRecord.model_validate_json(contents[SOURCE])
    except (InvalidInput, SafetensorError, RuntimeError, ValidationError) as error:
        raise CheckpointError(
            f"{folder}: the files do not fit config.json; train again: {cut(str(error))}"
        ) from error
    return model, Checkpoint(config, split, source)


def _stamp(folder: Path) -> list[Fingerprint]:
    """Return the fingerprints of the files, which change when a checkpoint is replaced."""
    found = []
    for name in (WEIGHTS, SPLIT, SOURCE, CONFIG):
        with contextlib.suppress(OSError):
            found.append(fingerprint((folder / name).stat()))
    return found


def _read_split(data: bytes) -> Split:
    """Return the split in the content of split.safetensors.

    Raises:
        InvalidInput: the arrays are not those of a split.
        SafetensorError: the content is not safetensors.
    """
    indices = safetensors.torch.load(data)
    if indices.keys() != set(PARTS) or not all(
        each.dtype == torch.int64 and each.ndim == 1 for each in indices.values()
    ):
        raise InvalidInput(f"{SPLIT}: expected int64 arrays of shape [n] with the names {PARTS}")
    return Split(*(indices[part].numpy() for part in PARTS))
