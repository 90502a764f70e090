"""By which values an output has a derivative: through the embeddings that the values go into.

Values are integers, so the derivative is taken by what nn.Embedding makes of them. Which entries of
which call come from which value is found by trial: a value is changed, and those are its own whose
index changes. So a shift, an ordering, or a table over several values needs no explanation.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import torch
from jaxtyping import Int64
from torch import Tensor, nn

from ancestral.train.changes import Outputs

_LONG = 4096
"""Events longer than this are followed from the tested values alone."""


def derivative_pairs(
    outputs: Outputs,
    module: nn.Module,
    events: Int64[Tensor, "n t"],
    positions: Sequence[int],
    seed: int,
) -> tuple[set[tuple[int, int]], int]:
    """Where an output has a derivative by its own value or a later one that is not exactly 0.

    Args:
        outputs: what is tested.
        module: whose embeddings are meant.
        events: the first is where the derivative is taken; the others are what it is changed into.
        positions: whose outputs are tested.
        seed: of the weights with which the numbers of an output are summed.

    Returns:
        pairs (output, input) of positions, NaN counted as not 0; and how many calls of embeddings
        with values the outputs have a derivative by: 0 where nothing could be tested.
    """
    t = events.shape[1]
    sources = _sources(outputs, module, events, range(t) if t <= _LONG else positions)
    if not sources:
        return set(), 0
    pairs: set[tuple[int, int]] = set()
    reached: set[int] = set()
    for position, gradients in _gradients(outputs, module, events[:1], positions, seed):
        for call, (inputs, entries) in sources.items():
            gradient = gradients[call]
            if gradient is None:
                continue
            reached.add(call)
            # NaN is not 0 either.
            nonzero = (gradient != 0).flatten(0, -2).any(dim=-1).cpu()
            seen = inputs[(inputs >= position) & nonzero[entries]]
            pairs.update((position, int(s)) for s in seen.unique())
    return pairs, len(reached)


class _Enough(BaseException):
    """All indices are known: the rest of the pass is not needed. No model catches it."""


def _sources(
    outputs: Outputs, module: nn.Module, events: Int64[Tensor, "n t"], inputs: Sequence[int]
) -> dict[int, tuple[Tensor, Tensor]]:
    """By call of an embedding, in the order of the pass: pairs of a value and an entry of it.

    Returns:
        positions of the values [k], and flat indices of the entries that change with them [k], for
        each call that is given values at all.
    """
    base = _indices(outputs, module, events[:1], None)
    found: dict[int, tuple[list[Tensor], list[Tensor]]] = {}
    for other in events[1:3]:
        for s in inputs:
            x = events[:1].clone()
            x[0, s] = other[s]
            # Where a pass has fewer calls, what is missing is not followed.
            changed = zip(base, _indices(outputs, module, x, len(base)), strict=False)
            for call, (before, after) in enumerate(changed):
                entries = (before != after).flatten().nonzero()[:, 0].cpu()
                if len(entries):
                    of_call = found.setdefault(call, ([], []))
                    of_call[0].append(torch.full_like(entries, s))
                    of_call[1].append(entries)
    return {call: (torch.cat(s), torch.cat(e)) for call, (s, e) in sorted(found.items())}


def _indices(outputs: Outputs, module: nn.Module, x: Tensor, calls: int | None) -> list[Tensor]:
    """What the embeddings are given in a pass, which ends after so many calls."""
    indices: list[Tensor] = []

    def record(index: Tensor, vectors: Tensor) -> Tensor:
        indices.append(index.clone())
        if len(indices) == calls:
            raise _Enough
        return vectors

    with torch.no_grad(), _embedded(module, record), suppress(_Enough):
        outputs(x)
    return indices


def _gradients(
    outputs: Outputs,
    module: nn.Module,
    x: Int64[Tensor, "1 t"],
    positions: Sequence[int],
    seed: int,
) -> Iterator[tuple[int, tuple[Tensor | None, ...]]]:
    """The derivative of each output by what each call of an embedding gave; None where none is.

    Nothing is yielded where the pass keeps no graph, or an operator in it has no derivative.
    """
    leaves: list[Tensor] = []

    def make_leaf(index: Tensor, vectors: Tensor) -> Tensor:
        leaves.append(vectors.detach().requires_grad_())
        return leaves[-1].clone()  # a leaf itself may not be changed in place

    with torch.enable_grad(), _embedded(module, make_leaf):
        result = outputs(x)
    if not result.requires_grad:
        return
    generator = torch.Generator().manual_seed(seed)
    weights = torch.randn(result.shape[2:], generator=generator).to(result)
    for position in positions:
        number = (result[0, position] * weights).sum()
        try:
            taken = torch.autograd.grad(number, leaves, retain_graph=True, allow_unused=True)
        except RuntimeError:
            # An operator of the user's own without a derivative: the report counts 0 embeddings.
            return
        yield position, taken


@contextmanager
def _embedded(module: nn.Module, change: Callable[[Tensor, Tensor], Tensor]) -> Iterator[None]:
    """Pass each call of an nn.Embedding, its indices and its vectors, through a function."""

    def hook(
        _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], vectors: Tensor
    ) -> Tensor:
        return change(args[0] if args else kwargs["input"], vectors)

    tables = [table for table in module.modules() if isinstance(table, nn.Embedding)]
    handles = [table.register_forward_hook(hook, with_kwargs=True) for table in tables]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
