"""Round a matrix to codes of 4 or 8 bits, in groups that share a scale.

Symmetric: scale m / (2^(bits-1) - 1), m the largest absolute value of the group, and the zero point
in the middle. Asymmetric: the codes span the range from the smallest number to the largest, which
is extended to contain 0, so that zeros stay zeros.

References:
    Dettmers et al. (2022), LLM.int8(), arXiv:2208.07339, section 2.1.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from ancestral.bundles.quantisation import QuantisedTensor
from ancestral.errors import InvalidInput
from ancestral.triton_kernels.dequantise import packed


class Codes(NamedTuple):
    """A matrix [n, k] in codes, as `triton_kernels.dequantise` reads it.

    Attributes:
        codes: packed codes, [n, G, B bits / 8].
        scale: scale of each group, [n, G].
        zero: packed zero points, [n, z]; None for the middle.
    """

    codes: UInt8[Tensor, "n g p"]
    scale: Float[Tensor, "n g"]
    zero: UInt8[Tensor, "n z"] | None


def grouped(matrix: Float[Tensor, "n k"], group: int) -> Float[Tensor, "n g b"]:
    """Return the matrix in groups; the last group is filled up with zeros."""
    filled = torch.nn.functional.pad(matrix.contiguous(), (0, -matrix.shape[1] % group))
    return filled.unflatten(1, (-1, group))


def scales(
    groups: Float[Tensor, "n g b"], how: QuantisedTensor, half: bool
) -> tuple[Float[Tensor, "n g"], Float[Tensor, "n g"]]:
    """Return scale and zero point of each group, so that no number is out of range.

    A scale that is too large for its type is infinite; `check_scales` refuses it.

    Args:
        groups: numbers of each group.
        how: bits and symmetry.
        half: whether scales are rounded to float16, upwards.
    """
    top, middle = 2**how.bits - 1, 2 ** (how.bits - 1)
    if how.symmetric:
        scale = groups.abs().amax(dim=-1) / (middle - 1)
    else:
        low, high = groups.amin(dim=-1).clamp_max(0), groups.amax(dim=-1).clamp_min(0)
        scale = (high - low) / top
    if half:
        scale = _rounded_up(scale)
    if how.symmetric:
        return scale, torch.full_like(scale, middle)
    return scale, (-low / _divisor(scale)).round().clamp(0, top)


def nearest(matrix: Float[Tensor, "n k"], how: QuantisedTensor, half: bool = False) -> Codes:
    """Round each number to the nearest code.

    Args:
        matrix: finite numbers, float32.
        how: bits, group and symmetry.
        half: whether scales are stored in float16.
    """
    groups = grouped(matrix, how.group)
    scale, zero = scales(groups, how, half)
    return coded(groups, scale, zero, how)


def coded(
    groups: Float[Tensor, "n g b"],
    scale: Float[Tensor, "n g"],
    zero: Float[Tensor, "n g"],
    how: QuantisedTensor,
) -> Codes:
    """Round each number to the nearest code, given scales and zero points."""
    codes = (groups / _divisor(scale)[..., None]).round() + zero[..., None]
    found = codes.clamp(0, 2**how.bits - 1).to(torch.uint8)
    return Codes(packed(found, how.bits), scale, None if how.symmetric else _points(zero, how.bits))


def _divisor(scale: Tensor) -> Tensor:
    """Return the scales, with 1 for groups of zeros, whose scale is 0: their codes are at zero."""
    return torch.where(scale > 0, scale, 1)


def check_finite(name: str, matrix: Tensor) -> None:
    """Check the numbers of a weight.

    Raises:
        InvalidInput: a number is NaN or infinite.
    """
    wrong = int((~matrix.isfinite()).sum())
    if wrong:
        raise InvalidInput(
            f"{name}: expected finite numbers to quantise, got {wrong:,} that are not of "
            f"{matrix.numel():,}"
        )


def check_scales(name: str, codes: Codes, scales: str) -> None:
    """Check that the type of the scales can hold them.

    Args:
        name: name of the weight.
        codes: codes of the weight.
        scales: type of the scales in the file.

    Raises:
        InvalidInput: a scale is not finite.
    """
    if not codes.scale.isfinite().all():
        raise InvalidInput(
            f"{name}: expected numbers whose scales are within the range of {scales}, got larger "
            f"ones; use float32 scales, or leave the weight out of the plan"
        )


def _points(zero: Float[Tensor, "n g"], bits: int) -> UInt8[Tensor, "n z"]:
    codes = zero.to(torch.uint8)
    if bits == 4 and codes.shape[1] % 2:
        codes = torch.nn.functional.pad(codes, (0, 1))
    return packed(codes, bits)


def _rounded_up(scale: Tensor) -> Tensor:
    """Round to float16, upwards, so that the largest number of a group stays in range."""
    half = scale.half()
    above = torch.nextafter(half, torch.full_like(half, torch.inf))
    return torch.where(half.float() < scale, above, half).float()
