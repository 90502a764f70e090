"""An imported AutoencoderKL compared with diffusers, which wrote the folder."""

import copy
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, interpolate

from ancestral.dataspec import DataSpec
from ancestral.errors import InvalidInput
from ancestral.parity import tolerance
from ancestral.train.diffusers_folder import load_diffusers
from ancestral.train.models.autoencoder_kl import AutoencoderKL
from ancestral.train.models.autoencoder_kl_blocks import Attention, Double, Halve
from ancestral.train.models.autoencoder_kl_config import AutoencoderKLConfig

# Largest error divided by the largest value, both in float64. Measured: 5e-15.
LIMIT = 1e-12
SIZE = (16, 8)
# With and without attention and the 1x1 convolutions around z.
CORNERS: dict[str, dict[str, Any]] = {
    "both": {"block_out_channels": (16, 24), "layers_per_block": 2, "latent_channels": 4},
    "attention": {
        "block_out_channels": (8, 24, 16),
        "latent_channels": 3,
        "use_quant_conv": False,
        "use_post_quant_conv": False,
        "scaling_factor": 0.3611,
        "shift_factor": 0.1159,
    },
    "pointwise": {
        "block_out_channels": (24, 16),
        "latent_channels": 3,
        "mid_block_add_attention": False,
    },
    "neither": {
        "in_channels": 1,
        "out_channels": 1,
        "block_out_channels": (16, 24),
        "layers_per_block": 2,
        "latent_channels": 2,
        "mid_block_add_attention": False,
        "use_quant_conv": False,
        "use_post_quant_conv": False,
    },
}
Numbers = dict[str, Tensor]


@pytest.fixture(scope="module")
def diffusers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    """Import diffusers, the oracle, without access to a network."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.setenv("HF_HOME", str(tmp_path_factory.mktemp("hugging_face")))
        import diffusers

        # diffusers warns about every conversion to another dtype.
        diffusers.logging.set_verbosity_error()
        yield diffusers


def wide(module: nn.Module, seed: int) -> None:
    """Draw weights that leave no part of the network near zero or near the identity."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in module.named_parameters():
            noise = torch.randn(weight.shape, generator=generator)
            if weight.ndim > 1:
                weight.copy_(noise * 2 * weight[0].numel() ** -0.5)
            else:
                weight.copy_(0.5 * noise + name.endswith("weight"))


def their_config(corner: str) -> dict[str, Any]:
    given = CORNERS[corner]
    stages = len(given["block_out_channels"])
    return given | {
        "down_block_types": ("DownEncoderBlock2D",) * stages,
        "up_block_types": ("UpDecoderBlock2D",) * stages,
        "norm_num_groups": 8,
    }


