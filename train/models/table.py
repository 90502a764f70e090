"""Tables of p(x_t | some earlier values): counts, smoothed by backing off to shorter contexts.

Tables are the exact reference among the models, and the baseline: nothing is learned but counts.
With c the counts of the values after a context, and q the distribution given the context without
its last part, the estimate is the mean of a Dirichlet posterior,

    p = (c + s q) / (sum c + s)

down to q = 1/v. The last neighbour is dropped first, then the others, then the label, then the
position.

References:
    MacKay and Peto (1995), A hierarchical Dirichlet language model, Natural Language Engineering 1.
"""

import math
from typing import Annotated, final

import numpy as np
import torch
from jaxtyping import Float, Int64
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from ancestral.arrays import shown
from ancestral.dataspec import DataSpec
from ancestral.errors import InvalidInput
from ancestral.ordering import neighbours
from ancestral.signature import CacheEntry
from ancestral.train.models.autoregressive import (
    AutoregressiveModel,
    Cache,
    Events,
    Extended,
    Label,
    Positions,
    Tokens,
)
from ancestral.train.models.configuration import LARGEST, AutoregressiveConfig, Count, configuration
from ancestral.train.models.inputs import checked_label, consumed_entry, shifted
from ancestral.triton_kernels.append import append

_LARGEST, _MOST_AXES = 2**28, 64
"""Largest numbers of entries and of axes of a table; a neighbour at least doubles the entries."""


Counts = Float[np.ndarray, "*contexts v"]
"""How often each value follows each context, or its probability there."""
Displacement = Annotated[int, Field(ge=-LARGEST, le=LARGEST)]


@configuration
class TableConfig(AutoregressiveConfig):
    """The context that the next value depends on.

    Attributes:
        neighbours: displacements of earlier values. (-1,) is the previous value of a sequence; in
            an image (0, -1) is the left and (-1, 0) the upper neighbour.
        cells: number of equal ranges of levels that neighbours are binned into; None keeps all
            levels.
        per_position: whether each position has its own table.
        label_optional: whether there is a table for "no label".

    Raises:
        InvalidInput: a value is out of range.
    """

    neighbours: tuple[tuple[Displacement, ...], ...] = ()
    cells: Count | None = None
    per_position: bool = False
    label_optional: bool = False


