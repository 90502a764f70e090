"""Weights of 4 or 8 bits, and the numbers that they stand for.

    W[n, k] = (code[n, k] - zero[n, g]) scale[n, g]            g = floor(k / B)

Each row of a matrix [n, k] is cut into groups of B numbers, which share a scale and a zero point.
Codes are unsigned. Codes of 4 bits are stored in pairs, the first one in the low half of a byte.
Without zero points, the zero point is the middle, 8 or 128. This is the layout that ONNX Runtime's
MatMulNBits reads.

References:
    Dettmers et al. (2022), LLM.int8(), arXiv:2208.07339, section 2 (symmetric and asymmetric
    codes). Frantar et al. (2022), arXiv:2210.17323, section 4 (groups).
"""

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from ancestral.triton_kernels.overridable import operator


def packed(codes: UInt8[Tensor, "*n b"], bits: int) -> UInt8[Tensor, "*n p"]:
    """Store codes in p = b bits / 8 bytes; with 4 bits, b is even.

    Args:
        codes: codes, below 2^bits.
        bits: 4 or 8.
    """
    return codes if bits == 8 else codes[..., ::2] | (codes[..., 1::2] << 4)


def unpacked(stored: UInt8[Tensor, "*n p"], bits: int) -> UInt8[Tensor, "*n b"]:
    """Return the codes that `packed` has stored."""
    return stored if bits == 8 else torch.stack([stored & 15, stored >> 4], dim=-1).flatten(-2)


def dequantise_reference(
    codes: UInt8[Tensor, "n g p"],
    scale: Float[Tensor, "n g"],
    zero: UInt8[Tensor, "n z"] | None,
    width: int,
    bits: int,
) -> Float[Tensor, "n k"]:
    """Return the matrix that codes stand for, in the type of the scales.

    Args:
        codes: packed codes of each group.
        scale: scale of each group.
        zero: packed zero points of each row; None for the middle.
        width: number k of columns; the last group may be longer than its part of the matrix.
        bits: 4 or 8.
    """
    values = unpacked(codes, bits).to(scale.dtype)
    if zero is None:
        centred = values - 2 ** (bits - 1)
    else:
        centred = values - unpacked(zero, bits)[:, : scale.shape[1], None].to(scale.dtype)
    return (centred * scale[..., None]).flatten(1)[:, :width]


def _fake(codes: Tensor, scale: Tensor, zero: Tensor | None, width: int, bits: int) -> Tensor:
    return scale.new_empty(codes.shape[0], width)


dequantise = operator(
    "dequantise",
    lambda *args: dequantise_reference(*args).contiguous(),
    "(Tensor codes, Tensor scale, Tensor? zero, int width, int bits) -> Tensor",
    _fake,
)
"""`dequantise_reference` as an operator; its other forms are compared with the reference."""
