"""Round the weights of maps so that their outputs change little, not the weights themselves.

The columns of a weight [n, k] are rounded one after another. What the rounding of a column adds to
the outputs on calibration data is taken back by the columns that are not rounded yet. With the
second moments H = sum x x^T of the inputs x [k], and U the upper Cholesky factor of H^-1,

    e = (w_j - q(w_j)) / U_jj                          error of column j, for all n rows
    w_i <- w_i - e U_ji                                every later column i

The scales of a group are those of its numbers when its first column is reached.

References:
    Frantar et al. (2022), GPTQ: accurate post-training quantization for generative pre-trained
    transformers, arXiv:2210.17323, sections 3 and 4.
"""

from collections.abc import Callable, Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ancestral.bundles.quantisation import QuantisedTensor
from ancestral.train.models.layers import Linear
from ancestral.train.quantisation.places import places
from ancestral.train.quantisation.rounding import Codes, coded, grouped, nearest, scales

_DAMPING = 0.01
"""Added to the diagonal of H, as a share of its mean; inputs that are always 0 have no moments."""


@torch.no_grad()
def second_moments(model: nn.Module, run: Callable[[], object]) -> dict[str, Float[Tensor, "k k"]]:
    """Return the second moments of the inputs of each linear map, by the name of its weight.

    Args:
        model: model in float32.
        run: function that runs the model on calibration data.
    """
    found: dict[str, Tensor] = {}
    hooks = []
    for place in places(model):
        if not isinstance(place.module, (Linear, nn.Linear)):
            continue

        def add(module: nn.Module, given: tuple[Tensor, ...], name: str = place.name) -> None:
            x = given[0].flatten(0, -2)
            moments = (x.T @ x).double()
            found[name] = found[name] + moments if name in found else moments

        hooks.append(place.module.register_forward_pre_hook(add))
    try:
        run()
    finally:
        for hook in hooks:
            hook.remove()
    return found


class ErrorFeedback:
    """Rounds maps to 4 bits with error feedback, and everything else to the nearest code."""

    def __init__(self, moments: Mapping[str, Float[Tensor, "k k"]]) -> None:
        """Keep the moments.

        Args:
            moments: second moments of the inputs of each map, by the name of its weight.
        """
        self._moments = moments

    def __call__(self, name: str, matrix: Tensor, how: QuantisedTensor, half: bool) -> Codes:
        """Return the codes of a weight [n, k]; the arguments are those of `round_nearest`."""
        moments = self._moments.get(name)
        if moments is None or how.bits != 4:
            return nearest(matrix, how, half)
        return fed_back(matrix, moments, how, half)


def fed_back(
    matrix: Float[Tensor, "n k"], moments: Float[Tensor, "k k"], how: QuantisedTensor, half: bool
) -> Codes:
    """Round a weight with error feedback.

    Args:
        matrix: finite numbers.
        moments: second moments of the inputs.
        how: bits, group and symmetry.
        half: whether scales are stored in float16.
    """
    k = matrix.shape[1]
    left, rounded = matrix.double().clone(), torch.empty_like(matrix)
    factor = _factor(moments)
    found = []
    for begin in range(0, k, how.group):
        some = slice(begin, min(begin + how.group, k))
        scale, zero = scales(grouped(left[:, some].float(), how.group), how, half)
        found.append((scale, zero))
        # A group of zeros may have scale 0; its codes are at zero.
        divisor = torch.where(scale > 0, scale, 1)
        errors = torch.zeros_like(left[:, some])
        for j in range(some.start, some.stop):
            code = (left[:, j : j + 1].float() / divisor).round() + zero
            rounded[:, j : j + 1] = (code.clamp(0, 2**how.bits - 1) - zero) * scale
            error = (left[:, j] - rounded[:, j]) / factor[j, j]
            left[:, j + 1 : some.stop] -= error[:, None] * factor[j, j + 1 : some.stop]
            errors[:, j - begin] = error
        # The columns after the group, at once.
        left[:, some.stop :] -= errors @ factor[some, some.stop :]
    scale, zero = (torch.cat(parts, dim=1) for parts in zip(*found, strict=True))
    return coded(grouped(rounded, how.group), scale, zero, how)


def _factor(moments: Float[Tensor, "k k"]) -> Float[Tensor, "k k"]:
    """Return the upper Cholesky factor of the inverse of the moments, in float64."""
    damping = _DAMPING * moments.diagonal().mean().clamp_min(torch.finfo(torch.float64).tiny)
    damped = moments.double() + damping * torch.eye(len(moments), dtype=torch.float64)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(damped))
    return torch.linalg.cholesky(inverse, upper=True)