@final
class Table(AutoregressiveModel):
    """A table of log p(value | context), as logits, for every context.

    References:
        MacKay and Peto (1995), A hierarchical Dirichlet language model.
    """

    place: Tensor

    def __init__(self, config: TableConfig, data: DataSpec) -> None:
        """Make the uniform distribution; `smooth` then sets the probabilities.

        Args:
            config: neighbours and other parts of the context.
            data: space of the events.

        Raises:
            InvalidInput: a neighbour has another number of axes than the events or is never drawn
                before the value, or the table would be too large.
        """
        super().__init__()
        self.config, self.data = config, data
        self.label_optional = config.label_optional
        self.cells = data.levels if config.cells is None else config.cells
        self.shape = (
            data.length if config.per_position else 1,
            (data.num_classes or 1) + config.label_optional,
            *([self.cells + 1] * len(config.neighbours)),
        )
        contexts = math.prod(self.shape) if len(self.shape) <= _MOST_AXES else _LARGEST
        if contexts * data.levels > _LARGEST or len(self.shape) > _MOST_AXES:
            raise InvalidInput(
                f"table: {contexts} or more contexts of {data.levels} levels needed, {_LARGEST} "
                f"numbers available; use fewer neighbours or cells"
            )
        uniform = torch.full((contexts, data.levels), -float(np.log(data.levels)))
        self.table = nn.Parameter(uniform, requires_grad=False)
        # A placeholder first, so that an event that is too long is refused before the search.
        self.register_buffer("place", torch.zeros(data.length, len(config.neighbours)))
        found = np.zeros((data.length, 0), np.int64)
        if config.neighbours:
            found = neighbours(data.order, data.event_shape, config.neighbours)
        if (found < 0).all(axis=0).any():
            raise InvalidInput(
                f"neighbours: expected each to be drawn before some position, got "
                f"{shown(config.neighbours)} in order {shown(data.ordering)}"
            )
        self._found = found
        # Slot n consumed the value at position n - 1; -1 means no slot.
        place = np.where(found < 0, -1, found + 1)
        self.register_buffer("place", torch.tensor(place.tolist()).view(place.shape))

    @property
    def cache_spec(self) -> tuple[CacheEntry, ...]:
        """The consumed values, if there are neighbours."""
        if not self.config.neighbours:
            return ()
        return (consumed_entry(self.data),)

    def predict(self, x: Events, label: Label) -> Float[Tensor, "b t v"]:
        """Look up the logits of every position."""
        return self._look_up(shifted(x), torch.arange(x.shape[1], device=x.device)[None], label)

    def extend(self, tokens: Tokens, position: Positions, cache: Cache, label: Label) -> Extended:
        """Look up the logits of the positions of the block."""
        new, consumed = dict(cache), tokens
        if self.config.neighbours:
            consumed = new["consumed"] = append(cache["consumed"], position, tokens)
        at = position[:, None] + torch.arange(tokens.shape[1], device=tokens.device)
        return self._look_up(consumed, at, label), new

    def _look_up(
        self, consumed: Int64[Tensor, "b n"], at: Int64[Tensor, "#b s"], label: Label
    ) -> Float[Tensor, "b s v"]:
        """Return the logits given the consumed values."""
        label = checked_label(label, self.data)
        context = at if self.config.per_position else torch.zeros_like(at)
        given = torch.zeros_like(consumed[:, :1]) if label is None else label[:, None]
        context = context * self.shape[1] + given
        for n in range(len(self.config.neighbours)):
            slot = self.place[:, n][at]
            value = consumed.gather(1, slot.clamp_min(0).expand(consumed.shape[0], -1))
            cell = torch.where(slot < 0, self.cells, value * self.cells // self.data.levels)
            context = context * (self.cells + 1) + cell
        return nn.functional.embedding(context, self.table)

    def counts(self, x: Int64[np.ndarray, "n t"], label: Int64[np.ndarray, " n"] | None) -> Counts:
        """Return how often each value follows each context; each part of a context has an axis."""
        found = np.zeros(
            (self.shape[0], self.data.num_classes or 1, *self.shape[2:], self.data.levels)
        )
        np.add.at(found, (*self.contexts(x, label), x), 1)
        return found

    @torch.no_grad()
    def smooth(self, counts: Counts, strengths: tuple[float, ...]) -> None:
        """Set the table to the posterior mean of these counts.

        Args:
            counts: counts from `counts`.
            strengths: strength s of each back-off: to 1/v; with labels, to the position only; then
                to the context without each neighbour, in their order.

        Raises:
            InvalidInput: the number of strengths is wrong, or one is not positive.
        """
        self.table.copy_(torch.from_numpy(np.log(self.estimate(counts, strengths))).flatten(0, -2))

    def estimate(self, counts: Counts, strengths: tuple[float, ...]) -> Float[np.ndarray, "*all v"]:
        """Return p(value | context) with the axes of `shape`; arguments are those of `smooth`."""
        labelled = self.data.num_classes is not None
        steps = 1 + labelled + len(self.config.neighbours)
        if len(strengths) != steps or not all(0 < each < math.inf for each in strengths):
            raise InvalidInput(f"strengths: expected {steps} positive numbers, got {strengths}")
        parts = [_backed_off(counts, strengths)] if labelled else []
        if self.label_optional or not labelled:
            kept = (strengths[0], *strengths[1 + labelled :])
            parts.append(_backed_off(counts.sum(axis=1), kept)[:, None])
        return np.concatenate(parts, axis=1)

    def contexts(
        self, x: Int64[np.ndarray, "n t"], label: NDArray[np.int64] | None
    ) -> tuple[NDArray[np.int64], ...]:
        """Return the index of each position's context along each axis of the shape, [n, t] each."""
        n, t = x.shape
        cells = np.append(x * self.cells // self.data.levels, np.full((n, 1), self.cells), axis=1)
        place = np.arange(t) if self.config.per_position else np.zeros(t, np.int64)
        given = np.zeros(n, np.int64) if label is None else label
        return (
            np.broadcast_to(place, (n, t)),
            np.broadcast_to(given[:, None], (n, t)),
            *(cells[:, self._found[:, i]] for i in range(self._found.shape[1])),
        )


def _backed_off(counts: Counts, strengths: tuple[float, ...]) -> Counts:
    """Return the probabilities given whole contexts; each axis backs off to those before it."""
    estimate: NDArray[np.float64] = np.array(1 / counts.shape[-1])
    for axis, strength in enumerate(strengths, start=1):
        kept = counts.sum(axis=tuple(range(axis, counts.ndim - 1)))
        shorter = estimate[..., None, :] if estimate.ndim else estimate
        estimate = (kept + strength * shorter) / (kept.sum(axis=-1, keepdims=True) + strength)
    return estimate
