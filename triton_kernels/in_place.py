"""Appends to a cache in place, in PyTorch: for a loop that owns the caches that it passes in."""

from torch import Tensor

from ancestral.triton_kernels.cached_attention import attend_to_cache, cached_attention
from ancestral.triton_kernels.overridable import Kernels


def in_place() -> Kernels:
    """Within it `cached_attention` is its reference, but writes into the caches it is given.

    The bits are the reference's; only the copy of each cache in each step is saved. The program
    that runs within must not read the caches that it passed in.
    """
    return Kernels({cached_attention._opoverload: _cached_attention})


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
