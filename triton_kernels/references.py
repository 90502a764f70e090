"""Our operators without our kernels, on any device."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from ancestral.triton_kernels.append import append
from ancestral.triton_kernels.cached_attention import cached_attention
from ancestral.triton_kernels.masked_attention import masked_attention
from ancestral.triton_kernels.residual_norm import residual_norm
from ancestral.triton_kernels.ring import ring

OPERATORS = (append, cached_attention, masked_attention, residual_norm, ring)
"""What models call that has a kernel of ours registered for CUDA."""


@contextmanager
def references() -> Iterator[None]:
    """Within it the operators that models call run as their references on CUDA too."""
    with ExitStack() as stack:
        for operator in OPERATORS:
            stack.enter_context(operator.set_kernel_enabled("cuda", enabled=False))
        yield
