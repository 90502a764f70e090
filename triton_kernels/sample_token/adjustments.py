"""Changes of the logits before a draw: a bias, then penalties of values that have occurred.

With l the logits of row r at its position n, and x_0 .. x_(n-1) the values before it,

    l_i + bias_i
    divided by the repetition penalty where it is positive, else multiplied, if i is among the x
    minus the presence penalty, if i was drawn
    minus the frequency penalty, for each time that i was drawn

A value was drawn unless it was observed, as a prompt is.

References:
    Keskar et al. (2019), arXiv:1909.05858, section 4.1 (repetition; the rule for negative logits is
    that of the transformers library); OpenAI's API reference (presence and frequency).
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from ancestral.triton_kernels.occurrences import occurrences
from ancestral.triton_kernels.sample_token.filters import Filters


class Adjustments(NamedTuple):
    """Changes of the logits, one per row of the batch; 0, and 1 for repetition, change nothing."""

    logit_bias: Float[Tensor, "b v"]
    repetition_penalty: Float[Tensor, " b"]
    presence_penalty: Float[Tensor, " b"]
    frequency_penalty: Float[Tensor, " b"]


class Adjusted(NamedTuple):
    """Settings of a draw from adjusted logits: changes of the logits, then the filters."""

    adjustments: Adjustments
    filters: Filters


def adjusted(
    logits: Float[Tensor, "b s v"],
    at: Int64[Tensor, "b s"],
    values: Int64[Tensor, "b T"],
    observed: Int64[Tensor, "b T"],
    adjustments: Adjustments,
) -> Float[Tensor, "b s v"]:
    """Return the adjusted logits of a block of positions, at least in float32.

    Args:
        logits: logits of each position.
        at: positions of the block.
        values: values so far; those at later positions are not counted.
        observed: observed values, -1 where free.
        adjustments: changes of the logits.
    """
    wide = logits if logits.dtype == torch.float64 else logits.float()
    past = torch.arange(values.shape[1], device=values.device) < at[..., None]
    drawn = past & (observed < 0)[:, None]
    seen, times = (
        occurrences(values, some.to(wide.dtype), logits.shape[-1]) for some in (past, drawn)
    )
    bias = adjustments.logit_bias[:, None].to(wide.dtype)
    repetition, presence, frequency = (
        each[:, None, None].to(wide.dtype) for each in adjustments[1:]
    )
    biased = wide + bias
    repeated = torch.where(biased > 0, biased / repetition, biased * repetition)
    repeated = torch.where(seen > 0, repeated, biased)
    return repeated - torch.where(times > 0, presence, 0) - frequency * times
