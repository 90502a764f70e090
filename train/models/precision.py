"""Which tensors a 16-bit model stores in 16 bits.

These are all floating-point parameters and buffers, except for small ones that enter angles,
distances or log-probabilities directly: the parameters of a prior and of an observation's head, the
cosines and sines of rotary positions, and a codebook.
"""

from collections.abc import Iterator
from itertools import chain
from typing import TypeVar

import torch
from torch import Tensor, nn

from ancestral.errors import InvalidInput
from ancestral.train.models.decoder import DecoderOutput
from ancestral.train.models.priors import MixturePrior
from ancestral.train.models.transformer import Transformer
from ancestral.train.models.vqvae import VQVAE

M = TypeVar("M", bound=nn.Module)
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@torch.no_grad()
def narrow(model: M, dtype: torch.dtype) -> M:
    """Convert to `dtype`, in place, the tensors that a 16-bit model stores in 16 bits.

    Raises:
        InvalidInput: a finite number becomes infinite.
    """
    for name, tensor in narrowed_tensors(model):
        converted = tensor.to(dtype)
        if not converted.isfinite().equal(tensor.isfinite()):
            raise InvalidInput(
                f"{name}: expected numbers up to {torch.finfo(dtype).max:g} for {dtype}, got "
                f"{float(tensor.abs().amax()):g}; use bfloat16"
            )
        tensor.data = converted
    return model


def round_in_place(model: M, dtype: torch.dtype) -> M:
    """Round a float32 model, in place, to the numbers that it has when stored as `dtype`.

    Raises:
        InvalidInput: as in `narrow`.
    """
    return narrow(model, dtype).float()


def narrowed_tensors(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors that `narrow` converts, with their names; a shared tensor once."""
    seen: set[int] = set()
    for path, module in model.named_modules():
        if isinstance(module, DecoderOutput | MixturePrior):
            continue
        own = module.named_parameters(path, recurse=False)
        kept = isinstance(module, Transformer | VQVAE)
        buffers = iter(()) if kept else module.named_buffers(path, recurse=False)
        for name, tensor in chain(own, buffers):
            if tensor.is_floating_point() and id(tensor) not in seen:
                seen.add(id(tensor))
                yield name, tensor
