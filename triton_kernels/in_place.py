"""The references of our operators for a loop that owns its caches: called directly, in place."""

from ancestral.triton_kernels.append import append, append_reference
from ancestral.triton_kernels.cached_attention import attend_to_cache, cached_attention
from ancestral.triton_kernels.mass_threshold import mass_threshold, mass_threshold_reference
from ancestral.triton_kernels.overridable import Kernels
from ancestral.triton_kernels.residual_norm import residual_norm, residual_norm_reference


def in_place() -> Kernels:
    """Within it `cached_attention` is its reference, but writes into the caches it is given.

    The bits are the references'. What is saved is the copy of each cache in each step, and what
    torch.library does around an operator, 50 microseconds a call. The program that runs within must
    not read the caches that it passed in.
    """
    return Kernels(
        {
            append._opoverload: append_reference,
            cached_attention._opoverload: attend_to_cache,
            mass_threshold._opoverload: mass_threshold_reference,
            residual_norm._opoverload: residual_norm_reference,
        }
    )
