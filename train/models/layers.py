"""Maps that networks are made of, and dropout.

Latents, noise and real events are float32, whatever type the weights have. A casting map takes them
in the type of its weights. A wide map, the last before probabilities, widens its weights instead.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ancestral.train.likelihoods.likelihood import Likelihood, widened
from ancestral.train.likelihoods.logistic_mixture import LogisticMixture, fresh_mixture
from ancestral.triton_kernels.linear import Activation, linear


def embedding(rows: int, width: int, scale: float) -> nn.Embedding:
    """A learned vector for each of so many things."""
    made = nn.Embedding(rows, width)
    nn.init.normal_(made.weight, std=scale)
    return made


def gated(x: Float[Tensor, "*b dd"]) -> Float[Tensor, "*b d"]:
    """tanh of one half times sigmoid of the other."""
    value, gate = x.chunk(2, dim=-1)
    return value.tanh() * gate.sigmoid()


class Linear(nn.Module):
    """x W + b with W stored [d_in, d_out], as the exported graphs read it."""

    def __init__(
        self, d_in: int, d_out: int, *, bias: bool = True, scale: float = 1.0, wide: bool = False
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(d_in, d_out) * (scale * d_in**-0.5))
        self.bias = nn.Parameter(torch.zeros(d_out)) if bias else None
        self.wide = wide

    def forward(
        self, x: Float[Tensor, "*b i"], activation: Activation = "none"
    ) -> Float[Tensor, "*b o"]:
        """Apply the map to the last axis, and the activation to its result."""
        return linear(x, self.weight, self.bias, activation, wide=self.wide)


class LastProjection(Linear):
    """From features to the parameters of a likelihood, at least in float32."""

    def __init__(self, width: int, likelihood: Likelihood, *, bias: bool = True) -> None:
        super().__init__(width, likelihood.size, bias=bias, wide=True)
        if isinstance(likelihood, LogisticMixture) and self.bias is not None:
            with torch.no_grad():
                self.weight.mul_(0.1)
                self.bias.copy_(fresh_mixture(likelihood.components))


class CastingLinear(nn.Linear):
    """x W^T + b in the type of the weights."""

    def forward(self, x: Float[Tensor, "*b i"]) -> Float[Tensor, "*b o"]:
        return super().forward(x.to(self.weight.dtype))


class WideLinear(nn.Linear):
    """x W^T + b, at least in float32."""

    def forward(self, x: Float[Tensor, "*b i"]) -> Float[Tensor, "*b o"]:
        return nn.functional.linear(widened(x), widened(self.weight), widened(self.bias))


class CastingConv2d(nn.Conv2d):
    """A convolution of planes in the type of the weights."""

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d i j"]:
        return super().forward(x.to(self.weight.dtype))


class WideConv2d(nn.Conv2d):
    """A convolution of planes, at least in float32."""

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d i j"]:
        return self._conv_forward(widened(x), widened(self.weight), widened(self.bias))


def dropout(x: Float[Tensor, "*s"], rate: float, training: bool) -> Float[Tensor, "*s"]:
    """Zero each value with probability `rate`, scale the others so that the mean stays.

    One random byte a value, several times cheaper on a CPU than Bernoulli draws: rates are rounded
    to a multiple of 1/256. The bytes come from torch's global generator of the device, in which a
    seed and a saved state bring them back.

    Args:
        x: any shape.
        rate: in [0, 1).
        training: otherwise x is returned as it is.

    References:
        Srivastava et al. (2014), Dropout: a simple way to prevent neural networks from overfitting.
    """
    dropped = min(round(rate * 256), 255)
    if not training or dropped == 0:
        return x
    # Eight bytes of a 64-bit draw are eight decisions.
    words = torch.empty((x.numel() + 7) // 8, dtype=torch.int64, device=x.device)
    words.random_(-(2**63), 2**63 - 1)
    kept = words.view(torch.uint8)[: x.numel()].view(x.shape) >= dropped
    return x * kept.to(x.dtype).mul_(256 / (256 - dropped))
