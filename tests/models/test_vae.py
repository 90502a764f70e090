"""VAE and VQ-VAE: bodies, configurations, codebooks."""

import numpy as np
import pytest
import torch

from ancestral.dataspec import DataSpec
from ancestral.errors import InvalidInput
from ancestral.train.models.bodies import group_norm
from ancestral.train.models.decoder import ImageShape
from ancestral.train.models.families import build_model, config_from_json, family_of, model_config
from ancestral.train.models.vae import VAE, VAEConfig
from ancestral.train.models.vqvae import VQVAE, VQVAEConfig


def data(shape: tuple[int, ...], levels: int = 5) -> DataSpec:
    return DataSpec(name="images", event_shape=shape, levels=levels)


@pytest.mark.parametrize("upsample", ["transposed", "resize"])
@pytest.mark.parametrize("shape", [(8, 12), (4, 8, 3), (3, 8, 4), (8, 8, 1)])
@pytest.mark.parametrize("likelihood", ["categorical", "logistic_mixture", "gaussian"])
def test_any_size_that_the_stride_divides(
    shape: tuple[int, ...], upsample: str, likelihood: str
) -> None:
    config = VAEConfig(
        body="conv", widths=(4, 8, 8), latent=3, upsample=upsample, likelihood=likelihood
    )
    model = VAE(config, data(shape))
    x = torch.randint(5, (2, int(np.prod(shape))))
    values = x + 0.5 if model.observation.continuous else x
    q = model.encode(values)
    z = torch.randn(2, 3)
    parameters = model.decode(z)
    assert [tuple(each.shape) for each in q] == [(2, 3), (2, 3)]
    assert parameters.shape[1:] == model.observation.shape
    assert torch.isfinite(model.log_likelihood(values, z[:, None])).all()
    assert model.observation.mean(parameters).shape == x.shape
    again = config_from_json("vae", model_config(model))
    assert again == config
    assert family_of(model) == "vae"


def test_every_value_reaches_its_own_parameters() -> None:
    """Planes become values in the order of the event, channels first or last."""
    planes = torch.arange(2 * 3 * 2 * 4, dtype=torch.float32).view(1, 6, 2, 4)  # p = 2, c = 3
    for shape in ((2, 4, 3), (3, 2, 4)):
        image = ImageShape.of(shape)
        values = image.values(planes, 2)[0]
        split = planes.view(3, 2, 2, 4)
        for i, site in enumerate(np.ndindex(*shape)):
            c, row, column = site if shape[0] == 3 else (site[2], site[0], site[1])
            assert torch.equal(values[i], split[c, :, row, column])
        x = torch.arange(24, dtype=torch.float32)[None]
        back = image.planes(x)
        flat = back[0] if shape[0] == 3 else back[0].permute(1, 2, 0)
        assert torch.equal(flat.flatten(), x[0])


def test_refusals() -> None:
    with pytest.raises(InvalidInput, match="divisible by 4 \\(3 scales\\), got 6 x 8"):
        VAE(VAEConfig(body="conv", widths=(4, 4, 4)), data((6, 8)))
    with pytest.raises(InvalidInput, match="expected events \\[height, width\\]"):
        VAE(VAEConfig(body="conv", widths=(4,)), data((9,)))
    with pytest.raises(InvalidInput, match="without labels"):
        VAE(VAEConfig(), data((4, 4)).model_copy(update={"num_classes": 3}))
    with pytest.raises(InvalidInput, match="binarise"):
        VAE(VAEConfig(likelihood="bernoulli"), data((4, 4), levels=17))
    with pytest.raises(InvalidInput, match="mixture of posteriors"):
        VAEConfig(posterior="full", prior="vamp")
    for field, value in (("latent", 0), ("dropout", 1.0), ("blocks", -1)):
        with pytest.raises(InvalidInput, match="VAEConfig"):
            VAEConfig(**{field: value})
    with pytest.raises(InvalidInput, match="least_scale: expected at most scale_value"):
        VAE(VAEConfig(likelihood="gaussian", scale_value=1e-6), data((4, 4)))


@pytest.mark.parametrize("scale", ["fixed", "learned", "per_pixel"])
def test_scales_of_a_gaussian(scale: str) -> None:
    config = VAEConfig(widths=(6,), latent=2, likelihood="gaussian", scale=scale, scale_value=0.2)
    model = VAE(config, data((2, 2)))
    parameters = model.decode(torch.randn(5, 2))
    spread = parameters[..., 1].std()
    assert (spread > 1e-3) == (scale == "per_pixel")
    learned = [name for name, _ in model.named_parameters() if "log_scale" in name]
    assert bool(learned) == (scale == "learned")
    if scale != "per_pixel":
        assert torch.allclose(parameters[..., 1].exp(), torch.tensor(0.2))


def vqvae() -> VQVAE:
    torch.manual_seed(0)
    model = build_model(VQVAEConfig(widths=(4, 8), codes=6, code_width=3), data((4, 8)))
    assert isinstance(model, VQVAE)
    return model


def test_codes_are_the_nearest() -> None:
    model = vqvae()
    x = torch.randint(5, (7, 32))
    (codes,) = model.encode(x)
    assert codes.shape == (7, 8)
    assert model.code_data.event_shape == (2, 4)
    features = model._features(x)
    oracle = torch.cdist(features, model.codebook.expand(7, -1, -1)).argmin(dim=-1)
    assert torch.equal(codes, oracle)


def test_gradients_pass_the_choice() -> None:
    """Gradients pass the choice of codes unchanged, so the encoder learns from the decoder."""
    model = vqvae()
    passed = model.quantise(torch.randint(5, (3, 32)))
    passed.features.retain_grad()
    passed.parameters.square().sum().backward()
    assert passed.features.grad is not None
    assert passed.features.grad.abs().min() > 0
    assert all(p.grad is not None for p in model.encoder.parameters())
    assert torch.equal(passed.parameters, model.decode(passed.codes)) or torch.allclose(
        passed.parameters, model.decode(passed.codes), atol=1e-5
    )


def test_codebook_follows_its_features() -> None:
    """A code tends to the mean of its features; an unused code restarts at a feature."""
    model = vqvae()
    features = torch.tensor([[[1.0, 0.0, 0.0], [3.0, 0.0, 0.0]]])
    codes = torch.tensor([[2, 2]])
    before = model.codebook.clone()
    model.follow(features, codes)
    expected = (0.99 * before[2] + 0.01 * torch.tensor([4.0, 0, 0])) / (0.99 + 0.02)
    assert torch.allclose(model.codebook[2], expected)
    assert torch.allclose(model.codebook[0], before[0])
    for _ in range(1000):
        model.follow(features, codes)
    assert torch.allclose(model.codebook[2], torch.tensor([2.0, 0.0, 0.0]), atol=1e-3)
    known = {(1.0, 0.0, 0.0), (3.0, 0.0, 0.0)}
    restarted = {
        tuple(code.tolist()) for i, code in enumerate(model.codebook.round(decimals=4)) if i != 2
    }
    assert restarted <= known, "a dead code did not start at a feature"


def test_convolutions_have_any_width() -> None:
    """Groups of channels divide them: a width that 4 does not divide has fewer groups."""
    for width in range(1, 40):
        assert width % group_norm(width).num_groups == 0
