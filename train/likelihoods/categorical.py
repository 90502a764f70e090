"""The categorical likelihood over v values: log-probabilities, and draws by inverse CDF."""

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from ancestral.triton_kernels.sample_token.inverse_cdf import (
    draw_or_take,
    inverse_cdf,
    unnormalised,
)


@final
@dataclass(frozen=True, slots=True)
class Categorical:
    """Any distribution over v levels; the parameters are logits [.., v]."""

    levels: int

    @property
    def size(self) -> int:
        """Parameters of one position."""
        return self.levels

    def logits(self, parameters: Float[Tensor, "*b v"]) -> Float[Tensor, "*b v"]:
        """The parameters themselves."""
        return parameters

    def log_prob(
        self, parameters: Float[Tensor, "*b v"], x: Int64[Tensor, "*b"]
    ) -> Float[Tensor, "*b"]:
        """log p(x) in nats, at least in float32."""
        wide = parameters if parameters.dtype == torch.float64 else parameters.float()
        return wide.log_softmax(dim=-1).gather(-1, x[..., None])[..., 0]

    def draw(
        self, parameters: Float[Tensor, "*b v"], u: Float[Tensor, "*b"]
    ) -> Int64[Tensor, "*b"]:
        """The value that u in (0, 1) draws from softmax(parameters)."""
        return inverse_cdf(unnormalised(parameters)[1], u)[0]

    def draw_or_take(
        self,
        parameters: Float[Tensor, "*b v"],
        u: Float[Tensor, "*b"],
        forced: Int64[Tensor, "*b"],
    ) -> tuple[Int64[Tensor, "*b"], Float[Tensor, "*b"]]:
        """The forced value, or a drawn one where it is negative; and log p of it, in nats."""
        return draw_or_take(parameters, u, forced)
