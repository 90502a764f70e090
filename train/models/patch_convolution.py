"""A convolution over some neighbours on a grid, for whole images and for single positions.

The kernel covers a rectangle of displacements; outside the grid there are zeros. Its weights are
one matrix, [neighbours x d_in, d_out]. For a position it is multiplied with the concatenated
neighbours; for an image it is reshaped to the kernel of a convolution.
"""

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from ancestral.train.models.layers import operand
from ancestral.triton_kernels.linear import linear


class PatchConvolution(nn.Module):
    """sum over (r, c) of x[row + r, column + c] W_(r, c) + b."""

    inside: Tensor

    def __init__(self, d_in: int, d_out: int, rows: range, columns: range, width: int) -> None:
        """Draw fresh weights from torch's global generator.

        Args:
            d_in: number of features of a neighbour.
            d_out: number of features of the result.
            rows: displacements in rows; at most 0, so never below.
            columns: displacements in columns.
            width: number of columns of the grid.
        """
        super().__init__()
        self.rows, self.columns = rows, columns
        # Made before the lists, so that a kernel larger than all weights is refused first.
        features = len(rows) * len(columns) * d_in
        self.weight = nn.Parameter(torch.randn(features, d_out) * features**-0.5)
        self.offsets = [r * width + c for r in rows for c in columns]
        self.bias = nn.Parameter(torch.zeros(d_out))
        column = torch.arange(width)[:, None] + torch.tensor([c for _ in rows for c in columns])
        self.register_buffer("inside", (column >= 0) & (column < width))

    def parallel(self, x: Float[Tensor, "b h w i"]) -> Float[Tensor, "b h w o"]:
        """Apply the convolution at all positions of a grid."""
        left, right = -min(self.columns), max(self.columns)
        above = -min(self.rows)
        rows, columns = x.shape[1:3]
        # A side whose displacements end before 0 is cropped instead of padded.
        padded = nn.functional.pad(x, (0, 0, left, max(right, 0), above, 0))
        padded = padded[:, : rows + above + max(self.rows), : columns + left + right]
        weight = self.weight
        kernel = weight.reshape(len(self.rows), len(self.columns), -1, weight.shape[1])
        y = nn.functional.conv2d(padded.permute(0, 3, 1, 2), kernel.permute(3, 2, 0, 1), self.bias)
        return y.permute(0, 2, 3, 1)

    def at(
        self, neighbours: Float[Tensor, "b n i"], column: Int64[Tensor, "b 1"]
    ) -> Float[Tensor, "b 1 o"]:
        """Apply the convolution at one position of each row of the batch.

        Args:
            neighbours: features of the neighbours, in the order of `offsets`; those beyond the left
                and right edge of the grid may have any finite values.
            column: column of the position.
        """
        inside = self.inside[column[:, 0]][..., None]
        patch = torch.where(inside, neighbours, 0.0).flatten(1)[:, None]
        return linear(patch, operand(self), self.bias)