@pytest.fixture(scope="module", params=list(CORNERS))
def corner(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def theirs(diffusers: ModuleType, corner: str) -> nn.Module:
    model = diffusers.AutoencoderKL(**their_config(corner)).eval()
    wide(model, seed=1)
    return model


@pytest.fixture(scope="module")
def folder(theirs: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("vae")
    theirs.save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def loaded(folder: Path) -> AutoencoderKL:
    """Our model. Tests must not change it."""
    return load_diffusers(folder, SIZE)


@pytest.fixture
def ours(loaded: AutoencoderKL) -> AutoencoderKL:
    return copy.deepcopy(loaded)


def events(model: AutoencoderKL) -> Tensor:
    """Return real values in [0, 256), with edges of levels among them."""
    x = 256 * torch.rand(3, model.data.length, generator=torch.manual_seed(2), dtype=torch.float64)
    return torch.cat([x, x.floor()])


def latents(model: AutoencoderKL) -> Tensor:
    noise = torch.randn(5, *model.latent_shape, generator=torch.manual_seed(3), dtype=torch.float64)
    return 2 * noise


@torch.no_grad()
def our_numbers(model: AutoencoderKL, dtype: torch.dtype = torch.float64) -> Numbers:
    model = model.to(dtype)
    mean, log_scale = model.encode(events(model).to(dtype))
    decoded = model.decode(latents(model).to(dtype))
    return {
        "mean": mean,
        "log variance": 2 * log_scale,
        "kl": model.posterior.kl_to_standard((mean, log_scale)).sum(dim=-1),
        "decoded": decoded[..., 0],
    }


@torch.no_grad()
def their_numbers(
    theirs: nn.Module, model: AutoencoderKL, dtype: torch.dtype = torch.float64
) -> Numbers:
    """Return diffusers' numbers, with decoded pixels -1 .. 1 mapped to 0.5/256 .. 255.5/256."""
    theirs = theirs.to(dtype)
    pixels = ((events(model) - 0.5) / 127.5 - 1).to(dtype).view(-1, *model.data.event_shape)
    posterior = theirs.encode(pixels).latent_dist
    decoded = theirs.decode(latents(model).to(dtype)).sample
    return {
        "mean": posterior.mean,
        "log variance": posterior.logvar,
        "kl": posterior.kl(),
        "decoded": (((decoded + 1) / 2 * 255 + 0.5) / 256).flatten(1),
    }


@pytest.fixture(scope="module")
def exact(theirs: nn.Module, loaded: AutoencoderKL) -> Numbers:
    """Return diffusers' numbers in float64. Tests must not change them."""
    return their_numbers(theirs, loaded)


def errors(got: Numbers, expected: Numbers) -> dict[str, float]:
    """Return the largest error of each output divided by its largest value."""
    return {
        name: float((got[name].double() - truth).abs().max() / truth.abs().max())
        for name, truth in expected.items()
    }


def test_parity_in_float64(exact: Numbers, ours: AutoencoderKL) -> None:
    for name, found in errors(our_numbers(ours), exact).items():
        assert found < LIMIT, name
    assert all(numbers.std() > 0.2 for numbers in exact.values())


def test_parity_in_float32(theirs: nn.Module, exact: Numbers, ours: AutoencoderKL) -> None:
    """Our float32 is as near to diffusers' float64 as theirs is, to the parity table's factor."""
    own = errors(their_numbers(theirs, ours, torch.float32), exact)
    found = errors(our_numbers(ours, torch.float32), exact)
    factor = tolerance("torch", "float32").factor
    assert all(found[name] <= factor * own[name] for name in exact), (found, own)


def padded_around(model: AutoencoderKL) -> None:
    for part in modules(model, Halve):
        conv = part.conv
        part.forward = lambda x, conv=conv: conv2d(x, conv.weight, conv.bias, stride=2, padding=1)


def other_epsilon(model: AutoencoderKL) -> None:
    for part in modules(model, nn.GroupNorm):
        part.eps = 1e-5


def key_for_value(model: AutoencoderKL) -> None:
    for part in modules(model, Attention):
        part.to_k, part.to_v = part.to_v, part.to_k


def no_residual(model: AutoencoderKL) -> None:
    for part in modules(model, Attention):
        forward = part.forward
        part.forward = lambda x, forward=forward: forward(x) - x


def smooth_doubling(model: AutoencoderKL) -> None:
    for part in modules(model, Double):
        conv = part.conv
        part.forward = lambda x, conv=conv: conv(interpolate(x, scale_factor=2.0, mode="bilinear"))


def edges_for_centres(model: AutoencoderKL) -> None:
    encode = model.encode
    model.encode = lambda x: encode(x + 0.5)


def modules(model: AutoencoderKL, kind: type[nn.Module]) -> list[Any]:
    return [part for part in model.modules() if isinstance(part, kind)]


FAULTS: dict[Callable[[AutoencoderKL], None], set[str]] = {
    padded_around: {"mean", "log variance", "kl"},
    other_epsilon: {"mean", "log variance", "kl", "decoded"},
    key_for_value: {"mean", "log variance", "kl", "decoded"},
    no_residual: {"mean", "log variance", "kl", "decoded"},
    smooth_doubling: {"decoded"},
    edges_for_centres: {"mean", "log variance", "kl"},
}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_faults_are_found(
    exact: Numbers, ours: AutoencoderKL, fault: Callable[[AutoencoderKL], None]
) -> None:
    """Each planted fault breaks parity by 20 limits in the outputs that it affects."""
    fault(ours)
    attends = ours.config.mid_block_add_attention
    broken = set() if fault in (key_for_value, no_residual) and not attends else FAULTS[fault]
    found = errors(our_numbers(ours), exact)
    assert {name for name, error in found.items() if error > 20 * LIMIT} == broken
    assert all(error < LIMIT for name, error in found.items() if name not in broken)


def test_log_variance_is_clamped(theirs: nn.Module, ours: AutoencoderKL) -> None:
    """The log variance is clamped to -30 .. 20 as in diffusers."""
    state = theirs.state_dict()
    last = "quant_conv" if ours.config.use_quant_conv else "encoder.conv_out"
    before = state[f"{last}.bias"].clone()
    latent = ours.config.latent_channels
    state[f"{last}.bias"][latent:] = torch.linspace(-60, 50, latent)
    try:
        ours.load_state_dict(state)
        expected, got = their_numbers(theirs, ours), our_numbers(ours)
    finally:
        theirs.state_dict()[f"{last}.bias"].copy_(before)
    assert all(error < LIMIT for error in errors(got, expected).values())
    assert got["log variance"].min() == -30
    assert got["log variance"].max() == 20


def test_config(ours: AutoencoderKL, corner: str) -> None:
    config = asdict(ours.config)
    given = {k: v for k, v in their_config(corner).items() if not k.endswith("block_types")}
    assert {name: config[name] for name in given} == given
    as_json = json.loads(json.dumps(config))
    as_json["block_out_channels"] = tuple(as_json["block_out_channels"])
    assert AutoencoderKLConfig(**as_json) == ours.config
    assert ours.data.event_shape == (ours.config.in_channels, *SIZE)
    assert ours.latent_shape[1:] == tuple(side // ours.config.stride for side in SIZE)
    assert not ours.training


def test_names_and_shapes_at_full_size(diffusers: ModuleType) -> None:
    """Names and shapes of Stable Diffusion's weights are diffusers'; no memory is allocated."""
    widths = (128, 256, 512, 512)
    with torch.device("meta"):
        theirs = diffusers.AutoencoderKL(
            block_out_channels=widths,
            layers_per_block=2,
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
        ).state_dict()
        config = AutoencoderKLConfig(block_out_channels=widths, layers_per_block=2)
        data = DataSpec(name="images", event_shape=(3, 512, 512), levels=256)
        ours = AutoencoderKL(config, data)
    assert ours.latent_shape == (4, 64, 64)
    shapes = {name: tensor.shape for name, tensor in ours.state_dict().items()}
    assert shapes == {name: tensor.shape for name, tensor in theirs.items()}


SMALL = AutoencoderKLConfig(
    block_out_channels=(8, 8), norm_num_groups=4, latent_channels=2, pixel_scale=0.3
)
IMAGES = DataSpec(name="images", event_shape=(3, 8, 4), levels=256)


@pytest.fixture
def small() -> AutoencoderKL:
    model = AutoencoderKL(SMALL, IMAGES).double().eval()
    wide(model, seed=4)
    return model


def test_levels_are_their_centres(small: AutoencoderKL) -> None:
    x = torch.randint(256, (3, IMAGES.length), generator=torch.manual_seed(0))
    for got, expected in zip(small.encode(x), small.encode(x.double() + 0.5), strict=True):
        torch.testing.assert_close(got, expected, rtol=LIMIT, atol=LIMIT)


def test_log_likelihood_is_a_normal_of_pixels(small: AutoencoderKL) -> None:
    """log p(x | z) is a normal of pixels in [-1, 1] with scale pixel_scale, minus log 127.5."""
    x, z = events(small)[:5], latents(small)
    pixels = (x - 0.5) / 127.5 - 1
    decoded = small.decoder(small.post_quant_conv(z)).flatten(1)
    each = torch.distributions.Normal(decoded, 0.3).log_prob(pixels) - torch.tensor(127.5).log()
    got = small.log_likelihood(x, z[:, None])[:, 0]
    torch.testing.assert_close(got, each.sum(dim=-1), rtol=1e-7, atol=0)
    mean = small.observation.mean(small.decode(z))
    torch.testing.assert_close(mean, (decoded + 1) * 127.5 + 0.5, rtol=LIMIT, atol=LIMIT)


class Reconstruct(nn.Module):
    """Encoder and decoder in one module, for torch.export."""

    def __init__(self, model: AutoencoderKL) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        mean, log_scale = self.model.encode(x)
        return mean, log_scale, self.model.decode(mean)


def test_traced_with_a_dynamic_batch(small: AutoencoderKL) -> None:
    x, module = events(small), Reconstruct(small)
    batch = torch.export.Dim("b", min=1, max=2**20)
    program = torch.export.export(module, (x[:2],), dynamic_shapes=({0: batch},)).module()
    for rows in (x, x[:1]):
        torch.testing.assert_close(program(rows), module(rows), rtol=LIMIT, atol=LIMIT)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"levels": 255}, "256 levels"),
        ({"num_classes": 3}, "without labels"),
        ({"ordering": "random:1"}, "raster order"),
        ({"event_shape": (1, 8, 4)}, r"events \[3, height, width\], got \(1, 8, 4\)"),
        ({"event_shape": (8, 4, 3)}, "put the channels first"),
        ({"event_shape": (8, 4)}, "put the channels first"),
        ({"event_shape": (3, 8, 5)}, r"divisible by 2 \(2 stages\), got 8 x 5"),
    ],
)
def test_other_data_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        AutoencoderKL(SMALL, IMAGES.model_copy(update=changes))


def test_config_is_refused_with_every_problem() -> None:
    wrong = {
        "layers_per_block": 10**9,
        "latent_channels": 0,
        "scaling_factor": float("nan"),
        "shift_factor": float("inf"),
        "pixel_scale": 0.0,
    }
    channels = {"in_channels": 4, "block_out_channels": (12, 32), "norm_num_groups": 8}
    with pytest.raises(InvalidInput) as refused:
        AutoencoderKLConfig(**wrong, **channels)
    assert all(f"{name}: expected " in str(refused.value) for name in wrong)
    assert "multiples of norm_num_groups = 8, got (12, 32)" in str(refused.value)
    assert "expected both 1 or both 3, got 4 and 3" in str(refused.value)
    for widths in ((), (8, 0), (8,) * 17):
        with pytest.raises(InvalidInput, match="widths in 1"):
            AutoencoderKLConfig(block_out_channels=widths, norm_num_groups=8)
    with pytest.raises(InvalidInput, match="norm_num_groups: expected 1"):
        AutoencoderKLConfig(norm_num_groups=0)
