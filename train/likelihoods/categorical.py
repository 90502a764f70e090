"""The categorical likelihood over v values: log-probabilities, and draws by inverse CDF."""

from dataclasses import dataclass
from typing import final

from jaxtyping import Float, Int64
from torch import Tensor

from ancestral.train.likelihoods.likelihood import widened
from ancestral.triton_kernels.sample_token.inverse_cdf import inverse_cdf, unnormalised


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
        return widened(parameters).log_softmax(dim=-1).gather(-1, x[..., None])[..., 0]

    def draw(
        self, parameters: Float[Tensor, "*b v"], u: Float[Tensor, "*b"]
    ) -> Int64[Tensor, "*b"]:
        """The value that u in (0, 1) draws from softmax(parameters)."""
        return inverse_cdf(unnormalised(parameters)[1], u)[0]
