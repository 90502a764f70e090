"""The model of a folder, whoever wrote it: `ancestral train`, transformers or diffusers."""

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
_TRANSFORMERS = "a folder of Hugging Face transformers"


@dataclass(frozen=True, slots=True)
class OpenedCheckpoint:
    """A model, and what its folder says about it in addition to the weights.

    Attributes:
        kind: which program wrote the folder.
        model: float32, in evaluation mode on the CPU.
        prior: autoregressive model of the codes of a VQ-VAE; None for other models.
        label_prior: p(y) of each class in the training part; None where there are no labels.
        files: contents of files that belong into a bundle, by name: a tokenizer's.
        ignored_fields: unknown fields of config.json that the caller asked to ignore.
        notes: what was read, in sentences for people.
    """

    kind: Kind
    model: Model
    prior: AutoregressiveModel | None = None
    label_prior: tuple[float, ...] | None = None
    files: Mapping[str, bytes] = field(default_factory=dict)
    ignored_fields: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def kind_of(folder: str | Path) -> Kind:
    """Which program wrote a folder: its config.json names a class, a type of model, or neither."""
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
    """Read the model of a checkpoint folder, after finding out which program wrote it.

    Args:
        path: folder with a config.json.
        length: positions of an event; None is the folder's own.
        size: height and width of images, or the side of square ones; only for diffusers, which
            needs it.
        pixel_scale: sigma of p(x | z), in pixel units [-1, 1]; only for diffusers. None is 1.
        start: id of the token before each text, or "none"; only for transformers.
        ignore_field: names of unknown fields of config.json that do not change what the model
            computes; not for folders of `ancestral train`.

    Raises:
        CheckpointError: the folder does not hold a model that can be read.
        InvalidInput: an argument that does not fit such a folder, or is out of range.
    """
    folder, names = Path(path), tuple(ignore_field)
    refuse_adapter(folder)
    if not (folder / CONFIG).is_file():
        raise CheckpointError(
            f"{folder}: expected a folder with a {CONFIG}: what `ancestral train` wrote; a "
            f"language or image model of Hugging Face transformers, with model.safetensors or "
            f"pytorch_model.bin; or an AutoencoderKL of diffusers; got no such file"
            + (f": {kind}" if (kind := foreign(folder)) else "")
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
        _refuse(folder, "a folder of transformers or diffusers", ignore_field=names or None)
        return _own(folder, length)
    if size is None:
        raise InvalidInput(
            f"size: expected the side of the images in pixels, or HEIGHTxWIDTH, for {folder} is of "
            f"diffusers and takes images of any size: --size 64, say"
        )
    images = load_diffusers(folder, size, 1.0 if pixel_scale is None else pixel_scale, names)
    return OpenedCheckpoint(kind, _shortened(images, length), ignored_fields=names)


def _refuse(folder: Path, what: str, **given: object) -> None:
    """Refuse arguments that are not for such a folder."""
    for name, value in given.items():
        if value is not None:
            raise InvalidInput(f"{name}: expected {what} beside it, got {folder}")


def _own(folder: Path, length: int | None) -> OpenedCheckpoint:
    """A checkpoint that `ancestral train` wrote, with the prior over codes where it has one."""
    model, saved = load_checkpoint(folder)
    prior = None
    if isinstance(model, VQVAE):
        place = folder / PRIOR
        if not (place / CONFIG).exists():
            raise CheckpointError(
                f"{place}: expected the checkpoint of the prior over codes, got none: train it "
                f"with the command that trained {folder} and --resume"
            )
        found, saved = load_checkpoint(place)
        if not isinstance(found, AutoregressiveModel):
            raise CheckpointError(
                f"{place}: expected an autoregressive model of codes, got {type(found).__name__}"
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
            f"length: only a Transformer's cache can be made shorter, got a "
            f"{type(model).__name__}: leave it out"
        )
    return model.shortened(length)


def _description(loaded: Loaded) -> tuple[str, str]:
    """What a folder of transformers holds, in two lines."""
    model, length = loaded.model, loaded.model.data.length
    parameters = sum(each.numel() for each in model.parameters())
    shorter = "" if length == loaded.context else f"; events of {length} (--length for others)"
    match model.config.start:
        case "learned":
            start = "the model's own symbol"
        case None:
            start = "none: the first value is to be observed, and log p(x_2.. | x_1) is reported"
        case token:
            start = f"token {token}"
    files = ", ".join(loaded.files) or "none: values are ids"
    return (
        f"{loaded.kind}: {parameters:,} parameters, {model.data.levels} levels, context "
        f"{loaded.context}{shorter}",
        f"start: {start}; tokenizer: {files}",
    )
