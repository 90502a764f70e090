"""The start of a sampling step: which value a row consumes, and the vector that enters the model.

    n = min(position, T - 1)        token = values[n - 1]         (at n = 0 any value)
    h = E[token] + P[slot] + L[label] + A[value above]

Slot 0 uses the start symbol instead of E[token]. The sum has only the terms that the model has. The
last row of A means "no value above".
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from ancestral.triton_kernels.overridable import overridable


class Tables(NamedTuple):
    """The embedding tables of a model; None for a term that the model does not have.

    They are modules, since the derivatives that prove causality are taken at their outputs.

    Attributes:
        token: [v, d].
        start: [1, d], consumed at slot 0.
        start_token: token consumed at slot 0, instead of `start`.
        position: [T, d].
        label: [c, d].
        above: [v + 1, d].
        source: slot that consumed the value above the one that each slot predicts, or -1, [T].
    """

    token: nn.Embedding
    start: nn.Embedding | None
    start_token: int | None
    position: nn.Embedding | None
    label: nn.Embedding | None
    above: nn.Embedding | None
    source: Int64[Tensor, " T"] | None


@overridable
def consume(
    values: Int64[Tensor, "b T"], position: Int64[Tensor, " b"], offsets: Int64[Tensor, " s"] | None
) -> tuple[Int64[Tensor, " b"], Int64[Tensor, "b s"], Int64[Tensor, "b s"]]:
    """Return where a block begins, its positions, and the values that it consumes.

    Args:
        values: value at each position.
        position: next position of each row; T if the row has ended, and then it repeats its last.
        offsets: 0 .. s - 1, or None for a block of one position.
    """
    start = position.clamp_max(values.shape[1] - 1)
    at = start[:, None] if offsets is None else start[:, None] + offsets
    return start, at, values.gather(1, (at - 1).clamp_min(0))


@overridable
def slots_from(first: Int64[Tensor, " b"], tokens: Int64[Tensor, "b s"]) -> Int64[Tensor, "b s"]:
    """Return the slots of a block of tokens whose rows begin at `first`."""
    return first[:, None] + torch.arange(tokens.shape[1], device=first.device)


@overridable
def embed(
    tokens: Int64[Tensor, "b s"],
    consumed: Int64[Tensor, "b n"],
    slots: Int64[Tensor, "#b s"],
    label: Int64[Tensor, " b"] | None,
    tables: Tables,
) -> Float[Tensor, "b s d"]:
    """Return the sum of the embeddings of a block.

    Args:
        tokens: tokens consumed at the slots.
        consumed: values consumed at slots 0 .. n - 1.
        slots: slot of each token.
        label: class of each event, if the model has label embeddings.
        tables: embedding tables.
    """
    if tables.start_token is not None:
        tokens = torch.where(slots == 0, tables.start_token, tokens)
    h = tables.token(tokens)
    if tables.start is not None:
        h = torch.where(slots[..., None] == 0, tables.start.weight[0], h)
    if tables.position is not None:
        h = h + tables.position(slots)
    if tables.label is not None and label is not None:
        h = h + tables.label(label)[:, None]
    if tables.above is not None and tables.source is not None:
        source = tables.source[slots]
        gathered = consumed.gather(1, source.clamp_min(0).expand(consumed.shape[0], -1))
        nothing = tables.above.num_embeddings - 1
        h = h + tables.above(torch.where(source < 0, nothing, gathered))
    return h
