"""A trained model as a folder: weights.safetensors, split.safetensors and config.json."""

import contextlib
import hashlib
import json
import platform
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
import safetensors.numpy
import safetensors.torch
import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from torch import Tensor

from ancestral.arrays import shown
from ancestral.bundles.hashes import Fingerprint, fingerprint
from ancestral.dataspec import DataSpec
from ancestral.errors import CheckpointError, InvalidInput
from ancestral.excerpts import cut, problems_of, report
from ancestral.files.atomic import write_together
from ancestral.files.renames import finish_renames
from ancestral.files.temporary import temporaries
from ancestral.train.data.dataset import Split
from ancestral.train.hugging_face.json_object import object_of, read_file
from ancestral.train.hugging_face.safetensors_file import SafetensorsFile
from ancestral.train.models.families import (
    Model,
    config_from_json,
    family_of,
    model_config,
)
from ancestral.train.skeleton import check_weights, skeleton

FORMAT, VERSION = "ancestral checkpoint", 1
WEIGHTS, SPLIT, CONFIG = "weights.safetensors", "split.safetensors", "config.json"
_TRIES, _PAUSE = 5, 0.1
"""How often, and after how many seconds, files that are being replaced are read again."""
_WHAT = "a file of a checkpoint"
_LONGEST_CONFIG = 2**24


class Summary(BaseModel):
    """How a training run went.

    Attributes:
        recipe: its name.
        seed: of the run.
        steps: taken, fewer than planned where it stopped early.
        best_step: whose weights are kept: best on validation.
        validation_bits: bits/dim of p(x | y) on validation at that step.
        train_bits: bits/dim of the training batches before that step, dropout and all.
        seconds: of training, interruptions left out.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    recipe: str
    seed: int
    steps: int
    best_step: int
    validation_bits: float
    train_bits: float
    seconds: float


class CheckpointConfig(BaseModel):
    """The content of config.json.

    Attributes:
        format: tells a checkpoint from other folders with a config.json.
        version: of the format.
        family: of the model: which class reads `model`.
        model: the model's configuration.
        data: the space of events.
        training: the training configuration; None where the model was not trained here.
        summary: how training went, likewise.
        log_prior: log p(y) of each class in the training part; None where there are no labels.
        versions: of the packages that wrote it.
        files: SHA-256 of the other files.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["ancestral checkpoint"] = "ancestral checkpoint"
    version: Literal[1] = 1
    family: str
    model: dict[str, Any]
    data: DataSpec
    training: dict[str, Any] | None = None
    summary: Summary | None = None
    log_prior: tuple[float, ...] | None = None
    versions: dict[str, str]
    files: dict[str, str]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What stands beside the weights: config.json, and which events were used for what."""

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
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in _tensors(model).items()}
    contents = {WEIGHTS: safetensors.torch.save(state)}
    if split is not None:
        contents[SPLIT] = safetensors.numpy.save(
            {part: np.ascontiguousarray(index) for part, index in _indices(split).items()}
        )
    config = CheckpointConfig(
        family=family_of(model),
        model=model_config(model),
        data=model.data,
        training=training,
        summary=summary,
        log_prior=log_prior,
        versions=_versions(),
        files={name: hashlib.sha256(data).hexdigest() for name, data in contents.items()},
    )
    body = config.model_dump(mode="json")
    contents[CONFIG] = json.dumps(body | {"sha256": _digest(body)}, indent=2).encode()
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
    config = _read_config(folder)
    unknown = sorted(config.files.keys() - {WEIGHTS, SPLIT})
    if unknown:
        raise CheckpointError(f"{folder}: config.json names an unknown file {shown(unknown[0])}")
    if WEIGHTS not in config.files:
        raise CheckpointError(f"{folder}: config.json names no {WEIGHTS}; train again")
    model = _unfilled(folder, config)
    contents = {}
    for name, expected in config.files.items():
        contents[name] = _read(folder / name)
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


def _unfilled(folder: Path, config: CheckpointConfig) -> Model:
    """The model without its weights, whose header is what the configuration asks for.

    Raises:
        CheckpointError: it is not.
    """
    headers = SafetensorsFile(folder / WEIGHTS).headers
    try:
        model = skeleton(config_from_json(config.family, config.model), config.data, headers)
        check_weights(model, headers)
    except InvalidInput as error:
        raise CheckpointError(f"{folder}: the model does not fit its config: {error}") from error
    return model


def _read(path: Path) -> bytes:
    try:
        return read_file(path, _WHAT, path.stat().st_size)
    except OSError as error:
        raise CheckpointError(f"{path}: expected {_WHAT}, got: {error.strerror}") from error
    except MemoryError as error:
        raise CheckpointError(f"{path}: expected {_WHAT}, got one beyond all memory") from error


def _read_config(folder: Path) -> CheckpointConfig:
    path = folder / CONFIG
    body = object_of(read_file(path, _WHAT, _LONGEST_CONFIG), path)
    if body.get("format") != FORMAT:
        raise CheckpointError(
            f"{path}: expected the field format to be {FORMAT!r}; this is another program's config"
        )
    if body.get("version") != VERSION:
        raise CheckpointError(
            f"{path}: expected format version {VERSION}, got {shown(body.get('version'))}; "
            f"a later ancestral wrote it: update this one"
        )
    expected = body.pop("sha256", None)
    if _digest(body) != expected:
        raise CheckpointError(
            f"{path}: the file was altered (its SHA-256 does not fit); train again"
        )
    try:
        return CheckpointConfig.model_validate(body)
    except ValidationError as error:
        what = f"{path}: not the config of a checkpoint"
        raise CheckpointError(report(what, problems_of(error))) from error


def _read_split(data: bytes) -> Split:
    """The indices of a file.

    Raises:
        InvalidInput: they are none.
        SafetensorError: the file holds none.
    """
    indices = safetensors.torch.load(data)
    parts = ("train", "validation", "test")
    if indices.keys() != set(parts) or not all(
        each.dtype == torch.int64 and each.ndim == 1 for each in indices.values()
    ):
        raise InvalidInput(f"{SPLIT}: expected whole numbers [n] by the names {parts}")
    return Split(*(indices[part].numpy() for part in parts))


def _tensors(model: Model) -> dict[str, Tensor]:
    return dict(model.state_dict())


def _indices(split: Split) -> dict[str, np.ndarray[Any, np.dtype[np.int64]]]:
    return {"train": split.train, "validation": split.validation, "test": split.test}


def _digest(body: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def _versions() -> dict[str, str]:
    packages = ("ancestral", "torch", "numpy", "safetensors")
    return {name: version(name) for name in packages} | {"python": platform.python_version()}
