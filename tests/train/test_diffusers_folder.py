"""A folder of diffusers is read as it was written, or refused with every reason.

tests/models/test_autoencoder_kl.py compares the names and the numbers with diffusers.
"""

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor

from ancestral.dataspec import DataSpec
from ancestral.errors import CheckpointError, InvalidInput
from ancestral.train.diffusers_folder import load_diffusers
from ancestral.train.models.autoencoder_kl import AutoencoderKL
from ancestral.train.models.autoencoder_kl_config import AutoencoderKLConfig
from ancestral.train.open_checkpoint import kind_of

WEIGHTS = "diffusion_pytorch_model.safetensors"
SIZE = (8, 4)
# As diffusers 0.42 writes it.
CONFIG: dict[str, Any] = {
    "_class_name": "AutoencoderKL",
    "_diffusers_version": "0.42.1",
    "_name_or_path": "elsewhere",
    "act_fn": "silu",
    "block_out_channels": [4, 8],
    "down_block_types": ["DownEncoderBlock2D", "DownEncoderBlock2D"],
    "force_upcast": True,
    "in_channels": 3,
    "latent_channels": 2,
    "latents_mean": None,
    "latents_std": None,
    "layers_per_block": 1,
    "mid_block_add_attention": True,
    "norm_num_groups": 2,
    "out_channels": 3,
    "sample_size": 512,
    "scaling_factor": 0.13025,
    "shift_factor": None,
    "up_block_types": ["UpDecoderBlock2D", "UpDecoderBlock2D"],
    "use_post_quant_conv": True,
    "use_quant_conv": True,
}
SHAPE = AutoencoderKLConfig(
    block_out_channels=(4, 8), latent_channels=2, norm_num_groups=2, scaling_factor=0.13025
)
ATTENTION = "decoder.mid_block.attentions.0"
Weights = dict[str, Tensor]


@pytest.fixture(scope="module")
def weights() -> Weights:
    torch.manual_seed(0)
    data = DataSpec(name="images", event_shape=(3, *SIZE), levels=256)
    return dict(AutoencoderKL(SHAPE, data).state_dict())


@pytest.fixture
def folder(tmp_path: Path, weights: Weights) -> Path:
    return write(tmp_path, weights)


def write(path: Path, weights: Weights, **changes: object) -> Path:
    """Write a folder with changed fields; a field that is `...` is left out."""
    fields = {name: value for name, value in (CONFIG | changes).items() if value is not ...}
    (path / "config.json").write_text(json.dumps(fields, indent=2))
    stored = {name: tensor.contiguous() for name, tensor in weights.items()}
    safetensors.torch.save_file(stored, path / WEIGHTS, metadata={"format": "pt"})
    return path


def refusal(path: Path) -> str:
    with pytest.raises(CheckpointError) as refused:
        load_diffusers(path, SIZE)
    return str(refused.value)


def assert_holds(model: AutoencoderKL, weights: Weights) -> None:
    state = model.state_dict()
    assert state.keys() == weights.keys()
    assert all(tensor.dtype == torch.float32 for tensor in state.values())
    assert all(torch.equal(tensor, weights[name]) for name, tensor in state.items())


def test_read(folder: Path, weights: Weights) -> None:
    before = torch.get_rng_state()
    model = load_diffusers(str(folder), SIZE, pixel_scale=0.25)
    assert torch.equal(before, torch.get_rng_state())
    assert_holds(model, weights)
    assert not model.training
    assert all(weight.requires_grad for weight in model.parameters())
    assert model.config.pixel_scale == 0.25
    assert model.config.scaling_factor == 0.13025
    assert model.data == DataSpec(name="images", event_shape=(3, 8, 4), levels=256)
    assert model.latent_shape == (2, 4, 2)
    assert load_diffusers(folder, 6).data.event_shape == (3, 6, 6)


