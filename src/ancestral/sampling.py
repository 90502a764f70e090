"""Settings of a draw: temperature, then top-k, top-p and min-p."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from ancestral.errors import InvalidInput
from ancestral.scalars import real, whole
from ancestral.signature import Dtype

HOTTEST = 1e6
"""Highest temperature allowed: it makes a difference of 10 between logits a factor of 1.00001."""


SETTINGS: Mapping[str, Dtype] = {
    "temperature": "float32",
    "top_k": "int64",
    "top_p": "float32",
    "min_p": "float32",
}
"""Inputs of a filtered step for each row, with their dtypes; a plain step takes the first only."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """Filters of a draw; each one acts on the renormalised result of the previous one.

    Attributes:
        temperature: divisor of the logits; 0 takes the most probable value (lowest index in a tie).
        top_k: keep i with #{j: p_j > p_i} < top_k; `None` is off.
        top_p: keep i if the p_j > p_i sum to less than top_p (nucleus, arXiv:1904.09751); 1 is off.
        min_p: keep i with p_i >= min_p * max p (arXiv:2407.01082); 0 is off.

    A filter keeps or drops all values of the same probability together.

    Raises:
        InvalidInput: a setting is outside its range or NaN.
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float = 1.0
    min_p: float = 0.0

    def __post_init__(self) -> None:
        for name in ("temperature", "top_p", "min_p"):
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

    def settings(self, levels: int) -> dict[str, float]:
        """Return the inputs of a step with filters, for one row.

        A filter that is off has top_k = levels, top_p = 1 or min_p = 0.
        """
        top_k = levels if self.top_k is None else min(self.top_k, levels)
        return {name: getattr(self, name) for name in SETTINGS} | {"top_k": top_k}

    @property
    def unfiltered(self) -> bool:
        """Whether values are drawn from the model's own distribution."""
        return self == UNFILTERED

    @property
    def only_temperature(self) -> bool:
        """Whether there are no filters after the temperature."""
        return replace(self, temperature=1.0).unfiltered


UNFILTERED = Sampling()
"""Settings that draw from the model's own distribution."""
