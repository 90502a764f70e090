"""How fast weights follow their gradient, and their average follows them, at each step."""

import math

import torch
from torch import nn

from ancestral.train.config import TrainingConfig


def learning_rate(config: TrainingConfig, step: int) -> float:
    """The rate of step 0, 1, ...: a linear warm-up, then a cosine down to a fraction of the peak.

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
    """How far the average moves toward the weights after step 0, 1, ...

    It is 1 - average_decay in the long run; before that the average is about one over the last
    tenth of the steps, so that the random start is forgotten.

    References:
        Polyak and Juditsky (1992), Acceleration of stochastic approximation by averaging.
    """
    return 1 - min(config.average_decay, (1 + step) / (10 + step))


@torch.no_grad()
def update_average(average: nn.Module, model: nn.Module, rate: float) -> None:
    """average <- average + rate (model - average), for every parameter, in place.

    Buffers (a codebook, which is an average already) are copied.
    """
    for slow, fast in zip(average.parameters(), model.parameters(), strict=True):
        slow.lerp_(fast, rate)
    for kept, now in zip(average.buffers(), model.buffers(), strict=True):
        kept.copy_(now)


def optimiser(model: nn.Module, config: TrainingConfig) -> torch.optim.AdamW:
    """AdamW whose decay acts on matrices and tables, not on biases, gains and other vectors.

    References:
        Loshchilov and Hutter (2019), Decoupled weight decay regularization, arXiv:1711.05101.
    """
    matrices = [p for p in model.parameters() if p.ndim > 1]
    vectors = [p for p in model.parameters() if p.ndim <= 1]
    groups = [
        {"params": matrices, "weight_decay": config.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=(config.beta_1, config.beta_2))