def test_weights_do_not_follow_the_file(folder: Path, weights: Weights) -> None:
    model = load_diffusers(folder, SIZE)
    with (folder / WEIGHTS).open("r+b") as file:
        file.write(bytes((folder / WEIGHTS).stat().st_size))
    assert_holds(model, weights)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_floats_become_float32(tmp_path: Path, weights: Weights, dtype: torch.dtype) -> None:
    stored = {name: tensor.to(dtype) for name, tensor in weights.items()}
    model = load_diffusers(write(tmp_path, stored), SIZE)
    assert_holds(model, {name: tensor.float() for name, tensor in stored.items()})


@pytest.mark.parametrize("as_convolutions", [False, True])
def test_old_names_of_attention(tmp_path: Path, weights: Weights, as_convolutions: bool) -> None:
    old = {".to_q.": ".query.", ".to_k.": ".key.", ".to_v.": ".value.", ".to_out.0.": ".proj_attn."}
    stored = {}
    for name, tensor in weights.items():
        for new, before in old.items():
            if new in name:
                name = name.replace(new, before)
                if as_convolutions and tensor.ndim == 2:
                    tensor = tensor[:, :, None, None]
        stored[name] = tensor
    assert f"{ATTENTION}.proj_attn.weight" in stored
    assert_holds(load_diffusers(write(tmp_path, stored), SIZE), weights)


def test_fields_of_older_versions(tmp_path: Path, weights: Weights) -> None:
    """A missing field has diffusers' default."""
    fields = ("shift_factor", "latents_mean", "use_quant_conv", "force_upcast", "scaling_factor")
    left_out = dict.fromkeys((*fields, "mid_block_add_attention", "act_fn", "in_channels"), ...)
    model = load_diffusers(write(tmp_path, weights, **left_out), SIZE)
    assert_holds(model, weights)
    assert model.config.scaling_factor == 0.18215
    load_diffusers(write(tmp_path, weights, act_fn="swish", scaling_factor=1), SIZE)


def test_every_tensor_that_does_not_fit_is_named(tmp_path: Path, weights: Weights) -> None:
    wrong = dict(weights)
    del wrong["encoder.conv_in.bias"], wrong["quant_conv.weight"]
    wrong |= {"loss.logvar": torch.zeros(1), f"{ATTENTION}.query.bias": torch.zeros(8)}
    wrong["decoder.conv_out.weight"] = torch.zeros(3, 4, 1, 1)
    wrong[f"{ATTENTION}.to_k.weight"] = torch.zeros(8, 8, 3, 3)
    wrong["post_quant_conv.bias"] = torch.zeros(2, dtype=torch.int64)
    lines = refusal(write(tmp_path, wrong)).splitlines()
    assert WEIGHTS in lines[0]
    assert lines[1:] == [
        "  - encoder.conv_in.bias: missing, of shape [4]",
        "  - quant_conv.weight: missing, of shape [4, 4, 1, 1]",
        f"  - {ATTENTION}.query.bias: unexpected, of shape [8]",
        "  - loss.logvar: unexpected, of shape [1]",
        "  - decoder.conv_out.weight: expected shape [3, 4, 3, 3], got [3, 4, 1, 1]",
        f"  - {ATTENTION}.to_k.weight: expected shape [8, 8], got [8, 8, 3, 3]",
        "  - post_quant_conv.bias: expected floats, got I64",
    ]


def test_every_field_that_does_not_fit_is_named(tmp_path: Path, weights: Weights) -> None:
    wrong = {
        "act_fn": "gelu",
        "down_block_types": ["AttnDownEncoderBlock2D", "DownEncoderBlock2D"],
        "up_block_types": ["UpDecoderBlock2D"],
        "latents_mean": [0.0, 1.0],
        "latents_std": 1.0,
        "norm_type": "spatial",
        "pixel_scale": 1.0,
        "layers_per_block": 1.5,
        "block_out_channels": [4, "8"],
        "use_quant_conv": 1,
        "in_channels": True,
        "shift_factor": "0",
    }
    message = refusal(write(tmp_path, weights, **wrong))
    assert [name for name in wrong if f"  - {name}" not in message] == []
    *lines, last = message.splitlines()
    assert len(lines) == 1 + len(wrong)
    assert last.startswith("pass --ignore-field norm_type --ignore-field pixel_scale if they do")
    message = refusal(write(tmp_path, weights, norm_num_groups=3, latent_channels=0, act_fn="x"))
    for words in (
        "multiples of norm_num_groups = 3, got (4, 8)",
        "latent_channels: expected 1 .. ",
        "act_fn",
    ):
        assert words in message


