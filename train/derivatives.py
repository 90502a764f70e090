"""Find the values that an output has a derivative with respect to, through their embeddings.

Values are integers, so derivatives are taken with respect to the vectors that nn.Embedding returns.
Which entries of which call come from which values is found by trial: values are changed, and the
entries whose index changes come from them. This works for any shift, ordering or table over several
values.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import torch
from jaxtyping import Bool, Int64
from torch import Tensor, nn

from ancestral.train.perturbation import Outputs, last_seen

_SEARCHES = 128
"""Number of entries with a nonzero derivative whose value is searched for."""


def derivative_pairs(
    outputs: Outputs,
    module: nn.Module,
    events: Int64[Tensor, "n t"],
    positions: Sequence[int],
    seed: int,
) -> tuple[set[tuple[int, int]], int]:
    """Return where an output has a nonzero derivative with respect to its own or a later value.

    Args:
        outputs: function to test.
        module: module whose embeddings are used.
        events: events, [n, t]. Derivatives are taken at the first; the second and third are what it
            is changed into.
        positions: positions of the outputs to test.
        seed: seed of the weights with which the numbers of an output are summed.

    Returns:
        Pairs (output, input) of positions, not all of them if there are many; NaN counts as
        nonzero. And the number of embedding calls through which outputs depend on values: 0 if
        nothing could be tested.
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
            # NaN counts as nonzero.
            nonzero = (gradient != 0).flatten(0, -2).any(dim=-1).cpu()
            for entry in (nonzero & later[call]).nonzero():
                value = sources.value(call, int(entry), position)
                if value is not None:
                    pairs.add((position, value))
    return pairs, len(reached)


class _Enough(BaseException):
    """Raised when all indices are known, to end the pass early; no model catches it."""


class _Sources:
    """Which entries of which embedding calls come from which values."""

    def __init__(self, outputs: Outputs, module: nn.Module, events: Int64[Tensor, "n t"]) -> None:
        self._outputs, self._module = outputs, module
        self._events, self._known = events[:3], dict[tuple[int, int], int]()
        self.calls: int | None = None
        self._base = self._indices(events[:1])
        self.calls = 1 + max(self.changed(0), default=-1)
        """Number of calls up to the last one that reads values; later calls need not run."""

    def changed(self, start: int) -> dict[int, Bool[Tensor, " k"]]:
        """Return the flattened entries of each call that change with the values from `start` on."""
        found: dict[int, Bool[Tensor, " k"]] = {}
        for other in self._events[1:]:
            x = self._events[:1].clone()
            x[0, start:] = other[start:]
            # If a pass has fewer calls, the missing ones are not followed.
            pairs = zip(self._base, self._indices(x), strict=False)
            for call, (before, after) in enumerate(pairs):
                entries = (before != after).flatten().cpu()
                if entries.any():
                    found[call] = found[call] | entries if call in found else entries
        return found

    def value(self, call: int, entry: int, start: int) -> int | None:
        """Return the position, from `start` on, of a value that an entry comes from.

        Args:
            call: index of the embedding call.
            entry: index of an entry that changes with the values from `start` on.
            start: first position that is changed.

        Returns:
            The position; None after too many searches.
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
        """Return the indices that the embeddings read in a pass; it ends after the last needed."""
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
    """Yield the derivatives of each output with respect to the vectors of each embedding call.

    A derivative is None if there is none. Nothing is yielded if the pass keeps no graph, or if an
    operator in it has no derivative.
    """
    leaves: list[Tensor] = []

    def make_leaf(index: Tensor, vectors: Tensor) -> Tensor:
        leaves.append(vectors.detach().requires_grad_())
        return leaves[-1].clone()  # a leaf must not be changed in place

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
            # A custom operator without a derivative: the report then counts 0 embeddings.
            return
        yield position, taken


@contextmanager
def _embedded(module: nn.Module, change: Callable[[Tensor, Tensor], Tensor]) -> Iterator[None]:
    """Pass the indices and vectors of each nn.Embedding call through a function."""

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
