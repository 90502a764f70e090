"""The last map of a network: from features to the parameters of the likelihood."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ancestral.train.likelihoods.likelihood import Likelihood
from ancestral.train.likelihoods.logistic_mixture import LogisticMixture
from ancestral.triton_kernels.linear import linear

_LOG_SCALE = -2.0
"""Of a fresh mixture's components, where the levels span 2."""


class Head(nn.Module):
    """x W + b with W stored [d_in, d_out]."""

    def __init__(self, width: int, likelihood: Likelihood, bias: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(width, likelihood.size) * width**-0.5)
        self.bias = nn.Parameter(torch.zeros(likelihood.size)) if bias else None
        if isinstance(likelihood, LogisticMixture) and self.bias is not None:
            k = likelihood.components
            with torch.no_grad():
                self.weight.mul_(0.1)
                # A fresh mixture covers the range of the levels evenly.
                self.bias[k : 2 * k] = (2 * torch.arange(k) + 1) / k - 1
                self.bias[2 * k :] = _LOG_SCALE

    def forward(self, x: Float[Tensor, "*b d"]) -> Float[Tensor, "*b p"]:
        """Parameters of each position, at least in float32."""
        return linear(x, self.weight, self.bias, wide=True)