def test_missing_types_of_stages_are_refused(tmp_path: Path, weights: Weights) -> None:
    """The default is one stage; the types of several stages are required."""
    message = refusal(write(tmp_path, weights, down_block_types=...))
    assert "down_block_types: expected 2 times 'DownEncoderBlock2D'" in message


@pytest.mark.parametrize("name", ["AsymmetricAutoencoderKL", "VQModel", None, ["AutoencoderKL"]])
def test_another_class(tmp_path: Path, weights: Weights, name: object) -> None:
    message = refusal(write(tmp_path, weights, _class_name=name))
    assert f"_class_name: expected 'AutoencoderKL', got {name!r}" in message


def test_a_pickle_is_never_opened(folder: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
            return open, (str(folder / "sprung"), "w")  # type: ignore[return-value]

    (folder / WEIGHTS).unlink()
    (folder / "diffusion_pytorch_model.bin").write_bytes(pickle.dumps(Trap()))
    message = refusal(folder)
    assert "found ['diffusion_pytorch_model.bin'] (.bin files are pickles" in message
    assert "save_pretrained" in message
    assert not (folder / "sprung").exists()


def test_variants_and_parts_are_named(folder: Path) -> None:
    (folder / WEIGHTS).rename(folder / "diffusion_pytorch_model.fp16.safetensors")
    message = refusal(folder)
    assert "found ['diffusion_pytorch_model.fp16.safetensors']" in message
    assert "variants and weights in parts" in message


@pytest.mark.parametrize("kept", [0, 4, 100, -1], ids=["empty", "length", "header", "data"])
def test_a_file_cut_short(folder: Path, kept: int) -> None:
    content = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(content[:kept])
    assert "download it again if it was truncated or altered" in refusal(folder)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", "not valid JSON"),
        (b'{"_class_name": "Auto', "not valid JSON"),
        (b"\xff\xfe\x00", "not valid JSON"),
        (b"[" * 100_000, "not valid JSON"),
        (b"[]", "expected a JSON object, got list"),
        (b'{"_class_name": "A", "_class_name": "B"}', "got '_class_name' twice"),
        (b'{"_class_name": "' + b"a" * 2**20 + b'"}', "at most 1 MiB, got 1,048,595 bytes"),
    ],
    ids=["empty", "cut", "binary", "deep", "list", "double", "long"],
)
def test_a_config_that_is_not_valid(folder: Path, text: bytes, words: str) -> None:
    (folder / "config.json").write_bytes(text)
    assert words in refusal(folder)
    assert kind_of(folder) == "ancestral"


def test_no_folder(tmp_path: Path) -> None:
    assert "no such file; pass a folder" in refusal(tmp_path / "none")


@pytest.mark.parametrize("size", [(0, 4), -2, True])
def test_a_size_that_is_not_valid(folder: Path, size: int | tuple[int, int]) -> None:
    with pytest.raises(InvalidInput, match="size: expected height and width in pixels"):
        load_diffusers(folder, size)


@pytest.mark.parametrize("size", [(7, 4), (8, 3), 5])
def test_a_size_that_the_stride_does_not_divide(folder: Path, size: int | tuple[int, int]) -> None:
    with pytest.raises(InvalidInput, match=r"divisible by 2 \(2 stages\), got .*; crop or pad"):
        load_diffusers(folder, size)


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), float("inf")])
def test_a_pixel_scale_that_is_not_valid(folder: Path, scale: float) -> None:
    with pytest.raises(InvalidInput, match="pixel_scale: expected a finite number above 0"):
        load_diffusers(folder, SIZE, pixel_scale=scale)
