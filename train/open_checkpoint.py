"""Open a checkpoint folder written by `ancestral train`, transformers or diffusers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from ancestral.errors import CheckpointError, InvalidInput
from ancestral.train.checkpoint import PRIOR, load_checkpoint
from ancestral.train.checkpoint_config import CONFIG
from ancestral.train.diffusers_folder import load_diffusers
from ancestral.train.hugging_face import Loaded, foreign, load_hugging_face, refuse_adapter
from ancestral.train.hugging_face.json_object import read_object
from ancestral.train.models.autoregressive import AutoregressiveModel
from ancestral.train.models.families import Model
from ancestral.train.models.transformer import Transformer
from ancestral.train.models.vqvae import VQVAE

Kind = Literal["ancestral", "transformers", "diffusers"]
_TRANSFORMERS = "a Hugging Face transformers folder"


@dataclass(frozen=True, slots=True)
class OpenedCheckpoint:
    """A model, and what its folder contains in addition to the weights.

    Attributes:
        kind: program that wrote the folder.
        model: model in float32 and evaluation mode, on the CPU.
        prior: autoregressive model of the codes, for a VQ-VAE; None for other models.
        label_prior: p(y) of each class in the training part; None for data without labels.
        files: contents of the files that belong in a bundle, by name, such as tokenizer.json.
        ignored_fields: unknown fields of config.json that were ignored as requested.
        notes: description of what was read, in sentences.
    """

    kind: Kind
    model: Model
    prior: AutoregressiveModel | None = None
    label_prior: tuple[float, ...] | None = None
    files: Mapping[str, bytes] = field(default_factory=dict)
    ignored_fields: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def kind_of(folder: str | Path) -> Kind:
    """Return which program wrote a folder, from the fields of its config.json."""
    try:
        values = read_object(Path(folder) / CONFIG, "the config.json of a model")
    except CheckpointError:
        return "ancestral"
    if "_class_name" in values:
        return "diffusers"
    return "transformers" if "model_type" in values else "ancestral"


def open_checkpoint(
    path: str | Path,
    *,
    length: int | None = None,
    size: int | tuple[int, int] | None = None,
    pixel_scale: float | None = None,
    start: int | Literal["auto", "none"] = "auto",
    ignore_field: Sequence[str] = (),
) -> OpenedCheckpoint:
    """Read the model of a folder that `ancestral train`, transformers or diffusers wrote.

    Args:
        path: path of a folder with a config.json.
        length: number of positions of an event; None keeps the folder's own.
        size: height and width of images in pixels, or the side of square ones; required for
            diffusers, and only for diffusers.
        pixel_scale: sigma of p(x | z), in pixel units [-1, 1]; only for diffusers. None means 1.
        start: id of the token before each text, "none", or "auto" for the folder's own; only for
            transformers.
        ignore_field: names of unknown fields of config.json that do not change what the model
            computes; only for transformers and diffusers.

    Raises:
        CheckpointError: the folder has no config.json, its model is not supported, or a file is
            missing or damaged.
        InvalidInput: an argument is out of range, or does not apply to this kind of folder.
    """
    folder, names = Path(path), tuple(ignore_field)
    refuse_adapter(folder)
    if not (folder / CONFIG).is_file():
        raise CheckpointError(
            f"{folder}: expected a folder with a {CONFIG}; "
            + (
                foreign(folder)
                or "pass a folder that `ancestral train` wrote, a language or image model of "
                "Hugging Face transformers (with model.safetensors or pytorch_model.bin), or an "
                "AutoencoderKL of diffusers"
            )
        )
    kind = kind_of(folder)
    if kind != "diffusers":
        _refuse(folder, "a diffusers folder", size=size, pixel_scale=pixel_scale)
    if kind != "transformers":
        _refuse(folder, _TRANSFORMERS, start=None if start == "auto" else start)
    if kind == "transformers":
        token = None if start == "none" else start
        loaded = load_hugging_face(folder, length=length, start=token, ignored=names)
        notes = (*_description(loaded), *loaded.notes)
        model, files = loaded.model, loaded.files
        return OpenedCheckpoint(kind, model, files=files, ignored_fields=names, notes=notes)
    if kind == "ancestral":
        _refuse(folder, "a transformers or diffusers folder", ignore_field=names or None)
        return _own(folder, length)
    if size is None:
        raise InvalidInput(
            f"size: required for {folder}, a diffusers model, which takes images of any size; pass "
            f"the side in pixels, or HEIGHTxWIDTH: --size 64"
        )
    images = load_diffusers(folder, size, 1.0 if pixel_scale is None else pixel_scale, names)
    return OpenedCheckpoint(kind, _shortened(images, length), ignored_fields=names)


def _refuse(folder: Path, what: str, **given: object) -> None:
    """Raise if arguments were passed that do not apply to this kind of folder."""
    for name, value in given.items():
        if value is not None:
            raise InvalidInput(f"{name}: only for {what}, got {folder}; leave it out")


def _own(folder: Path, length: int | None) -> OpenedCheckpoint:
    """Load a checkpoint of `ancestral train`, for a VQ-VAE with its prior over codes."""
    model, saved = load_checkpoint(folder)
    prior = None
    if isinstance(model, VQVAE):
        place = folder / PRIOR
        if not (place / CONFIG).exists():
            raise CheckpointError(
                f"{place}: no checkpoint of the prior over codes; train it with the command that "
                f"trained {folder} and --resume"
            )
        found, saved = load_checkpoint(place)
        if not isinstance(found, AutoregressiveModel):
            raise CheckpointError(
                f"{place}: expected an autoregressive model of the codes, got "
                f"{type(found).__name__}; train it again"
            )
        prior = found
    logs = saved.config.log_prior
    label_prior = None if logs is None else tuple(np.exp(logs).tolist())
    return OpenedCheckpoint("ancestral", _shortened(model, length), prior, label_prior)


def _shortened(model: Model, length: int | None) -> Model:
    if length is None:
        return model
    if not isinstance(model, Transformer):
        raise InvalidInput(
            f"length: expected a Transformer, whose cache can be shortened, got a "
            f"{type(model).__name__}; leave it out"
        )
    return model.shortened(length)


def _description(loaded: Loaded) -> tuple[str, str]:
    """Describe a transformers folder in two lines."""
    model, length = loaded.model, loaded.model.data.length
    parameters = sum(each.numel() for each in model.parameters())
    shorter = "" if length == loaded.context else f"; events of {length} (--length changes this)"
    match model.config.start:
        case "learned":
            start = "the model's own symbol"
        case None:
            start = "none: the first value must be observed, and log p(x_2.. | x_1) is reported"
        case token:
            start = f"token {token}"
    files = ", ".join(loaded.files) or "none: values are ids"
    return (
        f"{loaded.kind}: {parameters:,} parameters, {model.data.levels} levels, context "
        f"{loaded.context}{shorter}",
        f"start: {start}; tokenizer: {files}",
    )
