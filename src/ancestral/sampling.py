"""Settings of a draw: bias and penalties, then temperature, then top-k, top-p and min-p."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ancestral.arrays import shown
from ancestral.errors import InvalidInput
from ancestral.scalars import real, whole
from ancestral.signature import Dtype

HOTTEST = 1e6
"""Highest temperature allowed: it makes a difference of 10 between logits a factor of 1.00001."""
MOST_BIAS = 1000.0
"""Largest absolute value of a finite bias, in nats."""
MOST_REPETITION = 100.0
"""Largest repetition penalty; the least is its inverse."""
MOST_PENALTY = 100.0
"""Largest absolute value of a presence or frequency penalty, in nats."""

SETTINGS: Mapping[str, Dtype] = {
    "temperature": "float32",
    "top_k": "int64",
    "top_p": "float32",
    "min_p": "float32",
}
"""Inputs of a filtered step for each row, with their dtypes; a plain step takes the first only."""
LOGIT_BIAS = "logit_bias"
ADJUSTMENTS: Mapping[str, Dtype] = {
    LOGIT_BIAS: "float32",
    "repetition_penalty": "float32",
    "presence_penalty": "float32",
    "frequency_penalty": "float32",
}
"""Further inputs of a full step for each row, with their dtypes; the bias is [v]."""
Bias = Mapping[int, float] | Sequence[tuple[int, float]]


@dataclass(frozen=True, slots=True)
class Sampling:
    """Settings of a draw; each one acts on the renormalised result of the previous one.

    Bias and penalties come first, in the order of the fields below, then temperature and filters.

    Attributes:
        temperature: divisor of the logits; 0 takes the most probable value (lowest index in a tie).
        top_k: keep i with #{j: p_j > p_i} < top_k; `None` is off.
        top_p: keep i if the p_j > p_i sum to less than top_p (nucleus, arXiv:1904.09751); 1 is off.
        min_p: keep i with p_i >= min_p * max p (arXiv:2407.01082); 0 is off.
        logit_bias: nats to add to the logits of some values, {id: nats}, from -1000 to 1000; -inf
            bans a value. Kept as pairs in the order of the ids; `None` is off.
        repetition_penalty: divisor of the positive logits of all values that have occurred in the
            row, given or drawn, and factor of the negative ones, from 0.01 to 100; 1 is off
            (arXiv:1909.05858, as in the transformers library).
        presence_penalty: nats to subtract from the logits of all values that were drawn in the row,
            from -100 to 100; 0 is off. Given values, as those of a prompt, do not count.
        frequency_penalty: nats to subtract for each time that a value was drawn in the row, from
            -100 to 100; 0 is off. Given values do not count.

    A filter keeps or drops all values of the same probability together. log p of what is drawn is
    always that of the model.

    Raises:
        InvalidInput: a setting is outside its range or NaN.
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float = 1.0
    min_p: float = 0.0
    logit_bias: Bias | None = None
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0

    def __post_init__(self) -> None:
        for name in ("temperature", "top_p", "min_p", *list(ADJUSTMENTS)[1:]):
            object.__setattr__(self, name, real(name, getattr(self, name)))
        if not 0 <= self.temperature <= HOTTEST:
            raise InvalidInput(
                f"temperature: expected a number in [0, {HOTTEST:g}], got {self.temperature}"
            )
        if self.top_k is not None:
            object.__setattr__(self, "top_k", whole("top_k", self.top_k, 1, 2**63 - 1))
        if not 0 < self.top_p <= 1:
            raise InvalidInput(f"top_p: expected a number in (0, 1], got {self.top_p}")
        if not 0 <= self.min_p <= 1:
            raise InvalidInput(f"min_p: expected a number in [0, 1], got {self.min_p}")
        object.__setattr__(self, LOGIT_BIAS, _bias(self.logit_bias))
        if not 1 / MOST_REPETITION <= self.repetition_penalty <= MOST_REPETITION:
            raise InvalidInput(
                f"repetition_penalty: expected a number in [{1 / MOST_REPETITION:g}, "
                f"{MOST_REPETITION:g}], got {self.repetition_penalty}"
            )
        for name in ("presence_penalty", "frequency_penalty"):
            value = getattr(self, name)
            if not -MOST_PENALTY <= value <= MOST_PENALTY:
                raise InvalidInput(
                    f"{name}: expected a number in [{-MOST_PENALTY:g}, {MOST_PENALTY:g}], got "
                    f"{value}"
                )

    def settings(self, levels: int) -> dict[str, float | NDArray[np.float32]]:
        """Return the inputs of a full step, for one row; the bias is [levels].

        A filter that is off has top_k = levels, top_p = 1 or min_p = 0.
        """
        top_k = levels if self.top_k is None else min(self.top_k, levels)
        bias = np.zeros(levels, np.float32)
        for value, nats in self._pairs:
            bias[value] = nats
        names = [*SETTINGS, *ADJUSTMENTS]
        return {name: getattr(self, name) for name in names} | {"top_k": top_k, LOGIT_BIAS: bias}

    def check(self, levels: int) -> None:
        """Check that a model has the values of the bias, and that one of its values can be drawn.

        Args:
            levels: number of the model's values.

        Raises:
            InvalidInput: an id of the bias is not a value of the model, or all values are
                banned.
        """
        for value, _ in self._pairs:
            whole(LOGIT_BIAS, value, 0, levels - 1)
        if sum(nats == -math.inf for _, nats in self._pairs) == levels:
            raise InvalidInput(
                f"logit_bias: expected at least one value that is not banned, got -inf for all "
                f"{levels}"
            )

    @property
    def unfiltered(self) -> bool:
        """Whether values are drawn from the model's own distribution."""
        return self == UNFILTERED

    @property
    def only_temperature(self) -> bool:
        """Whether there is nothing but a temperature."""
        return replace(self, temperature=1.0).unfiltered

    @property
    def adjusted(self) -> bool:
        """Whether there is a bias or a penalty."""
        return any(getattr(self, name) != getattr(UNFILTERED, name) for name in ADJUSTMENTS)

    @property
    def penalised(self) -> bool:
        """Whether there is a penalty, which depends on what a row drew before."""
        return self.adjusted and replace(self, logit_bias=None).adjusted

    @property
    def _pairs(self) -> Sequence[tuple[int, float]]:
        """The bias as `__post_init__` keeps it."""
        return () if self.logit_bias is None else tuple(self.logit_bias)  # type: ignore[arg-type]


