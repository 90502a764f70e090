"""The state of a training run: weights, optimiser, order of the data and history."""

import copy
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Int64
from torch import Tensor

from ancestral.dataspec import DataSpec
from ancestral.errors import InvalidInput
from ancestral.ordering import RASTER
from ancestral.train.config import Recipe, TrainingConfig
from ancestral.train.data.dataset import Dataset, Part
from ancestral.train.models.autoregressive import AutoregressiveModel
from ancestral.train.models.families import Model, build_model


class Batch(NamedTuple):
    """The events of one step.

    Attributes:
        read: values that the network reads, with noise, [b, t].
        x: values that the network must predict, [b, t].
        label: class of each event, [b]; num_classes where it is withheld. None for data without
            labels.
    """

    read: Int64[Tensor, "b t"]
    x: Int64[Tensor, "b t"]
    label: Int64[Tensor, " b"] | None


class Batches:
    """Endless batches, in a new random order each epoch; a shorter last batch is left out.

    Attributes:
        x: values of all events, [n, t].
        chance: probability that each value is 1, [n, t], if binary data are drawn again at each
            use; otherwise None.
        label: class of each event, [n]; None for data without labels.
        size: events per batch, at most all of them.
    """

    def __init__(self, part: Part, spec: DataSpec, config: TrainingConfig, seed: int) -> None:
        """Start the first epoch.

        Args:
            part: the events.
            spec: space of the events.
            config: training settings; batch_size, shift, noise and label_dropout are used.
            seed: seed of the order, the shifts and the noise.

        Raises:
            InvalidInput: `shift` is set and the events are not images in raster order, or
                `label_dropout` is set and the events have no labels.
        """
        if config.shift and (len(spec.event_shape) != 2 or spec.ordering != RASTER):
            raise InvalidInput(
                f"shift: expected 0, or events [height, width] in raster order, got "
                f"{spec.event_shape} in order {spec.ordering}"
            )
        if config.label_dropout and spec.num_classes is None:
            raise InvalidInput(
                f"label_dropout: expected 0 for events without labels, got {config.label_dropout}"
            )
        self.x = torch.from_numpy(part.x)
        self.chance = None if part.chance is None else torch.from_numpy(part.chance)
        self.label = None if part.label is None else torch.from_numpy(part.label)
        self.size = min(config.batch_size, len(part))
        self._spec, self._config = spec, config
        self._generator = torch.Generator().manual_seed(seed)
        self._order, self._next = self._permutation(), 0

    def draw(self) -> Batch:
        """Return the next batch."""
        if self._next + self.size > len(self._order):
            self._order, self._next = self._permutation(), 0
        index = self._order[self._next : self._next + self.size]
        self._next += self.size
        x = self.x[index]
        if self.chance is not None:
            chance = self.chance[index]
            x = (torch.rand(chance.shape, generator=self._generator) < chance).long()
        if self._config.shift:
            x = self._moved(x)
        read = self._noisy(x) if self._config.noise else x
        label = None if self.label is None else self.label[index]
        if label is not None and self._config.label_dropout:
            withheld = (
                torch.rand(len(label), generator=self._generator) < self._config.label_dropout
            )
            label = torch.where(withheld, self._spec.num_classes or 0, label)
        return Batch(read, x, label)

    def state(self) -> dict[str, Any]:
        """Return everything that the remaining batches depend on."""
        return {
            "generator": self._generator.get_state(),
            "order": self._order.clone(),
            "next": self._next,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from where `state` was taken."""
        self._generator.set_state(state["generator"])
        self._order, self._next = state["order"], state["next"]

    def _permutation(self) -> Int64[Tensor, " n"]:
        return torch.randperm(len(self.x), generator=self._generator)

    def _moved(self, x: Int64[Tensor, "b t"]) -> Int64[Tensor, "b t"]:
        """Shift some of the images, each by one of the eight moves to a neighbouring pixel."""
        b, (height, width) = len(x), self._spec.event_shape
        moved = torch.rand(b, generator=self._generator) < self._config.shift
        move = torch.randint(8, (b,), generator=self._generator)
        move = torch.where(moved, move + (move >= 4).long(), 4)
        down, right = (move // 3 - 1)[:, None, None], (move % 3 - 1)[:, None, None]
        padded = torch.nn.functional.pad(x.view(b, height, width), (1, 1, 1, 1))
        row = torch.arange(height)[None, :, None] + 1 - down
        column = torch.arange(width)[None, None, :] + 1 - right
        return padded[torch.arange(b)[:, None, None], row, column].view(b, -1)

    def _noisy(self, x: Int64[Tensor, "b t"]) -> Int64[Tensor, "b t"]:
        """Change some of the values by at most noise_levels levels, within the range of levels."""
        reach = self._config.noise_levels
        noisy = torch.rand(x.shape, generator=self._generator) < self._config.noise
        move = torch.randint(-reach, reach + 1, x.shape, generator=self._generator)
        return torch.where(noisy, (x + move).clamp(0, self._spec.levels - 1), x)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Losses of the averaged weights on validation, at one step.

    Attributes:
        step: number of steps taken.
        seconds: seconds of training up to this step.
        train_bits: mean bits/dim of the training batches since the last evaluation, with dropout.
        validation_bits: bits/dim on validation: of p(x | y) for an autoregressive model, of the
            ELBO for a variational autoencoder, of p(x | z) only for a VQ-VAE.
        reconstruction: mean log p(x | z) on validation, in nats; None without latents.
        kl: mean KL(q(z | x) || p(z)) on validation, in nats; None without latents and for a VQ-VAE.
        active: number of latent dimensions, or codes, in use on validation; None without latents.
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
    """The state of a run between two steps.

    Dropout draws from torch's global generator, whose state is saved with this one.

    Attributes:
        model: model whose weights the optimiser updates.
        average: exponential average of the weights, which is evaluated and saved.
        optimiser: AdamW, with its moments.
        batches: the training data and their order.
        step: number of steps taken.
        seconds: seconds of training so far.
        loss: sum of the loss since the last evaluation, in nats; a tensor, so that no step waits
            for the GPU.
        history: evaluations so far.
        best: averaged weights of the best evaluation.
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
        """The evaluation with the lowest validation bits; the first one among equals."""
        return min(self.history, key=lambda each: each.validation_bits)


def begin(recipe: Recipe, data: Dataset, seed: int, device: torch.device) -> TrainingState:
    """Return the state before the first step; seed torch's global generator.

    Raises:
        InvalidInput: the recipe does not fit the data.
    """
    torch.manual_seed(seed)
    model: Model = build_model(recipe.model, data.spec).to(device)
    config = recipe.training
    optional = isinstance(model, AutoregressiveModel) and model.label_optional
    if config.label_dropout and not optional:
        raise InvalidInput(
            f"label_dropout: expected 0 for a model without label_optional, got "
            f"{config.label_dropout}"
        )
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


def optimiser(model: torch.nn.Module, config: TrainingConfig) -> torch.optim.AdamW:
    """Return AdamW with weight decay on matrices and tables, not on biases and other vectors.

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
