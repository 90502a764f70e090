"""What a training run does, and recipes: a model and how it is trained."""

from dataclasses import dataclass
from typing import Literal

from ancestral.errors import InvalidInput
from ancestral.train.models.configuration import (
    Count,
    Fraction,
    ModelConfig,
    Natural,
    NotNegative,
    Positive,
    Rate,
    configuration,
)

Source = Literal["digits", "idx", "npz", "text"]
"""Kinds of data."""


@configuration
class ElboConfig:
    """How a variational autoencoder's bound is trained; no reported bound depends on it.

    Attributes:
        samples: latents drawn of each event.
        importance: whether several samples make the importance-weighted bound (IWAE), else the mean
            of their ELBOs.
        beta: weight of the KL term.
        warmup: steps over which that weight rises from 0.
        free_bits: nats of each latent dimension, on average over a batch, below which its KL is not
            pressed; of the ELBO alone.

    Raises:
        InvalidInput: a value outside its range, or free bits beside the importance-weighted bound.
    """

    samples: Count = 1
    importance: bool = True
    beta: NotNegative = 1.0
    warmup: Natural = 0
    free_bits: NotNegative = 0.0

    def __post_init__(self) -> None:
        if self.free_bits and self.samples > 1 and self.importance:
            raise InvalidInput(
                "free_bits: the importance-weighted bound has no KL term to floor: "
                "expected importance False, or one sample"
            )


@configuration
class TrainingConfig:
    """The budget is in steps, never in seconds: so that a resumed run equals an unbroken one.

    Attributes:
        steps: updates of the weights.
        batch_size: events an update.
        learning_rate: peak of the schedule.
        final_fraction: of the peak, at the last step.
        warmup: steps of linear rise.
        weight_decay: of AdamW, on matrices and tables.
        beta_1: of AdamW, average of gradients.
        beta_2: of AdamW, average of their squares.
        clip: largest norm of the gradient.
        average_decay: of the exponential average of the weights, which is what is kept; 0 is none.
        evaluate_every: steps between two evaluations on validation and between two saved states.
        patience: stop after so many evaluations without a better one; None never stops early.
        shift: probability that a training image is moved by one pixel, in a random direction out of
            eight, the free row or column filled with level 0.
        noise: probability that a value is moved where the network reads it; the same value, where
            the network is to predict it, stays as it is.
        noise_levels: the farthest of these moves, all of which are alike.
        label_dropout: probability that an event's label is withheld, of a model that knows "none".
        autocast: bfloat16 products on a GPU, of autoregressive models; the CPU trains in float32.
        elbo: for variational autoencoders.

    Raises:
        InvalidInput: a value outside its range.
    """

    steps: Count
    batch_size: Count = 32
    learning_rate: Positive = 2e-3
    final_fraction: Fraction = 0.02
    warmup: Natural = 100
    weight_decay: NotNegative = 0.1
    beta_1: Rate = 0.9
    beta_2: Rate = 0.95
    clip: Positive = 1.0
    average_decay: Rate = 0.99
    evaluate_every: Count = 100
    patience: Count | None = None
    shift: Fraction = 0.0
    noise: Fraction = 0.0
    noise_levels: Count = 2
    label_dropout: Fraction = 0.0
    autocast: bool = True
    elbo: ElboConfig = ElboConfig()


@dataclass(frozen=True, slots=True)
class Recipe:
    """What is trained, and how.

    Attributes:
        name: for people and for `--recipe`.
        source: the kind of data that it was made for.
        model: shape of the network.
        training: budget and optimisation.
        prior: of a model over codes: how the autoregressive model of them is trained afterwards.
    """

    name: str
    source: Source
    model: ModelConfig
    training: TrainingConfig
    prior: "Recipe | None" = None