def _bias(given: Any) -> tuple[tuple[int, float], ...] | None:
    """Return a bias as pairs in the order of the ids; None for an empty one.

    Raises:
        InvalidInput: it is not a mapping of ids to numbers, or a number is out of range.
    """
    if given is None:
        return None
    items = given.items() if isinstance(given, Mapping) else given
    pairs = isinstance(items, Sequence) and all(
        isinstance(each, tuple) and len(each) == 2 for each in items
    )
    if not isinstance(given, Mapping) and not pairs:
        raise InvalidInput(f"logit_bias: expected a dict of ids and numbers, got {shown(given)}")
    found: dict[int, float] = {}
    for key, value in items:
        number, nats = whole(LOGIT_BIAS, key, 0, 2**63 - 1), real(LOGIT_BIAS, value)
        if not (-MOST_BIAS <= nats <= MOST_BIAS or nats == -math.inf):
            raise InvalidInput(
                f"logit_bias: expected numbers in [{-MOST_BIAS:g}, {MOST_BIAS:g}] or -inf, got "
                f"{nats} for {number}"
            )
        if number in found:
            raise InvalidInput(f"logit_bias: expected each id once, got {number} again")
        found[number] = nats
    return tuple(sorted(found.items())) or None


UNFILTERED = Sampling()
"""Settings that draw from the model's own distribution."""
