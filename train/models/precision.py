"""Which tensors a 16-bit model stores in 16 bits.

All floating parameters and buffers are, but for a few that are small and enter angles, distances or
log-probabilities as they are: the numbers of a prior and of an observation's head, the cosines of
rotary positions, a codebook.
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
    """Convert in place what is of 16 bits where anything is; all else stays as it is.

    Raises:
        InvalidInput: a finite number is infinite in that type.
    """
    for name, tensor in narrowed_tensors(model):
        converted = tensor.to(dtype)
        if not converted.isfinite().equal(tensor.isfinite()):
            raise InvalidInput(
                f"{name}: expected numbers up to {torch.finfo(dtype).max:g} for {dtype}, got "
                f"{float(tensor.abs().amax()):g}: take bfloat16"
            )
        tensor.data = converted
    return model


def round_in_place(model: M, dtype: torch.dtype) -> M:
    """Round a model of float32 to the numbers that a model in that type has.

    Raises:
        InvalidInput: as in `narrow`.
    """
    return narrow(model, dtype).float()


def narrowed_tensors(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """What `narrow` converts, by name; a shared tensor once."""
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
