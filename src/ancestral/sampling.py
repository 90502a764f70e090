"""How the next value is drawn: temperature, then top-k, top-p and min-p."""

from dataclasses import dataclass

from ancestral.errors import InvalidInput

HOTTEST = 1e6
"""Every distribution is even to rounding long before."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """Filters of a draw, each applied to the renormalised result of the one before.

    Attributes:
        temperature: logits are divided by it; 0 takes the most probable value (lowest index).
        top_k: keep i with #{p_j > p_i} < top_k; None is off.
        top_p: keep i with sum{p_j > p_i} < top_p (nucleus, arXiv:1904.09751); 1 is off.
        min_p: keep i with p_i >= min_p * max p (arXiv:2407.01082); 0 is off.

    Values of equal probability stay together in every filter.

    Raises:
        InvalidInput: a value outside its range, or NaN.
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float = 1.0
    min_p: float = 0.0

    def __post_init__(self) -> None:
        for name in ("temperature", "top_p", "min_p"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise InvalidInput(f"{name}: expected a number, got {value!r}")
        if not 0 <= self.temperature <= HOTTEST:
            raise InvalidInput(
                f"temperature: expected a number in [0, {HOTTEST:g}], got {self.temperature}"
            )
        k = self.top_k
        if k is not None and (isinstance(k, bool) or not isinstance(k, int) or k < 1):
            raise InvalidInput(f"top_k: expected an integer >= 1 or None, got {k!r}")
        if not 0 < self.top_p <= 1:
            raise InvalidInput(f"top_p: expected a number in (0, 1], got {self.top_p}")
        if not 0 <= self.min_p <= 1:
            raise InvalidInput(f"min_p: expected a number in [0, 1], got {self.min_p}")

    @property
    def unfiltered(self) -> bool:
        """Whether a draw is from the model's own distribution."""
        return self == Sampling()
