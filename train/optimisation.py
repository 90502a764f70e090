"""The training objective of each kind of model, in nats per event, and its optimisation.

References:
    Kingma and Welling (2014), arXiv:1312.6114 (the ELBO); Burda et al. (2016), arXiv:1509.00519
    (the importance-weighted bound); Higgins et al. (2017), beta-VAE; Kingma et al. (2016),
    arXiv:1606.04934, appendix C.8 (free bits); van den Oord et al. (2017), arXiv:1711.00937
    (VQ-VAE).
"""

import math
from contextlib import nullcontext

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ancestral.train.config import ElboConfig, TrainingConfig
from ancestral.train.models.autoregressive import AutoregressiveModel
from ancestral.train.models.families import Model
from ancestral.train.models.latent_variable import LatentVariableModel
from ancestral.train.models.posteriors import Codes
from ancestral.train.models.vqvae import VQVAE
from ancestral.train.state import Batch


def loss(model: Model, batch: Batch, config: TrainingConfig, step: int) -> Float[Tensor, ""]:
    """Return the training objective at a step (from 0), in nats, averaged over the events.

    Noise is drawn from torch's global generator. A VQ-VAE's codebook is updated from the batch.

    Raises:
        TypeError: the model is a latent variable model of your own, for which there is no
            objective.
    """
    match model:
        case AutoregressiveModel():
            return _negative_log_prob(model, batch, config)
        case VQVAE():
            return _vq_loss(model, batch)
        case LatentVariableModel() if not isinstance(model.posterior, Codes):
            return _negative_bound(model, batch, config.elbo, step)
        case _:
            raise TypeError(
                f"model: expected an autoregressive model, a VAE or a VQ-VAE, got "
                f"{type(model).__name__}"
            )


def kl_weight(config: ElboConfig, step: int) -> float:
    """Return the weight of the KL term at a step (from 0): it rises to beta over the warm-up.

    Only the training objective uses this weight; reported bounds do not.

    >>> kl_weight(ElboConfig(beta=1.0, warmup=4), 1)
    0.5
    """
    return config.beta * min(1.0, (step + 1) / config.warmup) if config.warmup else config.beta


def dequantised(model: LatentVariableModel, x: Tensor) -> Tensor:
    """Return x + u, u ~ U[0, 1), if p(x | z) is a density; otherwise x itself."""
    if not model.observation.continuous:
        return x
    return x + torch.rand(x.shape, device=x.device)


def _negative_log_prob(
    model: AutoregressiveModel, batch: Batch, config: TrainingConfig
) -> Float[Tensor, ""]:
    narrow = batch.x.is_cuda and config.autocast
    with torch.autocast("cuda", torch.bfloat16) if narrow else nullcontext():
        parameters = model.predict(batch.read, batch.label)
    log_prob = model.likelihood.log_prob(parameters, batch.x)[:, model.first_position :]
    return -log_prob.sum(dim=1).mean()


def _negative_bound(
    model: LatentVariableModel, batch: Batch, config: ElboConfig, step: int
) -> Float[Tensor, ""]:
    """Return -ELBO, or -IWAE for several samples; its KL terms are weighted and floored."""
    assert not isinstance(model.posterior, Codes)
    beta = kl_weight(config, step)
    q = model.encode(dequantised(model, batch.read))
    shape = (len(batch.x), config.samples, *model.latent_shape)
    noise = torch.randn(shape, device=batch.x.device)
    terms = model.log_weights(dequantised(model, batch.x), q, noise)
    reconstruction, log_prior, log_posterior = terms
    if config.samples > 1 and config.importance:
        log_w = reconstruction + beta * (log_prior - log_posterior)
        return -(log_w.logsumexp(dim=1) - math.log(config.samples)).mean()
    if model.has_closed_kl:
        # In closed form, per latent dimension: first the mean over the batch, then the floor.
        kl = model.posterior.kl_to_standard(q).mean(dim=0).clamp_min(config.free_bits).sum()
    else:
        floor = config.free_bits * math.prod(model.latent_shape)
        kl = (log_posterior - log_prior).mean().clamp_min(floor)
    return beta * kl - reconstruction.mean()


def _vq_loss(model: VQVAE, batch: Batch) -> Float[Tensor, ""]:
    passed = model.quantise(dequantised(model, batch.read))
    model.follow(passed.features.detach(), passed.codes)
    log_likelihood = model.observation.log_prob(passed.parameters, dequantised(model, batch.x))
    return (model.config.commitment * passed.distance - log_likelihood).mean()


def learning_rate(config: TrainingConfig, step: int) -> float:
    """Return the learning rate at a step (from 0): a linear warm-up, then a cosine decay.

    References:
        Loshchilov and Hutter (2017), arXiv:1608.03983, section 3.
    """
    if step < config.warmup:
        return config.learning_rate * (step + 1) / config.warmup
    done = (step - config.warmup) / max(1, config.steps - config.warmup)
    cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
    final = config.final_fraction
    return config.learning_rate * (final + (1 - final) * cosine)


def average_rate(config: TrainingConfig, step: int) -> float:
    """Return how far the average moves towards the weights after a step (from 0).

    In the long run this is 1 - average_decay. Before that, the average covers about the last tenth
    of the steps, so that the random initial weights are forgotten.

    References:
        Polyak and Juditsky (1992), Acceleration of stochastic approximation by averaging.
    """
    return 1 - min(config.average_decay, (1 + step) / (10 + step))


@torch.no_grad()
def update_average(average: nn.Module, model: nn.Module, rate: float) -> None:
    """Update in place: average <- average + rate (model - average), for every parameter.

    Buffers are copied: a codebook is already an average.
    """
    for slow, fast in zip(average.parameters(), model.parameters(), strict=True):
        slow.lerp_(fast, rate)
    for kept, now in zip(average.buffers(), model.buffers(), strict=True):
        kept.copy_(now)
