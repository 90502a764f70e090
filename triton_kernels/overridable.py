"""Functions of a model that something else may run: `overridable`, and the mode that does.

A model calls `linear(x, weight)` and does not know whether PyTorch or a kernel of ours runs. Within
`Kernels` what its table names runs instead: our operators, functions marked `overridable`, and
PyTorch's own functions. It is PyTorch's own mechanism for this, torch.overrides, so that nothing
global is changed and nothing is paid for where no mode is on.
"""

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeVar, final

import torch
from torch.overrides import TorchFunctionMode, handle_torch_function, has_torch_function_unary

P = ParamSpec("P")
R = TypeVar("R")
Table = Mapping[Callable[..., Any], Callable[..., Any]]


def overridable(reference: Callable[P, R]) -> Callable[P, R]:
    """The function itself, but for modes, which are asked first; its first argument is a tensor.

    An export traces the function itself.
    """

    @functools.wraps(reference)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        if has_torch_function_unary(args[0]) and not torch.compiler.is_exporting():
            replaced: R = handle_torch_function(call, (args[0],), *args, **kwargs)
            return replaced
        return reference(*args, **kwargs)

    return call


class FunctionMode(TorchFunctionMode, ABC):
    """Within it `run` decides what functions of tensors do."""

    @abstractmethod
    def run(self, func: Callable[..., Any], args: tuple[Any, ...], named: Mapping[str, Any]) -> Any:
        """What a function of tensors gives."""

    @final
    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        return self.run(func, args, kwargs or {})


class Kernels(FunctionMode):
    """Within it, the functions of a table are run by what the table says."""

    def __init__(self, table: Table) -> None:
        super().__init__()
        self._table = table

    def run(self, func: Callable[..., Any], args: tuple[Any, ...], named: Mapping[str, Any]) -> Any:
        """Run the entry of the table, or the function itself."""
        return self._table.get(func, func)(*args, **named)
