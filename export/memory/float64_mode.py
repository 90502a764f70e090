"""A model of float32 computed in float64, with each weight widened where it is used.

The numbers are those of `copy.deepcopy(model).double()`, without its memory. The weights are the
same bits; results may differ in the last bits of float64: a BLAS may sum in another order where a
matrix has fewer columns (large weights are multiplied piece by piece) or is elsewhere in memory.
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
"""Numbers of a weight that a product widens at a time."""


class Float64Mode(FunctionMode):
    """Within it the parameters and buffers of a model take part as if they were in float64."""

    def __init__(self, model: nn.Module, piece: int = PIECE) -> None:
        """Remember which tensors are meant.

        Args:
            model: in float32; it is not changed.
            piece: numbers of a weight that a product widens at a time.
        """
        super().__init__()
        own = chain(model.parameters(), model.buffers())
        self._own = {id(tensor) for tensor in own if tensor.dtype == torch.float32}
        self._piece = piece

    def run(self, func: Callable[..., Any], args: tuple[Any, ...], named: Mapping[str, Any]) -> Any:
        """Run a function of float32 weights as one of float64 weights."""
        inside = inspect.unwrap(func)
        if inside is not func:
            # A function of PyTorch functions, such as our overridable ones: each in its turn.
            with self:
                return inside(*args, **named)
        if _selects(func):
            # No number changes: so what is selected is widened, not all that is selected from.
            return self._result(func(*args, **named), args)
        if func in _PRODUCTS and not named and len(args) > 1 and self._is_large(args[1]):
            return self._product(func, *args)
        args, named = tree_map(self._widen, (args, dict(named)))
        return func(*args, **named)

    def _widen(self, value: Any) -> Any:
        return value.double() if id(value) in self._own else value

    def _result(self, result: Any, args: tuple[Any, ...]) -> Any:
        """What a selection gives, widened if one of the model's tensors was selected from."""
        if not any(id(value) in self._own for value in args):
            return result
        if isinstance(result, torch.dtype):
            return torch.float64
        return result.double() if isinstance(result, Tensor) else result

    def _is_large(self, weight: Any) -> bool:
        return id(weight) in self._own and weight.ndim == 2 and weight.numel() > self._piece

    def _product(self, func: Callable[..., Any], x: Tensor, weight: Tensor, *rest: Any) -> Tensor:
        """x W^T, or x W, for a piece of the results at a time."""
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
    """Whether a function of a tensor gives its numbers, moved about; or says something of it."""
    return func in _SELECTIONS or getattr(func, "__name__", "") == "__get__"
