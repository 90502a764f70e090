"""Functions of a model that can be replaced, and the mode that replaces them.

A model calls `linear(x, weight)` and does not know whether PyTorch or one of our kernels runs. In
the mode `Kernels`, the functions in its table are replaced: our operators, functions marked
`overridable`, and PyTorch's own functions. The mechanism is torch.overrides: it changes nothing
global, and costs nothing while no mode is active.
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
    """The values, on the device, from which each row's noise is computed.

    Attributes:
        key: low and high 32 bits of the seed (`ancestral.philox.seed_key`) and the stream,
            [3] int64.
        index: sample index of each row, [b] int64, in 0 .. 2^32 - 1.
    """

    key: Tensor
    # This hides tuple.index, which is not used here.
    index: Tensor  # type: ignore[assignment]


class Settings(NamedTuple):
    """How kernels run.

    Attributes:
        seeds: values from which the kernel computes the uniforms of a step; None to read them
            from u.
        batch_invariant: whether to use our matrix product for any number of rows, so that the bits
            of a row do not depend on its batch.
    """

    seeds: Seeds | None
    batch_invariant: bool


def overridable(reference: Callable[P, R]) -> Callable[P, R]:
    """Let an active mode replace a function, whose first argument must be a tensor.

    Without a mode, and while exporting, the function itself runs.
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
    """Register an operator with torch.library, so that it stays one node of a graph.

    Args:
        name: name of the operator in our namespace.
        reference: the maths in plain PyTorch, for every device.
        schema: arguments and results, in torch.library's schema language.
        fake: function that returns empty results with the reference's shapes and dtypes.
    """
    made = torch.library.custom_op(f"ancestral::{name}", reference, mutates_args=(), schema=schema)
    assert isinstance(made, CustomOpDef)
    made.register_fake(fake)
    return made


class FunctionMode(TorchFunctionMode, ABC):
    """A mode whose `run` decides what functions of tensors do."""

    @abstractmethod
    def run(self, func: Callable[..., Any], args: tuple[Any, ...], named: Mapping[str, Any]) -> Any:
        """Return the result of a function of tensors."""

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
    """A mode that replaces the functions in a table."""

    def __init__(self, table: Table) -> None:
        super().__init__()
        self._table = table

    def run(self, func: Callable[..., Any], args: tuple[Any, ...], named: Mapping[str, Any]) -> Any:
        """Run the table's entry for the function, or the function itself."""
        return self._table.get(func, func)(*args, **named)


_TURN: Final[AbstractContextManager[Any]] = threading.RLock()
"""Triton's interpreter patches triton.language and keeps the grid index in its own module: two
kernels in different threads would use each other's index."""


def turn(device: str) -> AbstractContextManager[Any]:
    """Return the context for running kernels; on the CPU it admits one thread at a time."""
    return _TURN if device == "cpu" else nullcontext()
