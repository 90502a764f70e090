"""By which values an output has a derivative: through the embeddings that the values go into.

Values are integers, so the derivative is taken by what nn.Embedding makes of them. Which entries of
which call come from which values is found by trial: values are changed, and those entries come from
them whose index changes. So a shift, an ordering, or a table over several values needs no
explanation.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import torch
from jaxtyping import Bool, Int64
from torch import Tensor, nn

from ancestral.train.perturbation import Outputs, last_seen

_SEARCHES = 128
"""Entries whose value is searched for, of those that an output has a derivative by."""


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
        events: the first is where the derivative is taken; the second and third are what it is
            changed into.
        positions: whose outputs are tested.
        seed: of the weights with which the numbers of an output are summed.

    Returns:
        pairs (output, input) of positions, NaN counted as not 0, not all where there are many; and
        how many calls of embeddings with values the outputs have a derivative by: 0 where nothing
        could be tested.
    """
    sources = _Sources(outputs, module, events)
    pairs: set[tuple[int, int]] = set()
    reached: set[int] = set()
    if not sources.calls:
        return pairs, 0
    for position, gradients in _gradients(outputs, module, events[:1], positions, seed):
        later = sources.changed(position)
        for call, gradient in enumerate(gradients):
            if gradient is None or call not in later:
                continue
            reached.add(call)
            # NaN is not 0 either.
            nonzero = (gradient != 0).flatten(0, -2).any(dim=-1).cpu()
            for entry in (nonzero & later[call]).nonzero():
                value = sources.value(call, int(entry), position)
                if value is not None:
                    pairs.add((position, value))
    return pairs, len(reached)


class _Enough(BaseException):
    """All indices are known: the rest of the pass is not needed. No model catches it."""


class _Sources:
    """Which entries of which calls of embeddings come from which values."""

    def __init__(self, outputs: Outputs, module: nn.Module, events: Int64[Tensor, "n t"]) -> None:
        self._outputs, self._module = outputs, module
        self._events, self._known = events[:3], dict[tuple[int, int], int]()
        self.calls: int | None = None
        self._base = self._indices(events[:1])
        self.calls = 1 + max(self.changed(0), default=-1)
        """Those up to the last that is given values; the others need not be run."""

    def changed(self, start: int) -> dict[int, Bool[Tensor, " k"]]:
        """The entries of each call, flattened, that change with the values from a position on."""
        found: dict[int, Bool[Tensor, " k"]] = {}
        for other in self._events[1:]:
            x = self._events[:1].clone()
            x[0, start:] = other[start:]
            # Where a pass has fewer calls, what is missing is not followed.
            pairs = zip(self._base, self._indices(x), strict=False)
            for call, (before, after) in enumerate(pairs):
                entries = (before != after).flatten().cpu()
                if entries.any():
                    found[call] = found[call] | entries if call in found else entries
        return found

    def value(self, call: int, entry: int, start: int) -> int | None:
        """Position, from `start` on, of a value that an entry comes from.

        Args:
            call: of an embedding.
            entry: one that changes with the values from the start on.
            start: as in `changed`.

        Returns:
            None where enough was searched for already.
        """
        known = self._known.get((call, entry), -1)
        if known >= start:
            return known
        if len(self._known) >= _SEARCHES:
            return None

        def changes(cut: int) -> bool:
            of_call = self.changed(cut).get(call)
            return of_call is not None and bool(of_call[entry])

        self._known[call, entry] = last_seen(changes, start, self._events.shape[1])
        return self._known[call, entry]

    def _indices(self, x: Int64[Tensor, "1 t"]) -> list[Tensor]:
        """What the embeddings are given in a pass, which ends after those that are needed."""
        indices: list[Tensor] = []

        def record(index: Tensor, vectors: Tensor) -> Tensor:
            indices.append(index.clone())
            if len(indices) == self.calls:
                raise _Enough
            return vectors

        with torch.no_grad(), _embedded(self._module, record), suppress(_Enough):
            self._outputs(x)
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

    with _embedded(module, make_leaf):
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
