"""What p(x_t | parameters) must be able to do, whoever makes the parameters."""

from typing import Protocol, runtime_checkable

from jaxtyping import Float, Int64
from torch import Tensor


@runtime_checkable
class Likelihood(Protocol):
    """A distribution over the levels 0 .. v - 1, given p numbers for each position."""

    @property
    def levels(self) -> int:
        """Number of values v."""
        ...

    @property
    def size(self) -> int:
        """Number of parameters p of one position."""
        ...

    def logits(self, parameters: Float[Tensor, "*b p"]) -> Float[Tensor, "*b v"]:
        """Log-probabilities of all levels, perhaps up to a constant."""
        ...

    def log_prob(
        self, parameters: Float[Tensor, "*b p"], x: Int64[Tensor, "*b"]
    ) -> Float[Tensor, "*b"]:
        """log p(x) in nats, at least in float32."""
        ...

    def draw(
        self, parameters: Float[Tensor, "*b p"], u: Float[Tensor, "*b"]
    ) -> Int64[Tensor, "*b"]:
        """The value that u in (0, 1) draws: the first whose cumulative probability reaches u."""
        ...

    def draw_or_take(
        self,
        parameters: Float[Tensor, "*b p"],
        u: Float[Tensor, "*b"],
        forced: Int64[Tensor, "*b"],
    ) -> tuple[Int64[Tensor, "*b"], Float[Tensor, "*b"]]:
        """What a step leaves: the value, drawn where `forced` is negative; and its log p."""
        ...
