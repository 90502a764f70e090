"""What a training run does, and recipes: a model and how it is trained."""

import math
from dataclasses import dataclass
from typing import Literal

from ancestral.errors import InvalidInput
from ancestral.train.models.configuration import ModelConfig

Source = Literal["digits", "idx", "npz", "text"]
"""Kinds of data."""
_COUNTS = ("steps", "batch_size", "evaluate_every", "noise_levels")


@dataclass(frozen=True, slots=True)
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

    samples: int = 1
    importance: bool = True
    beta: float = 1.0
    warmup: int = 0
    free_bits: float = 0.0

    def __post_init__(self) -> None:
        weights = (self.beta, self.free_bits)
        sound = all(0 <= weight < math.inf for weight in weights)
        counts = isinstance(self.samples, int) and isinstance(self.warmup, int)
        if not counts or self.samples < 1 or self.warmup < 0 or not sound:
            raise InvalidInput(f"ElboConfig: expected samples >= 1 and the others >= 0, got {self}")
        if self.free_bits and self.samples > 1 and self.importance:
            raise InvalidInput(
                "ElboConfig.free_bits: the importance-weighted bound has no KL term to floor: "
                "expected importance False, or one sample"
            )


@dataclass(frozen=True, slots=True)
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

    steps: int
    batch_size: int = 32
    learning_rate: float = 2e-3
    final_fraction: float = 0.02
    warmup: int = 100
    weight_decay: float = 0.1
    beta_1: float = 0.9
    beta_2: float = 0.95
    clip: float = 1.0
    average_decay: float = 0.99
    evaluate_every: int = 100
    patience: int | None = None
    shift: float = 0.0
    noise: float = 0.0
    noise_levels: int = 2
    label_dropout: float = 0.0
    autocast: bool = True
    elbo: ElboConfig = ElboConfig()

    def __post_init__(self) -> None:
        for name, least in (*dict.fromkeys(_COUNTS, 1).items(), ("warmup", 0)):
            self._check(name, isinstance(getattr(self, name), int), f"an integer >= {least}")
            self._check(name, getattr(self, name) >= least, f"an integer >= {least}")
        if self.patience is not None:
            self._check("patience", self.patience >= 1, "an integer >= 1, or None")
        for name in ("learning_rate", "clip"):
            self._check(name, 0 < getattr(self, name) < math.inf, "a number > 0")
        self._check("weight_decay", 0 <= self.weight_decay < math.inf, "a number >= 0")
        for name in ("beta_1", "beta_2", "average_decay"):
            self._check(name, 0 <= getattr(self, name) < 1, "a number in [0, 1)")
        for name in ("final_fraction", "shift", "noise", "label_dropout"):
            self._check(name, 0 <= getattr(self, name) <= 1, "a number in [0, 1]")

    def _check(self, name: str, holds: bool, expected: str) -> None:
        if not holds:
            got = getattr(self, name)
            raise InvalidInput(f"TrainingConfig.{name}: expected {expected}, got {got!r}")


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
