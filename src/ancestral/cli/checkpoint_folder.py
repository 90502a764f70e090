"""The model of a folder, whoever wrote it: `ancestral train`, transformers or diffusers."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ancestral.cli.output import say
from ancestral.decimals import decimal
from ancestral.errors import CheckpointError, InvalidInput
from ancestral.excerpts import quoted

if TYPE_CHECKING:
    from ancestral.train.hugging_face import Loaded
    from ancestral.train.models.autoregressive import AutoregressiveModel
    from ancestral.train.models.families import Model

_CONFIG = "config.json"


@dataclass(frozen=True, slots=True)
class Asked:
    """What a user asks of a model beside its weights; None is the folder's own.

    Attributes:
        length: positions of an event.
        size: of images, as written: 64, or 48x64.
        pixel_scale: sigma of p(x | z).
        start: id of the token before each text, as written, or "none".
        ignore_field: fields of a config.json that are unknown and change nothing.
    """

    length: int | None = None
    size: str | None = None
    pixel_scale: float | None = None
    start: str | None = None
    ignore_field: tuple[str, ...] | None = None

    def refuse(self, folder: Path, what: str, *names: str) -> None:
        """Refuse options that are not for such a folder.

        Raises:
            InvalidInput: one was given.
        """
        for name in names:
            if getattr(self, name) is not None:
                option = name.replace("_", "-")
                raise InvalidInput(f"--{option}: expected {what} beside it, got {folder}")


def model_of(folder: Path, asked: Asked) -> tuple["Model", dict[str, Any]]:
    """The model of a folder, and what else its export is of; told is what was read.

    Raises:
        CheckpointError: the folder is none of a model, or something in it is wrong.
        InvalidInput: an option that is not for such a folder, or one that is wrong.
    """
    from ancestral.train.diffusers_folder import is_diffusers
    from ancestral.train.hugging_face import foreign, is_hugging_face, refuse_adapter

    refuse_adapter(folder)
    if not (folder / _CONFIG).is_file():
        raise CheckpointError(
            f"{folder}: expected a folder with a {_CONFIG}: what `ancestral train` wrote; a "
            f"language or image model of Hugging Face transformers, with model.safetensors or "
            f"pytorch_model.bin; or an AutoencoderKL of diffusers; got no such file"
            + (f": {kind}" if (kind := foreign(folder)) else "")
        )
    transformers = "a folder of Hugging Face transformers"
    if is_diffusers(folder):
        asked.refuse(folder, transformers, "start")
        model = _shortened(_from_diffusers(folder, asked), asked.length)
        return model, {"ignored_fields": asked.ignore_field or ()}
    asked.refuse(folder, "a diffusers folder", "size", "pixel_scale")
    if is_hugging_face(folder):
        return _from_hugging_face(folder, asked)
    asked.refuse(folder, "a folder of transformers or diffusers", "ignore_field")
    asked.refuse(folder, transformers, "start")
    model, options = _from_checkpoint(folder)
    return _shortened(model, asked.length), options


def _from_hugging_face(folder: Path, asked: Asked) -> tuple["Model", dict[str, Any]]:
    from ancestral.train.hugging_face import load_hugging_face

    ignored = asked.ignore_field or ()
    loaded = load_hugging_face(
        folder, length=asked.length, start=_start(asked.start), ignored=ignored
    )
    for line in (*_told(loaded), *loaded.notes):
        say(line)
    return loaded.model, {"files": loaded.files, "own": True, "ignored_fields": ignored}


def _start(written: str | None) -> int | Literal["auto"] | None:
    if written is None:
        return "auto"
    if written.lower() == "none":
        return None
    number = decimal(written)
    if number is None:
        raise InvalidInput(f"--start: expected a token id, or none, got {quoted(written)}")
    return number


def _told(loaded: "Loaded") -> tuple[str, ...]:
    """What a checkpoint is, for people."""
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


def _from_checkpoint(checkpoint: Path) -> tuple["Model", dict[str, Any]]:
    """A model, and what else its export is of: p(y), and the prior over codes."""
    import numpy as np

    from ancestral.train.checkpoint import load_checkpoint
    from ancestral.train.models.vqvae import VQVAE

    model, saved = load_checkpoint(checkpoint)
    options: dict[str, Any] = {}
    if isinstance(model, VQVAE):
        options["prior"], saved = _prior(checkpoint)
    log_prior = saved.config.log_prior
    options["label_prior"] = None if log_prior is None else np.exp(log_prior).tolist()
    return model, options


def _prior(checkpoint: Path) -> tuple["AutoregressiveModel", Any]:
    """The prior over the codes of a VQ-VAE, and what stands beside its weights."""
    from ancestral.train.checkpoint import CONFIG, load_checkpoint
    from ancestral.train.codes import PRIOR
    from ancestral.train.models.autoregressive import AutoregressiveModel

    folder = checkpoint / PRIOR
    if not (folder / CONFIG).exists():
        raise CheckpointError(
            f"{folder}: expected the checkpoint of the prior over codes, got none: train it with "
            f"the command that trained {checkpoint} and --resume"
        )
    prior, saved = load_checkpoint(folder)
    if not isinstance(prior, AutoregressiveModel):
        raise CheckpointError(
            f"{folder}: expected an autoregressive model of codes, got {type(prior).__name__}"
        )
    return prior, saved


def _from_diffusers(folder: Path, asked: Asked) -> "Model":
    from ancestral.train.diffusers_folder import load_diffusers

    size = asked.size
    if size is None:
        raise InvalidInput(
            f"--size: expected the side of the images in pixels, or HEIGHTxWIDTH, for {folder} is "
            f"of diffusers and takes images of any size: --size 64, say"
        )
    sides = [decimal(part) for part in size.lower().split("x")]
    height, width = sides[0], sides[-1]
    if len(sides) > 2 or height is None or width is None:
        raise InvalidInput(f"--size: expected a side like 64, or 48x64, got {quoted(size)}")
    scale = 1.0 if asked.pixel_scale is None else asked.pixel_scale
    return load_diffusers(folder, (height, width), scale, asked.ignore_field or ())


def _shortened(model: "Model", length: int | None) -> "Model":
    from ancestral.train.models.transformer import Transformer

    if length is None:
        return model
    if not isinstance(model, Transformer):
        raise InvalidInput(
            f"--length: only a Transformer's cache can be made shorter, got a "
            f"{type(model).__name__}: leave it out"
        )
    return model.shortened(length)
