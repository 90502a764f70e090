"""Compute a float32 model in float64, converting each weight where it is used.

This replaces `copy.deepcopy(model).double()`, a copy that takes twice the memory of the float32
model. It saves only memory, and can go when there is memory for that copy.

Results may differ from those of such a copy in the last bits of float64: large weights are
multiplied piece by piece, and a BLAS may sum in another order for a matrix with fewer columns or
at another address.
"""

import inspect
from collections.abc import Callable, Mapping
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from ancestral.triton_kernels.overridable import FunctionMode

PIECE = 2**22
"""Most numbers of a weight that a product converts to float64 at a time (32 MiB)."""


class Float64Mode(FunctionMode):
    """Context in which a model's float32 parameters and buffers act as float64 tensors."""

    def __init__(self, model: nn.Module, piece: int = PIECE) -> None:
        """Record the model's tensors.

        Args:
            model: model in float32; it is not changed.
            piece: most numbers of a weight that a product converts at a time.
        """
        super().__init__()
        own = chain(model.parameters(), model.buffers())
        self._own = {id(tensor) for tensor in own if tensor.dtype == torch.float32}
        self._piece = piece

    def run(self, func: Callable[..., Any], args: tuple[Any, ...], named: Mapping[str, Any]) -> Any:
        """Call a function with its float32 weights converted to float64."""
        inside = inspect.unwrap(func)
        if inside is not func:
            # A wrapped function that calls PyTorch functions, such as our overridable operators:
            # this mode handles each of those calls.
            with self:
                return inside(*args, **named)
        if _selects(func):
            # A selection changes no numbers: convert its result, not the whole weight.
            return self._result(func(*args, **named), args)
        if func in _PRODUCTS and not named and len(args) > 1 and self._is_large(args[1]):
            return self._product(func, *args)
        args, named = tree_map(self._widen, (args, dict(named)))
        return func(*args, **named)

    def _widen(self, value: Any) -> Any:
        return value.double() if id(value) in self._own else value

    def _result(self, result: Any, args: tuple[Any, ...]) -> Any:
        """Return the result of a selection, in float64 if it selects from a model's tensor."""
        if not any(id(value) in self._own for value in args):
            return result
        if isinstance(result, torch.dtype):
            return torch.float64
        return result.double() if isinstance(result, Tensor) else result

    def _is_large(self, weight: Any) -> bool:
        return id(weight) in self._own and weight.ndim == 2 and weight.numel() > self._piece

    def _product(self, func: Callable[..., Any], x: Tensor, weight: Tensor, *rest: Any) -> Tensor:
        """Compute x W^T (linear) or x W (matmul), one piece of the result's columns at a time."""
        axis = 0 if func is torch.nn.functional.linear else 1
        columns = max(1, self._piece // weight.shape[1 - axis])
        y = x.new_empty((*x.shape[:-1], weight.shape[axis]), dtype=torch.float64)
        for start in range(0, weight.shape[axis], columns):
            part = slice(start, start + columns)
            piece = weight[part] if axis == 0 else weight[:, part]
            biases = [None if bias is None else self._widen(bias)[part] for bias in rest]
            y[..., part] = func(x, piece.double(), *biases)
        return y


_PRODUCTS = frozenset(
    {torch.nn.functional.linear, torch.matmul, Tensor.matmul, Tensor.__matmul__, torch.mm}
)
_SELECTIONS = frozenset(
    {torch.nn.functional.embedding, torch.embedding, torch.index_select, Tensor.index_select}
    | {Tensor.__getitem__, Tensor.size, Tensor.dim, Tensor.numel, Tensor.detach}
)


def _selects(func: Callable[..., Any]) -> bool:
    """Whether a function returns numbers of a tensor unchanged, or a property such as its size."""
    return func in _SELECTIONS or getattr(func, "__name__", "") == "__get__"
