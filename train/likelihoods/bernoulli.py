"""The Bernoulli likelihood of binary data: one logit l, p(1) = sigmoid(l)."""

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from ancestral.errors import InvalidInput


@final
@dataclass(frozen=True, slots=True)
class Bernoulli:
    """A distribution over the levels 0 and 1; the parameter is the logit of 1."""

    levels: int = 2

    def __post_init__(self) -> None:
        if self.levels != 2:
            raise InvalidInput(
                f"bernoulli: expected data of 2 levels, got {self.levels}: binarise the data, or "
                f"take the categorical likelihood or the logistic mixture"
            )

    @property
    def size(self) -> int:
        """Parameters of one position."""
        return 1

    def logits(self, parameters: Float[Tensor, "*b 1"]) -> Float[Tensor, "*b 2"]:
        """Log-probabilities of 0 and 1 up to a constant: 0 and l."""
        return torch.cat([torch.zeros_like(parameters), parameters], dim=-1)

    def log_prob(
        self, parameters: Float[Tensor, "*b 1"], x: Int64[Tensor, "*b"]
    ) -> Float[Tensor, "*b"]:
        """log p(x) = -softplus((1 - 2x) l) in nats."""
        logit = _wide(parameters)[..., 0]
        # Written out: a runtime's own softplus may take the logarithm of a rounded sigmoid.
        against = torch.where(x > 0, -logit, logit)
        return -(against.clamp_min(0.0) + (-against.abs()).exp().log1p())

    def draw(
        self, parameters: Float[Tensor, "*b 1"], u: Float[Tensor, "*b"]
    ) -> Int64[Tensor, "*b"]:
        """1 where u in (0, 1) is above p(0)."""
        logit = _wide(parameters)[..., 0]
        return ((-logit).sigmoid() < u).long()

    def draw_or_take(
        self,
        parameters: Float[Tensor, "*b 1"],
        u: Float[Tensor, "*b"],
        forced: Int64[Tensor, "*b"],
    ) -> tuple[Int64[Tensor, "*b"], Float[Tensor, "*b"]]:
        """The forced value, or a drawn one where it is negative; and log p of it, in nats."""
        value = torch.where(forced >= 0, forced, self.draw(parameters, u))
        return value, self.log_prob(parameters, value)


def _wide(parameters: Tensor) -> Tensor:
    return parameters if parameters.dtype == torch.float64 else parameters.float()
