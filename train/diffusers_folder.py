"""Read config.json and the safetensors of a Hugging Face diffusers model, without diffusers.

Only AutoencoderKL is supported. Nothing is unpickled or downloaded.
"""

import json
import re
from collections.abc import Collection
from dataclasses import fields, replace
from pathlib import Path

import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from ancestral.arrays import shown
from ancestral.dataspec import DataSpec, explained
from ancestral.errors import CheckpointError, InvalidInput
from ancestral.excerpts import expectation, report
from ancestral.train.hugging_face.fields import Fields
from ancestral.train.hugging_face.json_object import read_object
from ancestral.train.hugging_face.stored_tensors import Shape, differences
from ancestral.train.hugging_face.tensor_files import SafetensorsFile
from ancestral.train.models.autoencoder_kl import LEVELS, AutoencoderKL, image_size
from ancestral.train.models.autoencoder_kl_config import MOST_STAGES, AutoencoderKLConfig
from ancestral.train.stored_model import skeleton

CONFIG, WEIGHTS = "config.json", "diffusion_pytorch_model.safetensors"
CLASS = "AutoencoderKL"
_WHAT = "the config.json of a diffusers model"
_LONGEST_SIDE = 2**12
_KNOWN = {field.name for field in fields(AutoencoderKLConfig)} - {"pixel_scale"}
_BLOCKS = {"down_block_types": "DownEncoderBlock2D", "up_block_types": "UpDecoderBlock2D"}
_OLD_NAMES = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
_OLD_ATTENTION = re.compile(r"(.*\.attentions\.\d+)\.(query|key|value|proj_attn)\.(weight|bias)")
_LINEAR = re.compile(r".*\.attentions\.\d+\.(to_[qkv]|to_out\.0)\.weight")


def load_diffusers(
    folder: str | Path,
    size: int | tuple[int, int],
    pixel_scale: float = 1.0,
    ignored: Collection[str] = (),
) -> AutoencoderKL:
    """Load the AutoencoderKL of a folder, in float32 and evaluation mode, on the CPU.

    Old checkpoints name the attention maps query, key, value and proj_attn, and store them as 1x1
    convolutions. They are read as to_q, to_k, to_v and to_out.0.

    Args:
        folder: path of a folder with config.json and diffusion_pytorch_model.safetensors.
        size: height and width of the images in pixels, or the side of square ones.
        pixel_scale: sigma of p(x | z), in pixel units [-1, 1].
        ignored: unknown fields of config.json that do not change what the model computes.

    Raises:
        CheckpointError: a file is missing, truncated or from another kind of model; the message
            lists the fields or tensors that do not fit.
        InvalidInput: `size` is not a multiple of the model's stride, `pixel_scale` is not a finite
            number above 0, or a field in `ignored` is not in config.json or cannot be ignored.
    """
    folder = Path(folder)
    config = replace(_config(folder / CONFIG, ignored), pixel_scale=pixel_scale)
    with explained(f"{folder}, events"):
        shape = (config.in_channels, *_sides(size))
        data = DataSpec(name="images", event_shape=shape, levels=LEVELS)
    image_size(config, data)
    file = SafetensorsFile(_weights_file(folder))
    try:
        model = skeleton(config, data, file.headers)
    except InvalidInput as error:
        raise CheckpointError(
            f"{folder}: the weights do not fit config.json and images of this size; download the "
            f"folder again, or pass a smaller size: {error}"
        ) from error
    assert isinstance(model, AutoencoderKL)
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    model.load_state_dict(_weights(file, expected), assign=True)
    return model


def _config(path: Path, ignored: Collection[str]) -> AutoencoderKLConfig:
    values = read_object(path, _WHAT)
    if values.get("_class_name") != CLASS:
        raise CheckpointError(
            f"{path}: _class_name: expected {CLASS!r}, got {shown(values.get('_class_name'))}; "
            f"pass the folder of an {CLASS}, in a pipeline the subfolder vae"
        )
    read = Fields(path, values, ignored, CLASS)
    # These fields change neither the network nor the meaning of its weights.
    read.ignore("sample_size", "force_upcast")
    # silu and swish are two names of one function.
    read.only("act_fn", "silu", "swish")
    read.only("latents_mean", None)
    read.only("latents_std", None)
    widths = values.get("block_out_channels")
    stages = len(widths) if isinstance(widths, list) else 1
    for name, block in _BLOCKS.items():
        got = read.raw(name, [block])
        if stages > MOST_STAGES or got != [block] * stages:
            read.fail(f"{name}: expected {stages} times {block!r}, got {shown(got)}")
    given = {name: read.raw(name) for name in values.keys() & _KNOWN}
    read.ignore(*_KNOWN)
    try:
        config = TypeAdapter(AutoencoderKLConfig).validate_json(json.dumps(given), strict=True)
    except ValidationError as error:
        for each in error.errors(include_url=False):
            where = ".".join(map(str, each["loc"]))
            reason = expectation(each["msg"])
            read.fail(f"{where}: {reason}, got {shown(each['input'])}" if where else reason)
        config = AutoencoderKLConfig()
    read.finish()
    return config


def _sides(size: int | tuple[int, int]) -> tuple[int, int]:
    height, width = size if isinstance(size, tuple) and len(size) == 2 else (size, size)
    if all(type(side) is int and 1 <= side <= _LONGEST_SIDE for side in (height, width)):
        return height, width
    raise InvalidInput(
        f"size: expected height and width in pixels, or one number for both, up to "
        f"{_LONGEST_SIDE}, got {shown(size)}"
    )


def _weights_file(folder: Path) -> Path:
    path = folder / WEIGHTS
    if path.is_file():
        return path
    found = sorted(file.name for file in folder.glob("diffusion_pytorch_model*"))
    raise CheckpointError(
        f"{path}: no such file, found {found or 'no other weights'} (.bin files are pickles, which "
        f"are never opened, and variants and weights in parts are not supported); write the folder "
        f"again with diffusers' from_pretrained(...).save_pretrained(...)"
    )


def _weights(file: SafetensorsFile, expected: dict[str, Shape]) -> dict[str, Tensor]:
    """Read all tensors as float32, by the model's names.

    Raises:
        CheckpointError: the file cannot be read, or does not hold the expected tensors.
    """
    names = _present_names(file.headers)
    found = {names[old]: header for old, header in file.headers.items()}
    readable = {
        # Attention maps may also be stored as 1x1 convolutions.
        name: (shape, (*shape, 1, 1)) if _LINEAR.fullmatch(name) else (shape,)
        for name, shape in expected.items()
    }
    problems = differences(found, readable)
    if problems:
        raise CheckpointError(
            report(
                f"{file.path}: the tensors do not fit config.json; download the folder again",
                problems,
            )
        )
    # The tensors are copied: a mapped tensor would change with the file.
    return {
        new: file.read(old).to(torch.float32, copy=True).view(expected[new])
        for old, new in names.items()
    }


def _present_names(names: Collection[str]) -> dict[str, str]:
    """Return the current name of each tensor; an old name is kept if the file has both."""
    present = {}
    for name in names:
        match = _OLD_ATTENTION.fullmatch(name)
        new = f"{match[1]}.{_OLD_NAMES[match[2]]}.{match[3]}" if match else name
        present[name] = name if new in names else new
    return present
