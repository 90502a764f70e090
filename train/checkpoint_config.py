"""The config.json of a checkpoint: the model, how it was trained, and hashes of the other files."""

import hashlib
import json
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from ancestral.arrays import shown
from ancestral.dataspec import DataSpec
from ancestral.errors import CheckpointError
from ancestral.excerpts import problems_of, report
from ancestral.signature import Record
from ancestral.train.hugging_face.json_object import read_object

FORMAT, VERSION = "ancestral checkpoint", 1
CONFIG = "config.json"
WHAT = "a file of a checkpoint"
_LONGEST = 2**24


class Summary(Record):
    """Summary of a training run.

    Attributes:
        recipe: name of the recipe.
        seed: seed of the run.
        steps: number of steps taken; fewer than planned if the run stopped early.
        best_step: step whose weights are saved, the best on validation.
        validation_bits: bits/dim on validation at that step; see `Evaluation`.
        train_bits: bits/dim of the training batches before that step, with dropout.
        seconds: seconds of training, without interruptions.
    """

    recipe: str
    seed: int
    steps: int
    best_step: int
    validation_bits: float
    train_bits: float
    seconds: float


class CheckpointConfig(Record):
    """The content of config.json.

    Attributes:
        format: name of the format, which distinguishes a checkpoint from other folders with a
            config.json.
        version: version of the format.
        family: family of the model, which determines how `model` is read.
        model: configuration of the model.
        data: space of the events.
        training: training configuration; None if the model was not trained by `train`.
        summary: summary of the training run; None likewise.
        log_prior: log p(y) of each class in the training part, in nats; None for data without
            labels.
        versions: versions of the packages that wrote the checkpoint, by name.
        files: SHA-256 of the other files, by name.
    """

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

    def encoded(self) -> bytes:
        """Return the content of config.json as bytes, with its own hash."""
        body = self.model_dump(mode="json")
        return json.dumps(body | {"sha256": _digest(body)}, indent=2).encode()


def read_config(folder: Path) -> CheckpointConfig:
    """Read the config.json of a checkpoint folder.

    Raises:
        CheckpointError: the file is missing or altered, or belongs to another program or version.
    """
    path = folder / CONFIG
    body = read_object(path, WHAT, _LONGEST)
    if body.get("format") != FORMAT:
        raise CheckpointError(
            f"{path}: format: expected {FORMAT!r}, got {shown(body.get('format'))}; pass a folder "
            f"that `ancestral train` wrote"
        )
    if body.get("version") != VERSION:
        raise CheckpointError(
            f"{path}: version: expected {VERSION}, got {shown(body.get('version'))}; update "
            f"ancestral if a newer one wrote this file: pip install --upgrade ancestral"
        )
    expected = body.pop("sha256", None)
    if _digest(body) != expected:
        raise CheckpointError(
            f"{path}: altered or truncated (its SHA-256 does not match); train again"
        )
    try:
        return CheckpointConfig.model_validate(body)
    except ValidationError as error:
        what = (
            f"{path}: not the configuration of a checkpoint; pass a folder that `ancestral train` "
            f"wrote"
        )
        raise CheckpointError(report(what, problems_of(error))) from error


def package_versions() -> dict[str, str]:
    """Return the versions of the packages that write a checkpoint."""
    packages = ("ancestral", "torch", "numpy", "safetensors")
    return {name: version(name) for name in packages} | {"python": platform.python_version()}


def _digest(body: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
