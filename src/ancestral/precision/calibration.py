"""Nats of the calibration half under a PyTorch model, a few units at a time."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import NamedTuple, final

import numpy as np
import torch
from jaxtyping import Float, Int64
from numpy.typing import NDArray
from torch import Tensor

from ancestral.bundles.cost import Unit
from ancestral.engine import Engine, LatentEngine
from ancestral.engine.inputs import events
from ancestral.engine.losses.compare import K
from ancestral.engine.losses.sequences import Sequences, sequences
from ancestral.errors import InvalidInput
from ancestral.precision.split import Data
from ancestral.train.bounds import ENGINE, bound
from ancestral.train.models.autoregressive import AutoregressiveModel
from ancestral.train.models.families import Model
from ancestral.train.models.latent_variable import LatentVariableModel

LONGEST = 256
"""Values of a window that take part; the others are cut off, because more windows tell more."""
_POSITIONS, _LOGITS, _WORK = 2**12, 2**26, 2**36
"""Most positions, logits, and products of a position with a parameter, of one pass.

A pass has at least two units.
"""
_EVENTS = 256
"""Events of one pass of a latent variable model."""


class Answer(NamedTuple):
    """What a model gives to the units of a pass.

    Attributes:
        nats: log p of the values that count, or the bound, of each unit, [b].
        log_probs: log p of every next value, [b, t, v]; None for a bound.
    """

    nats: Float[np.ndarray, " b"]
    log_probs: Float[Tensor, "b t v"] | None


class Calibration(ABC):
    """Units of data, and what models give to them.

    Attributes:
        unit: name of the units.
        positions: number of positions of each unit that count, [n].
    """

    unit: Unit
    positions: Int64[np.ndarray, " n"]

    @property
    @abstractmethod
    def rows(self) -> int:
        """Number of units of a pass."""

    @final
    def passes(self) -> Iterator[slice]:
        """Yield the units of each pass."""
        for at in range(0, len(self.positions), self.rows):
            yield slice(at, min(at + self.rows, len(self.positions)))

    @abstractmethod
    def answer(self, model: Model, some: slice) -> Answer:
        """Return what a model in evaluation mode gives to the units of a pass."""

    @abstractmethod
    def divergence(self, source: Answer, other: Answer, some: slice) -> NDArray[np.float64] | None:
        """Return KL(source || other) of the next values, summed over each unit; None for bounds."""


class SequenceCalibration(Calibration):
    """Calibration of an autoregressive model, whose log p is known."""

    def __init__(self, data: Sequences, labels: NDArray[np.int64] | None, model: Model) -> None:
        """Cut the windows.

        Args:
            data: values by positions.
            labels: class of each sequence, [n]; None without classes.
            model: model whose log p is needed.
        """
        assert isinstance(model, AutoregressiveModel)
        cut = data.unit == "windows" and model.takes_prefixes
        x = data.x[:, :LONGEST] if cut else data.x
        lengths = np.minimum(data.lengths, x.shape[1])
        counted = Sequences(x, lengths, data.unit).predicted(model.first_position)
        if not model.takes_prefixes:
            # Values after the end change nothing before it.
            missing = [(0, 0), (0, model.data.length - x.shape[1])]
            x, counted = np.pad(x, missing), np.pad(counted, missing)
        self.unit, self.positions = data.unit, counted.sum(axis=1)
        self._x, self._counted = torch.tensor(x), torch.tensor(counted)
        self._labels = None if labels is None else torch.tensor(labels)
        numbers = sum(parameter.numel() for parameter in model.parameters())
        most: int = min(_POSITIONS, _LOGITS // model.data.levels, _WORK // max(1, numbers))
        self._rows = max(2, int(most // x.shape[1]))

    @property
    def rows(self) -> int:
        """Number of units of a pass."""
        return self._rows

    def answer(self, model: Model, some: slice) -> Answer:
        """Return log p of the values, and of every next value."""
        assert isinstance(model, AutoregressiveModel)
        x, label = self._x[some], None if self._labels is None else self._labels[some]
        parameters = model.predict(x, label)
        log_prob = model.log_prob_given(parameters, x).double()
        nats = torch.where(self._counted[some], log_prob, 0).sum(dim=1).numpy()
        return Answer(nats, model.likelihood.logits(parameters).log_softmax(dim=-1))

    def divergence(self, source: Answer, other: Answer, some: slice) -> NDArray[np.float64]:
        """Return the KL of each unit, as the sum of p (log p - log q) - p + q, which is exact."""
        log_p, log_q = source.log_probs, other.log_probs
        assert log_p is not None
        assert log_q is not None
        p, q = log_p.exp(), log_q.exp()
        terms = torch.where(p > 0, p * (log_p - log_q) - p + q, q)
        kl = terms.sum(dim=-1).double()
        return np.asarray(torch.where(self._counted[some], kl, 0).sum(dim=1).numpy())


class BoundCalibration(Calibration):
    """Calibration of a latent variable model, by the bounds (IWAE) that `compare` computes."""

    unit: Unit = "events"

    def __init__(self, x: Int64[np.ndarray, "n t"]) -> None:
        """Keep the events."""
        self._x, self.positions = x, np.full(len(x), x.shape[1])

    @property
    def rows(self) -> int:
        """Number of events of a pass."""
        return _EVENTS

    def answer(self, model: Model, some: slice) -> Answer:
        """Return the bounds, from noise that depends only on the index of an event."""
        assert isinstance(model, LatentVariableModel)
        found = bound(model, self._x[some], K, first_index=some.start, streams=ENGINE)
        return Answer(found.iwae.astype(np.float64), None)

    def divergence(self, source: Answer, other: Answer, some: slice) -> None:
        """Return None: a bound has no distribution of next values."""


def calibration(engine: Engine, model: Model, data: Data) -> Calibration:
    """Return data as a calibration of a model.

    Args:
        engine: engine of the model's bundle.
        model: the model.
        data: units of the bundle's data.

    Raises:
        InvalidInput: the data are not the bundle's.
    """
    if not isinstance(engine, LatentEngine):
        return SequenceCalibration(
            sequences(engine, data.x, data.lengths),
            engine.labels(data.labels, len(data.x)),
            model,
        )
    if data.labels is not None:
        raise InvalidInput("labels: the model has no classes; leave labels out")
    return BoundCalibration(events(data.x, engine.data))


def units(source: Engine, data: Data) -> tuple[Unit, NDArray[np.int64]]:
    """Return the name of the units of data, and the number of positions of each, [n].

    Raises:
        InvalidInput: the data are not of the source.
    """
    if source.bundle.manifest.latent is not None:
        return "events", np.full(len(data.x), source.data.length)
    given = sequences(source, data.x, data.lengths)
    return given.unit, given.predicted(source.first_position).sum(axis=1)
