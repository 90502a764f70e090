"""Functions of a model that something else may run: `overridable`, and the mode that does.

A model calls `linear(x, weight)` and does not know whether PyTorch or a kernel of ours runs. Within
`Kernels` what its table names runs instead: our operators, functions marked `overridable`, and
PyTorch's own functions. It is PyTorch's own mechanism for this, torch.overrides, so that nothing
global is changed and nothing is paid for where no mode is on.
"""

import functools
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final, NamedTuple, ParamSpec, TypeVar, final

import torch
from torch import Tensor
from torch.library import CustomOpDef  # type: ignore[attr-defined]
from torch.overrides import TorchFunctionMode, handle_torch_function, has_torch_function_unary

P = ParamSpec("P")
R = TypeVar("R")
Table = Mapping[Callable[..., Any], Callable[..., Any]]


class Seeds(NamedTuple):
    """What the noise of each row is a function of, on the device.

    Attributes:
        key: the low and the high 32 bits of the seed (`ancestral.philox.seed_key`) and the stream,
            [3] int64.
        index: sample index of each row, [b] int64, in 0 .. 2^32 - 1.
    """

    key: Tensor
    # The method of tuples that it hides is of no use here.
    index: Tensor  # type: ignore[assignment]


class Settings(NamedTuple):
    """How kernels run within a scope.

    Attributes:
        seeds: what the uniforms of a step are made of in the kernel; None to read them from u.
        batch_invariant: use our matrix product for any number of rows, so that the bits of a row
            do not depend on the batch that it is in.
    """

    seeds: Seeds | None
    batch_invariant: bool


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


def operator(
    name: str, reference: Callable[..., Any], schema: str, fake: Callable[..., Any]
) -> CustomOpDef:
    """An operator of torch.library, which stays one node of a graph.

    Args:
        name: of the operator, in our namespace.
        reference: its maths in plain PyTorch, which runs on every device.
        schema: arguments and results, in the language of torch.library.
        fake: results of the shapes and types that the reference gives, with nothing in them.
    """
    made = torch.library.custom_op(f"ancestral::{name}", reference, mutates_args=(), schema=schema)
    assert isinstance(made, CustomOpDef)
    made.register_fake(fake)
    return made


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


_TURN: Final[AbstractContextManager[Any]] = threading.RLock()
"""The interpreter patches triton.language and keeps the index in the grid in objects of its module:
two kernels at a time would take each other's."""


def turn(device: str) -> AbstractContextManager[Any]:
    """Held while kernels run on a device: other threads wait on the CPU, nobody on a GPU."""
    return _TURN if device == "cpu" else nullcontext()
