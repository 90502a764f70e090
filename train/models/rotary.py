"""Rotary positions: features of queries and keys turned by angles that grow with the slot.

References:
    Su et al. (2021), RoFormer, arXiv:2104.09864, section 3.2. Chen et al. (2023), Extending context
    window of large language models via position interpolation, arXiv:2306.15595 (linear scaling).
    Dubey et al. (2024), The Llama 3 herd of models, arXiv:2407.21783 (scaling by frequency, as the
    models of Llama 3.1 and later have it).
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from ancestral.train.models.transformer_config import TransformerConfig


def tables(length: int, config: TransformerConfig) -> dict[str, Float[Tensor, "t half"]]:
    """Cosines and sines of each slot's angle at each frequency, by the names that they have.

    Angles are float64; what is made of them is rounded once.
    """
    slots = torch.arange(length, dtype=torch.float64)
    angles = slots[:, None] * frequencies(config)
    return {"cosine": angles.cos().float(), "sine": angles.sin().float()}


def frequencies(config: TransformerConfig) -> Float[Tensor, " half"]:
    """base^(-2i/w) for the w features that are turned, scaled as configured; radians a slot."""
    width = config.rotated
    plain = config.rotary_base ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)
    if not config.rotary_scaling:
        return plain
    factor, *by_turns = config.rotary_scaling
    if not by_turns:
        return plain / factor
    low, high, trained = by_turns
    # Turns within the length that the model was trained on: few ones are slowed down.
    turns = plain * trained / (2 * math.pi)
    kept = ((turns - low) / (high - low)).clamp(0, 1)
    return plain * (kept + (1 - kept) / factor)


def rotate(
    x: Float[Tensor, "b s h d"],
    cosine: Float[Tensor, "#b s half"],
    sine: Float[Tensor, "#b s half"],
) -> Float[Tensor, "b s h d"]:
    """Turn the pairs (x_i, x_(i + w/2)) of the first w features by the angles of their slots.

    In the type of the cosines, which may be wider than x.
    """
    width = 2 * cosine.shape[-1]
    cosine, sine = cosine[:, :, None], sine[:, :, None]
    first, second = x[..., :width].chunk(2, dim=-1) if width < x.shape[-1] else x.chunk(2, dim=-1)
    turned = [first * cosine - second * sine, second * cosine + first * sine]
    if width < x.shape[-1]:
        turned.append(x[..., width:].to(cosine.dtype))
    return torch.cat(turned, dim=-1).to(x.dtype)
