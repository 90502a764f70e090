"""Rows of a table of 4 or 8 bits: y[i] = W[id[i]], W = dequantise(codes, ...)."""

from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from ancestral.triton_kernels.dequantise import dequantise_reference
from ancestral.triton_kernels.overridable import operator


def quantised_rows_reference(
    ids: Int64[Tensor, "*b"],
    codes: UInt8[Tensor, "n g p"],
    scale: Float[Tensor, "n g"],
    zero: UInt8[Tensor, "n z"] | None,
    width: int,
    bits: int,
) -> Float[Tensor, "*b k"]:
    """Return the rows of a table, in the type of the scales.

    Args:
        ids: index of each row, in 0 .. n - 1.
        codes: packed codes, as `dequantise` takes them.
        scale: scale of each group.
        zero: packed zero points, or None.
        width: number k of columns.
        bits: 4 or 8.
    """
    some = ids.flatten()
    points = None if zero is None else zero[some]
    rows = dequantise_reference(codes[some], scale[some], points, width, bits)
    return rows.reshape(*ids.shape, width).contiguous()


quantised_rows = operator(
    "quantised_rows",
    quantised_rows_reference,
    "(Tensor ids, Tensor codes, Tensor scale, Tensor? zero, int width, int bits) -> Tensor",
    lambda ids, codes, scale, zero, width, bits: scale.new_empty((*ids.shape, width)),
)
"""`quantised_rows_reference` as an operator; its other forms are compared with the reference."""
