"""Recipes: a model, and how it is trained."""

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
"""The kind of data that a recipe is made for."""


@configuration
class ElboConfig:
    """Settings of the bound that trains a variational autoencoder; reported bounds do not use them.

    Attributes:
        samples: latents drawn per event.
        importance: whether several samples form the importance-weighted bound (IWAE). Otherwise the
            mean of their ELBOs is used.
        beta: weight of the KL term.
        warmup: steps over which the weight of the KL term rises from 0 to `beta`.
        free_bits: KL per latent dimension, in nats and averaged over a batch, below which the KL
            term is held constant. For the ELBO only.

    Raises:
        InvalidInput: a value is out of range, or `free_bits` is combined with the
            importance-weighted bound.

    References:
        Burda et al. (2016), arXiv:1509.00519, section 3 (IWAE). Higgins et al. (2017), beta-VAE.
        Kingma et al. (2016), arXiv:1606.04934, appendix C.8 (free bits).
    """

    samples: Count = 1
    importance: bool = True
    beta: NotNegative = 1.0
    warmup: Natural = 0
    free_bits: NotNegative = 0.0

    def __post_init__(self) -> None:
        if self.free_bits and self.samples > 1 and self.importance:
            raise InvalidInput(
                f"free_bits: expected 0 with the importance-weighted bound, which has no KL term "
                f"to floor, got {self.free_bits}; set importance to False or samples to 1"
            )


@configuration
class TrainingConfig:
    """Budget and optimisation of a training run.

    The budget is in steps, not in seconds, so that a resumed run equals an uninterrupted one.

    Attributes:
        steps: number of weight updates.
        batch_size: events per step.
        learning_rate: peak of the learning rate schedule.
        final_fraction: learning rate at the last step, as a fraction of the peak.
        warmup: steps over which the learning rate rises linearly.
        weight_decay: weight decay of AdamW, on matrices and tables.
        beta_1: decay of AdamW's average of the gradients.
        beta_2: decay of AdamW's average of the squared gradients.
        clip: largest norm of the gradient.
        average_decay: decay of the exponential average of the weights. The averaged weights are
            evaluated and saved. 0 means no averaging.
        evaluate_every: steps between two evaluations on validation. The state is saved at each.
        patience: number of evaluations without improvement after which training stops; None never
            stops early.
        shift: probability that a training image is shifted by one pixel, in one of eight directions
            at random. The free row or column is filled with level 0.
        noise: probability that a value is perturbed where the network reads it. The value that the
            network must predict is not perturbed.
        noise_levels: largest perturbation in levels. All perturbations from `-noise_levels` to
            `noise_levels` are equally likely.
        label_dropout: probability that an event's label is withheld. The model must have
            `label_optional`.
        autocast: whether autoregressive models use bfloat16 autocast on a GPU. On the CPU, training
            is in float32.
        elbo: settings of the bound, for variational autoencoders.

    Raises:
        InvalidInput: a value is out of range.
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
    """A model and how it is trained.

    Attributes:
        name: name in reports and for `--recipe`.
        source: kind of data that the recipe is made for.
        model: configuration of the network.
        training: budget and optimisation.
        prior: recipe of the autoregressive prior, which is trained afterwards, for a model over
            codes; None for other models.
    """

    name: str
    source: Source
    model: ModelConfig
    training: TrainingConfig
    prior: "Recipe | None" = None
