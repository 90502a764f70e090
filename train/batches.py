"""The order in which training events are seen, from a generator of its own."""

from typing import Any, NamedTuple

import torch
from jaxtyping import Int64
from torch import Tensor

from ancestral.dataspec import DataSpec
from ancestral.errors import InvalidInput
from ancestral.ordering import RASTER
from ancestral.train.config import TrainingConfig
from ancestral.train.data.dataset import Part


class Batch(NamedTuple):
    """What one step sees.

    Attributes:
        read: values as the network reads them, to predict those after them: noise and all.
        x: values that it is to predict.
        label: class of each event, num_classes where it is withheld; None where there are none.
    """

    read: Int64[Tensor, "b t"]
    x: Int64[Tensor, "b t"]
    label: Int64[Tensor, " b"] | None


class Batches:
    """Endless batches: a fresh permutation each epoch; a last one that is too short is left out.

    Attributes:
        x: values of all events.
        chance: probability that each is 1, where binary data are drawn anew at each use.
        label: their classes.
        size: events a batch, at most all of them.
    """

    def __init__(self, part: Part, spec: DataSpec, config: TrainingConfig, seed: int) -> None:
        """Begin the first epoch.

        Args:
            part: the events.
            spec: their space.
            config: its batch_size, shift, noise and label_dropout are used.
            seed: of the order, the moves and the noise.

        Raises:
            InvalidInput: images are to be moved where events are no images, or labels withheld
                where there are none.
        """
        if config.shift and (len(spec.event_shape) != 2 or spec.ordering != RASTER):
            raise InvalidInput(
                f"shift: expected events [height, width] in raster order, "
                f"got {spec.event_shape} in order {spec.ordering}"
            )
        if config.label_dropout and spec.num_classes is None:
            raise InvalidInput("label_dropout: the events have no labels")
        self.x = torch.from_numpy(part.x)
        self.chance = None if part.chance is None else torch.from_numpy(part.chance)
        self.label = None if part.label is None else torch.from_numpy(part.label)
        self.size = min(config.batch_size, len(part))
        self._spec, self._config = spec, config
        self._generator = torch.Generator().manual_seed(seed)
        self._order, self._next = self._permutation(), 0

    def draw(self) -> Batch:
        """The next batch."""
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
        """Everything that the batches to come depend on."""
        return {
            "generator": self._generator.get_state(),
            "order": self._order.clone(),
            "next": self._next,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on where `state` was taken."""
        self._generator.set_state(state["generator"])
        self._order, self._next = state["order"], state["next"]

    def _permutation(self) -> Int64[Tensor, " n"]:
        return torch.randperm(len(self.x), generator=self._generator)

    def _moved(self, x: Int64[Tensor, "b t"]) -> Int64[Tensor, "b t"]:
        """Some of the images, each by one of the eight moves to a neighbouring pixel."""
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
        """Some of the values, each moved by at most noise_levels levels, within the range."""
        reach = self._config.noise_levels
        noisy = torch.rand(x.shape, generator=self._generator) < self._config.noise
        move = torch.randint(-reach, reach + 1, x.shape, generator=self._generator)
        return torch.where(noisy, (x + move).clamp(0, self._spec.levels - 1), x)
