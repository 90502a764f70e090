"""Maps whose weights may be of 16 bits, whatever type they are given.

Latents, noise and real events are float32. A map takes them in the type of its weights; a wide one,
the last before probabilities, widens its weights instead and gives float32.
"""

from typing import TypeVar

from jaxtyping import Float
from torch import Tensor, nn

T = TypeVar("T", Tensor, Tensor | None)


class Linear(nn.Linear):
    """x W^T + b."""

    def __init__(self, d_in: int, d_out: int, *, wide: bool = False) -> None:
        super().__init__(d_in, d_out)
        self.wide = wide

    def forward(self, x: Float[Tensor, "*b i"]) -> Float[Tensor, "*b o"]:
        if self.wide:
            return nn.functional.linear(_wide(x), _wide(self.weight), _wide(self.bias))
        return super().forward(x.to(self.weight.dtype))


class Conv2d(nn.Conv2d):
    """A convolution of planes."""

    def __init__(
        self,
        planes: int,
        out: int,
        kernel: int,
        *,
        stride: int = 1,
        padding: int = 0,
        wide: bool = False,
    ) -> None:
        super().__init__(planes, out, kernel, stride=stride, padding=padding)
        self.wide = wide

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d i j"]:
        if self.wide:
            return self._conv_forward(_wide(x), _wide(self.weight), _wide(self.bias))
        return super().forward(x.to(self.weight.dtype))


def _wide(x: T) -> T:
    """At least in float32."""
    return x.float() if x is not None and x.dtype.itemsize == 2 else x
