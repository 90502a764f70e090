"""config.json of a checkpoint: which model it is, how it was trained, hashes of the other files."""

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
        """The content of config.json, with its own hash."""
        body = self.model_dump(mode="json")
        return json.dumps(body | {"sha256": _digest(body)}, indent=2).encode()


def read_config(folder: Path) -> CheckpointConfig:
    """The config.json of a checkpoint folder.

    Raises:
        CheckpointError: it is missing, altered, or of another program or version.
    """
    path = folder / CONFIG
    body = read_object(path, WHAT, _LONGEST)
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


def package_versions() -> dict[str, str]:
    """Versions of the packages that write a checkpoint."""
    packages = ("ancestral", "torch", "numpy", "safetensors")
    return {name: version(name) for name in packages} | {"python": platform.python_version()}


def _digest(body: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
