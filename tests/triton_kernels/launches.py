"""Launches of every operator at sizes of its variants; their tensors are never read."""

from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor

from ancestral.triton_kernels.append.kernel import launch as append
from ancestral.triton_kernels.cached_attention.kernel import launch as cached_attention
from ancestral.triton_kernels.embed import Tables
from ancestral.triton_kernels.embed.kernel import launch as embed
from ancestral.triton_kernels.embed.kernel import launch_consume as consume
from ancestral.triton_kernels.linear.kernel import launch as linear
from ancestral.triton_kernels.masked_attention.kernel import launch as masked_attention
from ancestral.triton_kernels.overridable import Seeds
from ancestral.triton_kernels.quantised_linear import Quantised
from ancestral.triton_kernels.quantised_linear.kernel import launch as quantised_linear
from ancestral.triton_kernels.residual_norm.kernel import launch as residual_norm
from ancestral.triton_kernels.ring.kernel import launch as ring
from ancestral.triton_kernels.sample_token import Drawn
from ancestral.triton_kernels.sample_token.filters import Filters, Temperature
from ancestral.triton_kernels.sample_token.kernel import launch as sample_token

HALF = torch.bfloat16


def integers(*shape: int) -> Tensor:
    return torch.empty(shape, dtype=torch.int64)


def step(heads: int, group: int, d: int, length: int, b: int) -> None:
    """Launch attention for one position; q, k, v are parts of one product."""
    q, k, v = torch.empty(b, 1, (heads + 2 * group) * d, dtype=HALF).split(
        [heads * d, group * d, group * d], dim=-1
    )
    caches = [torch.empty(b, group, length, d, dtype=HALF) for _ in range(2)]
    cached_attention(q, k, v, *caches, integers(b))


def prefill(b: int) -> None:
    """Launch attention for GPT-2's 1,024 positions over as many slots."""
    q, k, v = torch.empty(b, 1024, 3, 12, 64, dtype=HALF).permute(2, 0, 3, 1, 4)
    masked_attention(q, k, v, integers(b), None, None)


def draw(v: int, filtered: bool, b: int) -> None:
    filters = Filters(torch.empty(b), integers(b), torch.empty(b), torch.empty(b))
    state = Drawn(integers(b), integers(b, 784), *torch.empty(2, b, 784))
    seeds = Seeds(integers(3), integers(b))
    logits = torch.empty(b, v)
    sample_token(
        logits,
        seeds,
        integers(b, 784),
        state,
        filters if filtered else Temperature(filters.temperature),
    )


def vectors(b: int) -> None:
    """Launch the embedding of the image model, with label and the value above."""
    token, start, position, label, above = (
        torch.nn.Embedding(n, 128) for n in (256, 1, 784, 10, 257)
    )
    tables = Tables(token, start, None, position, label, above, integers(784))
    embed(integers(b, 1), integers(b, 784), integers(b, 1), integers(b), tables)


def codes(o: int, rounded: bool, bits: int, b: int) -> None:
    """Launch GPT-2's map to queries, keys and values, or its head, from codes in groups of 32."""
    bias = torch.empty(o) if o == 2304 else None
    stored = torch.empty(o, 24, 4 * bits, dtype=torch.uint8)
    weight = Quantised(stored, torch.empty(o, 24), None, 768, bits, rounded)
    quantised_linear(torch.empty(b, 1, 768), weight, bias)


def norm(b: int) -> None:
    x, y, (weight, bias) = torch.empty(b, 1, 768), torch.empty(b, 1, 768), torch.empty(2, 768)
    residual_norm(x, y, weight, bias, 1e-5, False)


LAUNCHES: Mapping[str, Callable[[int], object]] = {
    "append": lambda b: append(torch.empty(b, 784), integers(b), torch.empty(b, 1)),
    "cached_attention of the image model": partial(step, 4, 4, 32, 784),
    "cached_attention of GPT-2": partial(step, 12, 12, 64, 1024),
    "cached_attention of grouped heads": partial(step, 32, 8, 128, 8192),
    "consume": lambda b: consume(integers(b, 784), integers(b)),
    "embed": vectors,
    "linear": lambda b: linear(torch.empty(b, 1, 768), torch.empty(768, 2304), torch.empty(2304)),
    "linear of logits": lambda b: linear(
        torch.empty(b, 768), torch.empty(50_257, 768), transposed=True, wide=True
    ),
    "masked_attention": prefill,
    "quantised_linear": partial(codes, 2304, False, 8),
    "quantised_linear, rounded": partial(codes, 2304, True, 4),
    "quantised_linear of logits": partial(codes, 50_257, False, 4),
    "quantised_linear of logits, rounded": partial(codes, 50_257, True, 8),
    "residual_norm": norm,
    "ring": lambda b: ring(torch.empty(b, 1, 33, 64), torch.empty(b, 1, 64), integers(b), [-32]),
    "sample_token": partial(draw, 256, False),
    "sample_token of GPT-2": partial(draw, 50_257, False),
    "sample_token, filtered": partial(draw, 256, True),
    "sample_token of GPT-2, filtered": partial(draw, 50_257, True),
}
"""Launches by name, as functions of the number of rows."""
