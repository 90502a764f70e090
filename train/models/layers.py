"""Linear maps, convolutions, embeddings and dropout.

Latents, noise and real events are float32, whatever the dtype of the weights. A casting map
converts them to the dtype of its weights. A wide map, the last one before probabilities, converts
its weights to float32 instead.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ancestral.train.likelihoods.likelihood import Likelihood, widened
from ancestral.train.likelihoods.logistic_mixture import LogisticMixture, fresh_mixture
from ancestral.triton_kernels.linear import Activation, linear
from ancestral.triton_kernels.quantised_linear import Quantised


def embedding(rows: int, width: int, scale: float) -> nn.Embedding:
    """Return an embedding with normally distributed vectors."""
    made = nn.Embedding(rows, width)
    nn.init.normal_(made.weight, std=scale)
    return made


def gated(x: Float[Tensor, "*b dd"]) -> Float[Tensor, "*b d"]:
    """Return the tanh of one half times the sigmoid of the other."""
    value, gate = x.chunk(2, dim=-1)
    return value.tanh() * gate.sigmoid()


def operand(module: nn.Module) -> Tensor | Quantised:
    """Return what a product with a module's weight reads: the weight, or its codes."""
    quantised: Callable[[str], Quantised] | None = getattr(module, "quantised", None)
    if quantised is not None:
        return quantised("weight")
    weight = module.weight
    assert isinstance(weight, Tensor)
    return weight


class Linear(nn.Module):
    """x W + b with W stored as [d_in, d_out], as in the exported graphs."""

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
        """Apply the map to the last axis, then the activation."""
        return linear(x, operand(self), self.bias, activation, wide=self.wide)


class LastProjection(Linear):
    """Maps features to the parameters of a likelihood, at least in float32."""

    def __init__(self, width: int, likelihood: Likelihood, *, bias: bool = True) -> None:
        super().__init__(width, likelihood.size, bias=bias, wide=True)
        if isinstance(likelihood, LogisticMixture) and self.bias is not None:
            with torch.no_grad():
                self.weight.mul_(0.1)
                self.bias.copy_(fresh_mixture(likelihood.components))


class CastingLinear(nn.Linear):
    """x W^T + b in the dtype of the weights."""

    def forward(self, x: Float[Tensor, "*b i"]) -> Float[Tensor, "*b o"]:
        weight = operand(self)
        if isinstance(weight, Quantised):
            return linear(widened(x), weight, self.bias)
        return super().forward(x.to(weight.dtype))


class WideLinear(nn.Linear):
    """x W^T + b, at least in float32."""

    def forward(self, x: Float[Tensor, "*b i"]) -> Float[Tensor, "*b o"]:
        weight = operand(self)
        if isinstance(weight, Quantised):
            return linear(widened(x), weight, self.bias)
        return nn.functional.linear(widened(x), widened(weight), widened(self.bias))


class CastingConv2d(nn.Conv2d):
    """A 2D convolution in the dtype of the weights."""

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d i j"]:
        return super().forward(x.to(self.weight.dtype))


class WideConv2d(nn.Conv2d):
    """A 2D convolution, at least in float32."""

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d i j"]:
        return self._conv_forward(widened(x), widened(self.weight), widened(self.bias))


def dropout(x: Float[Tensor, "*s"], rate: float, training: bool) -> Float[Tensor, "*s"]:
    """Zero each value with probability `rate`, and scale the others so that the mean is unchanged.

    Each value uses one random byte, which on a CPU is several times faster than Bernoulli draws;
    the rate is rounded to a multiple of 1/256. The bytes come from torch's global generator of the
    device, so a seed or a saved state reproduces them.

    Args:
        x: tensor of any shape.
        rate: dropout rate, in [0, 1).
        training: whether to drop values; otherwise x is returned as it is.

    References:
        Srivastava et al. (2014), Dropout: a simple way to prevent neural networks from overfitting.
    """
    dropped = min(round(rate * 256), 255)
    if not training or dropped == 0:
        return x
    # A 64-bit draw gives eight bytes, for eight values.
    words = torch.empty((x.numel() + 7) // 8, dtype=torch.int64, device=x.device)
    words.random_(-(2**63), 2**63 - 1)
    kept = words.view(torch.uint8)[: x.numel()].view(x.shape) >= dropped
    return x * kept.to(x.dtype).mul_(256 / (256 - dropped))
