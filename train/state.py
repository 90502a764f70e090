"""Everything that the rest of a training run depends on."""

import copy
from dataclasses import dataclass

import torch
from torch import Tensor

from ancestral.errors import InvalidInput
from ancestral.train.batches import Batches
from ancestral.train.config import Recipe
from ancestral.train.data.dataset import Dataset
from ancestral.train.models.autoregressive import AutoregressiveModel
from ancestral.train.models.families import Model, build_model
from ancestral.train.optimisation import optimiser


@dataclass(frozen=True, slots=True)
class Evaluation:
    """How good the averaged weights are on validation, at one step.

    Attributes:
        step: steps taken.
        seconds: of training up to here.
        train_bits: mean bits/dim of the training batches since the last evaluation, with dropout.
        validation_bits: bits/dim on validation, under the averaged weights: of p(x | y); of the
            ELBO for a variational autoencoder; of p(x | z) alone for a VQ-VAE.
        reconstruction: mean log p(x | z) on validation, in nats; None without latents.
        kl: mean KL(q(z | x) || p(z)) there, in nats; None without one.
        active: latent dimensions in use there, or codes; None without latents.
    """

    step: int
    seconds: float
    train_bits: float
    validation_bits: float
    reconstruction: float | None = None
    kl: float | None = None
    active: int | None = None


@dataclass(slots=True)
class TrainingState:
    """A run between two steps; torch's global generator, which dropout draws from, goes with it.

    Attributes:
        model: the weights that the optimiser moves.
        average: their exponential average, evaluated and kept.
        optimiser: with its moments.
        batches: the order of the data.
        step: steps taken.
        seconds: of training so far.
        loss: sum of the loss, in nats, since the last evaluation; a tensor, so that no step waits
            for it.
        history: the evaluations.
        best: the averaged weights of the best evaluation.
    """

    model: Model
    average: Model
    optimiser: torch.optim.AdamW
    batches: Batches
    step: int
    seconds: float
    loss: Tensor
    history: list[Evaluation]
    best: dict[str, Tensor]

    @property
    def best_evaluation(self) -> Evaluation:
        """The first of the lowest validation bits."""
        return min(self.history, key=lambda each: each.validation_bits)


def begin(recipe: Recipe, data: Dataset, seed: int, device: torch.device) -> TrainingState:
    """The state before the first step; seeds torch's global generator.

    Raises:
        InvalidInput: recipe and data do not fit together.
    """
    torch.manual_seed(seed)
    model: Model = build_model(recipe.model, data.spec).to(device)
    config = recipe.training
    optional = isinstance(model, AutoregressiveModel) and model.label_optional
    if config.label_dropout and not optional:
        raise InvalidInput("label_dropout: expected a model with label_optional")
    return TrainingState(
        model=model,
        average=copy.deepcopy(model).eval().requires_grad_(False),
        optimiser=optimiser(model, config),
        batches=Batches(data.train, data.spec, config, seed),
        step=0,
        seconds=0.0,
        loss=torch.zeros((), dtype=torch.float64, device=device),
        history=[],
        best={},
    )
