"""Prepare a model for export; check that a bundle can hold it and that calls do not change it."""

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from ancestral.errors import ExportError
from ancestral.signature import FloatDtype
from ancestral.train.models.families import Model
from ancestral.train.models.precision import DTYPES, round_in_place
from ancestral.train.models.vae import VAE

_HELD = frozenset({torch.float32, torch.int64, torch.int32, torch.bool})

M = TypeVar("M", bound=Model)
State = Mapping[str, tuple[Any, int]]
"""Tensors and numbers of a model by name, each with the tensor's version (0 for a number)."""


def ready(model: M, dtype: FloatDtype, own: bool) -> M:
    """Return the model on the CPU, in evaluation mode, in float32 with weights rounded to `dtype`.

    A VAE is returned with its prior resolved, so that the prior no longer needs the encoder.

    Raises:
        ExportError: the model has a tensor that a bundle cannot hold, or a part of it stays in
            training mode.
    """
    _check_devices(model)
    found: Model = (model if own else _sharing(model)).cpu().eval()
    if isinstance(found, VAE):
        found = found.resolved()
    if dtype != "float32":
        found = round_in_place(found, DTYPES[dtype])
    check_ready(found)
    return cast(M, found)


def _sharing(model: M) -> M:
    """Return a copy of the model whose parameters and buffers share the original's memory.

    Raises:
        ExportError: the model keeps a tensor that was computed from its parameters.
    """
    memo: dict[int, object] = {}
    for parameter in model.parameters():
        if type(parameter) is nn.Parameter:
            memo[id(parameter)] = nn.Parameter(parameter.detach(), parameter.requires_grad)
    memo |= {id(buffer): buffer.detach() for buffer in model.buffers()}
    try:
        return copy.deepcopy(model, memo)
    except RuntimeError as error:
        raise ExportError(
            f"{type(model).__name__} cannot be copied, because it keeps a tensor that was computed "
            f"from its parameters ({error}); compute it in each call, or detach it (a weight norm: "
            f"nn.utils.parametrizations.weight_norm)"
        ) from error


def _check_devices(model: nn.Module) -> None:
    """Check that all parameters and buffers have numbers.

    Raises:
        ExportError: a parameter or a buffer is on the meta device, or lazy.
    """
    tensors = _tensors(model)
    empty = [name for name, tensor in tensors.items() if is_lazy(tensor) or tensor.is_meta]
    if empty:
        raise ExportError(
            f"{type(model).__name__}: expected parameters and buffers with numbers, got "
            f"{_some(empty)} on the meta device or lazy; for the meta device call "
            f"to_empty(device='cpu') and load the weights, for a lazy module run it once"
        )


def check_ready(model: nn.Module) -> None:
    """Check that a bundle can hold a model, which is on the CPU and after `eval()`.

    Raises:
        ExportError: a tensor has a type that a bundle does not have, the model has no parameters,
            or a part of it is in training mode.
    """
    name = type(model).__name__
    for each, tensor in _tensors(model).items():
        if tensor.dtype not in _HELD:
            raise ExportError(
                f"{name}: {each} is {str(tensor.dtype).removeprefix('torch.')}, but a bundle holds "
                f"float32, int64, int32 and bool only; {_conversion(tensor)}"
            )
    if next(model.parameters(), None) is None:
        raise ExportError(
            f"{name}: the model has no parameters; store its numbers in an nn.Parameter, which "
            f"also gives the cache its type and device"
        )
    training = [path or name for path, part in model.named_modules() if part.training]
    if training:
        raise ExportError(
            f"{name}: expected every part in evaluation mode after model.eval(), got "
            f"{_some(training)} in training mode, where dropout and batch norm change the results; "
            f"make an overridden train(mode) set the mode that it is called with"
        )


def check_pure(
    model: nn.Module,
    method: str,
    arguments: Callable[[], Mapping[str, Tensor]],
    run: Callable[[], Sequence[Tensor]],
) -> None:
    """Check that a method changes neither the model nor its arguments, and is deterministic.

    The method is called twice, and only the second call is checked for changes of the model: the
    first one may make a table and keep it.

    Args:
        model: model in evaluation mode.
        method: name of the method, for errors.
        arguments: returns the current arguments, by the names that errors use.
        run: calls the method with these arguments and returns its results.

    Raises:
        ExportError: a call changed an argument; or the second call changed a tensor or a number of
            the model, or returned different results.
    """
    name = f"{type(model).__name__}.{method}"
    passed = {each: tensor.clone() for each, tensor in arguments().items()}
    first = [tensor.clone() for tensor in run()]
    now = arguments()
    for each, before in passed.items():
        if each not in now or not torch.equal(before, now[each]):
            raise ExportError(
                f"{name} writes into its argument {each}, which is used again afterwards; make a "
                f"new tensor (torch.where, torch.cat, {each}.clone())"
            )
    state = _state(model)
    second = run()
    after = _state(model)
    changed = [
        each
        for each in sorted(state.keys() | after.keys())
        if not _same(state.get(each), after.get(each))
    ]
    if changed:
        raise ExportError(
            f"{name} changes {_some(changed)} of the model, which a graph cannot do; make state "
            f"that goes from step to step an entry of cache_spec, which extend takes and returns, "
            f"and change nothing else in evaluation mode"
        )
    # All bits have to agree, except those of NaN.
    pairs = zip(first, second, strict=True)
    if not all(torch.equal(a.nan_to_num(), b.nan_to_num()) for a, b in pairs):
        raise ExportError(
            f"{name} gave different numbers when it was called again with the same arguments; make "
            f"it independent of random numbers and earlier calls in evaluation mode "
            f"(nn.functional.dropout needs training=self.training, noise is an argument)"
        )


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    return dict(model.named_parameters()) | dict(model.named_buffers())


def _state(model: nn.Module) -> State:
    found: dict[str, tuple[Any, int]] = {}
    for path, part in model.named_modules():
        kept = {
            **part.__dict__,
            **dict(part.named_parameters(recurse=False)),
            **dict(part.named_buffers(recurse=False)),
        }
        for name, value in kept.items():
            if isinstance(value, Tensor):
                version = 0 if value.is_inference() else value._version
                found[f"{path}.{name}".lstrip(".")] = value, version
            elif isinstance(value, int | float):
                found[f"{path}.{name}".lstrip(".")] = value, 0
    return found


def _same(before: tuple[Any, int] | None, after: tuple[Any, int] | None) -> bool:
    if before is None or after is None or before[1] != after[1]:
        return False
    if isinstance(before[0], Tensor) or isinstance(after[0], Tensor):
        return before[0] is after[0]
    return before[0] is after[0] or bool(before[0] == after[0])


def _conversion(tensor: Tensor) -> str:
    if tensor.is_complex():
        return (
            "store the real and the imaginary part in two float32 tensors (torch.view_as_real), "
            "and write out the products"
        )
    if tensor.is_floating_point():
        return "call model.float() before the export"
    return "register it as .long() or .int()"


def _some(names: list[str]) -> str:
    more = len(names) - 3
    return ", ".join(map(repr, names[:3])) + (f" and {more} more" if more > 0 else "")
