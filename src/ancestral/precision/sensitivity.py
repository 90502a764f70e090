"""The cost of each weight in each form, while all others are unchanged.

The sum of these costs predicts the loss of a plan. An autoregressive model is measured in two ways
at once. The paired difference of log p is the loss itself, but noisy. KL(source || changed) of the
next values is its mean if the data were drawn from the source, and has far less noise; so weights
are ranked by it. A latent variable model has only paired differences of bounds.
"""

import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import reduce
from operator import add

import numpy as np
from jaxtyping import Float, Int64
from numpy.typing import NDArray
from torch import Tensor

from ancestral.bundles.quantisation import QuantisedTensor
from ancestral.paired_mean import PairedMean, paired_mean
from ancestral.precision.calibration import Answer, Calibration
from ancestral.precision.replay import Recording
from ancestral.train.evaluation import evaluating
from ancestral.train.models.families import Model
from ancestral.train.quantisation.places import Place, from_matrix, places
from ancestral.train.quantisation.rounding import Codes
from ancestral.triton_kernels.dequantise import dequantise_reference

Rounded = Callable[[str, Tensor, QuantisedTensor], Codes]
"""A function (name, matrix [n, k], form) -> codes."""
FEW = 10
"""Number of units from which on their spread is used for the standard error."""
Forms = Mapping[str, Sequence[QuantisedTensor]]
"""Forms that each weight may have, by its name."""


@dataclass(frozen=True, slots=True)
class Change:
    """What changes when something is quantised.

    Attributes:
        losses: log p or bound by the source minus that by the changed model, of each unit, [n].
        kl: KL of the next values of each unit, [n]; None for bounds.
    """

    losses: Float[np.ndarray, " n"]
    kl: Float[np.ndarray, " n"] | None

    def __add__(self, other: "Change") -> "Change":
        """Return the sum of the changes of two weights, on the same units."""
        kl = None if self.kl is None or other.kl is None else self.kl + other.kl
        return Change(self.losses + other.losses, kl)

    def estimate(self, positions: Int64[np.ndarray, " n"], measured_on: int) -> PairedMean:
        """Return the expected loss per position, and its standard error on other data.

        Both are infinite if the loss of a unit is not finite. The standard error of few units says
        little. Then it comes from the variance of independent differences of log p, which is
        2 KL to the second order if the data are drawn from the source.

        Args:
            positions: number of positions of each unit.
            measured_on: number of positions of the other data.
        """
        if not np.isfinite(self.losses).all():
            return PairedMean(math.inf, math.inf, len(positions))
        mean, error, units = paired_mean(self.losses, positions)
        total = int(positions.sum())
        error *= math.sqrt(total / measured_on)
        if self.kl is not None:
            mean = float(self.kl.sum()) / total
            if units < FEW:
                error = math.sqrt(2 * mean / measured_on)
        return PairedMean(mean, error, units)


@dataclass(frozen=True, slots=True)
class Sensitivities:
    """Measured costs.

    Attributes:
        positions: number of positions of each unit that was used, [n].
        changes: what each weight changes in each form, by its name.
    """

    positions: Int64[np.ndarray, " n"]
    changes: Mapping[tuple[str, QuantisedTensor], Change]

    def cost(self, name: str, how: QuantisedTensor) -> float:
        """Return the expected loss of a weight in a form, in nats per position, at least 0."""
        return max(0.0, self.changes[name, how].estimate(self.positions, 1).nats)

    def predicted(self, chosen: Mapping[str, QuantisedTensor], measured_on: int) -> PairedMean:
        """Return the expected loss of several weights, as the sum over them.

        Args:
            chosen: form of each quantised weight.
            measured_on: number of positions of the data for which the standard error is wanted.
        """
        changes = [self.changes[key] for key in chosen.items()]
        if not changes:
            return PairedMean(0.0, 0.0, len(self.positions))
        return reduce(add, changes).estimate(self.positions, measured_on)


def sensitivities(
    model: Model,
    forms: Forms,
    data: Calibration,
    rounded: Rounded,
    seconds: float,
    progress: Callable[[int, int], object] = lambda done, total: None,
    clock: Callable[[], float] = time.monotonic,
) -> Sensitivities:
    """Measure every weight in each of its forms, on as many units as fit in some time.

    Args:
        model: model in float32.
        forms: forms of each weight.
        data: data to measure on; at least two units are used.
        rounded: function that returns the codes of a weight in a form.
        seconds: time after which no further pass begins.
        progress: called with the number of finished forwards, and of all.
        clock: function that returns the time in seconds.
    """
    begun = clock()
    found: dict[tuple[str, QuantisedTensor], list[Change]] = defaultdict(list)
    passes = list(data.passes())
    each = sum(map(len, forms.values()))
    used = 0
    for i, some in enumerate(passes):
        for j, (name, how, change) in enumerate(_of_pass(model, forms, data, some, rounded)):
            found[name, how].append(change)
            progress(i * each + j + 1, len(passes) * each)
        used = some.stop
        if used >= 2 and (clock() - begun) * (i + 2) / (i + 1) > seconds:
            break
    joined = {key: _joined(changes) for key, changes in found.items()}
    return Sensitivities(data.positions[:used], joined)


def _of_pass(
    model: Model, forms: Forms, data: Calibration, some: slice, rounded: Rounded
) -> Iterator[tuple[str, QuantisedTensor, Change]]:
    recording = Recording(model)
    with evaluating(model):
        source = recording.record(lambda: data.answer(model, some))
        for place in places(model):
            for how in forms.get(place.name, ()):
                with changed(place, how, rounded), recording.replayed(place.name):
                    answer = data.answer(model, some)
                yield place.name, how, difference(data, source, answer, some)


@contextmanager
def changed(place: Place, how: QuantisedTensor, rounded: Rounded) -> Iterator[None]:
    """Let a weight have the numbers that its codes stand for."""
    weight = place.weight
    before = weight.data
    matrix = place.matrix
    codes = rounded(place.name, matrix, how)
    numbers = dequantise_reference(*codes, matrix.shape[1], how.bits)
    weight.data = from_matrix(numbers, tuple(before.shape), place.axis).contiguous()
    try:
        yield
    finally:
        weight.data = before


def difference(data: Calibration, source: Answer, other: Answer, some: slice) -> Change:
    """Return what another model changes on the units of a pass."""
    return Change(source.nats - other.nats, data.divergence(source, other, some))


def change_of(
    source: Model, model: Model, data: Calibration, units: int
) -> tuple[Change, NDArray[np.int64]]:
    """Return what a model changes on the first units, and the number of positions of each."""
    found = []
    with evaluating(source), evaluating(model):
        for some in data.passes():
            if some.start >= units:
                break
            before, after = (data.answer(each, some) for each in (source, model))
            found.append(difference(data, before, after, some))
    return _joined(found), data.positions[:units]


def _joined(changes: Sequence[Change]) -> Change:
    kl = [change.kl for change in changes if change.kl is not None]
    losses = np.concatenate([change.losses for change in changes])
    return Change(losses, np.concatenate(kl) if kl else None)
