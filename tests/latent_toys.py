"""Tiny latent variable models, initialised wide, to be enumerated or integrated exactly."""

import numpy as np
import torch

from ancestral.dataspec import DataSpec
from ancestral.train.models.autoencoder_kl import AutoencoderKL
from ancestral.train.models.autoencoder_kl_config import AutoencoderKLConfig
from ancestral.train.models.autoregressive import AutoregressiveModel
from ancestral.train.models.families import build_model
from ancestral.train.models.graphs import GraphName
from ancestral.train.models.latent_variable import LatentVariableModel
from ancestral.train.models.transformer_config import TransformerConfig
from ancestral.train.models.vae import VAE, VAEConfig
from ancestral.train.models.vqvae import VQVAE, VQVAEConfig

LATENT_TOYS = ("bernoulli", "linear", "convolved", "colours", "codes")
"""bernoulli: binary images, z in the plane. linear: a linear-Gaussian model whose q is the exact
posterior. convolved: full covariance, a mixture prior. colours: a VampPrior over coloured images.
codes: a VQ-VAE of 2 x 2 codes with a Transformer of two classes as its prior."""
PRIOR_GRAPHS: tuple[GraphName, ...] = ("log_prob", "logits", "redraw", "step", "step_filtered")
"""Graphs of the prior over codes."""
LARGE_TOYS = ("mixture", "diffusion")
"""Toys whose export takes a minute. mixture: like colours, with channels that depend on earlier
ones. diffusion: the autoencoder of a latent diffusion model, with attention."""
NOISY_LINEAR = 0.3
"""Scale of x given z in the linear toy, in units of y = x / levels."""


def make_latent(name: str) -> LatentVariableModel:
    """Return a toy by name, always with the same weights."""
    torch.manual_seed(11)
    model = _fresh(name)
    with torch.no_grad():
        for each, parameter in model.named_parameters():
            if each.endswith("bias"):
                parameter.add_(0.3 * torch.randn_like(parameter))
            elif parameter.ndim > 1 and "pseudo" not in each and "mixture" not in each:
                parameter.copy_(1.5 * torch.randn_like(parameter) / parameter[0].numel() ** 0.5)
        if name == "linear":
            _make_exact(model)
        if isinstance(model, VQVAE):
            model.codebook.copy_(torch.randn_like(model.codebook))
    return model.eval()


def make_prior(name: str) -> AutoregressiveModel | None:
    """Return the prior over codes of a toy, or None if it has no codes."""
    model = make_latent(name)
    if not isinstance(model, VQVAE):
        return None
    from tests.toys import widen

    data = model.code_data.model_copy(update={"num_classes": 2})
    torch.manual_seed(12)
    config = TransformerConfig(width=16, layers=1, heads=2)
    return widen(build_model(config, data)).eval()


def _fresh(name: str) -> LatentVariableModel:
    match name:
        case "bernoulli":
            data = DataSpec(name=name, event_shape=(3, 3), levels=2)
            return VAE(VAEConfig(widths=(8,), latent=2, likelihood="bernoulli"), data)
        case "linear":
            data = DataSpec(name=name, event_shape=(5,), levels=4)
            config = VAEConfig(
                widths=(),
                latent=2,
                posterior="full",
                likelihood="gaussian",
                scale="fixed",
                scale_value=NOISY_LINEAR,
            )
            return VAE(config, data)
        case "convolved":
            data = DataSpec(name=name, event_shape=(4, 4), levels=3)
            config = VAEConfig(
                body="conv",
                widths=(4, 8),
                latent=3,
                posterior="full",
                prior="mixture",
                prior_components=3,
            )
            return VAE(config, data)
        case "colours" | "mixture":
            data = DataSpec(name=name, event_shape=(2, 2, 3), levels=5)
            config = VAEConfig(
                body="conv",
                widths=(4, 8),
                latent=2,
                prior="vamp",
                prior_components=4,
                blocks=0,
                upsample="resize",
                likelihood="categorical" if name == "colours" else "logistic_mixture",
                components=2,
            )
            return VAE(config, data)
        case "codes":
            data = DataSpec(name=name, event_shape=(4, 4), levels=3)
            return VQVAE(VQVAEConfig(widths=(4, 8), codes=4, code_width=3, blocks=1), data)
        case "diffusion":
            data = DataSpec(name=name, event_shape=(3, 8, 8), levels=256)
            config = AutoencoderKLConfig(
                block_out_channels=(4, 8), latent_channels=2, norm_num_groups=2, pixel_scale=0.5
            )
            return AutoencoderKL(config, data)
        case _:
            raise ValueError(f"toy: expected one of {LATENT_TOYS}, got {name!r}")


def _make_exact(model: LatentVariableModel) -> None:
    """Let q(z | x) be the posterior of z ~ N(0, I), y = W z + b + scale noise."""
    assert isinstance(model, VAE)
    w, b, noise = linear_parts(model)
    precision = np.eye(w.shape[1]) + w.T @ w / noise**2
    covariance = np.linalg.inv(precision)
    gain = covariance @ w.T / noise**2
    factor = np.linalg.cholesky(covariance)
    d = len(covariance)
    # The encoder reads 2 y - 1.
    mean = (gain / 2, gain @ (0.5 - b))
    square = np.where(np.eye(d, dtype=bool), np.log(np.diag(factor))[:, None], np.tril(factor, -1))
    linear = model.encoder.layers[0]
    linear.weight.zero_()
    linear.weight[:d] = torch.from_numpy(mean[0])
    linear.bias[:d] = torch.from_numpy(mean[1])
    linear.bias[d:] = torch.from_numpy(square.reshape(-1))


def linear_parts(model: LatentVariableModel) -> tuple[np.ndarray, np.ndarray, float]:
    """Return W [t, d], b [t] and the scale of y = W z + b + scale noise, in float64."""
    assert isinstance(model, VAE)
    linear = model.decoder.layers[0]
    w = linear.weight.detach().double().numpy()
    b = (linear.bias.detach().double() + model.head.shift.detach().double()).numpy()
    return w, b, NOISY_LINEAR
