"""The references of our operators for a loop that owns its caches: called directly, in place."""

import torch
from torch import Tensor

from ancestral.triton_kernels.append import append_reference
from ancestral.triton_kernels.cached_attention import attend_to_cache
from ancestral.triton_kernels.mass_threshold import mass_threshold_reference
from ancestral.triton_kernels.overridable import Kernels
from ancestral.triton_kernels.residual_norm import residual_norm_reference


def in_place() -> Kernels:
    """Within it `cached_attention` is its reference, but writes into the caches it is given.

    The bits are the references'. What is saved is the copy of each cache in each step, and what
    torch.library does around an operator, 50 microseconds a call. The program that runs within must
    not read the caches that it passed in.
    """
    return Kernels(
        {
            torch.ops.ancestral.append.default: append_reference,
            torch.ops.ancestral.cached_attention.default: _cached_attention,
            torch.ops.ancestral.mass_threshold.default: mass_threshold_reference,
            torch.ops.ancestral.residual_norm.default: residual_norm_reference,
        }
    )


def _cached_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    k_cache: Tensor,
    v_cache: Tensor,
    position: Tensor,
    window: int | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    return attend_to_cache(q, k, v, k_cache, v_cache, position, window), k_cache, v_cache
