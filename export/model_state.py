"""What a model keeps: its tensors, as a bundle can hold them, and nothing that a call changes."""

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
"""Each tensor or number of a model by its name, with the version of the tensor."""


def ready(model: M, dtype: FloatDtype, own: bool) -> M:
    """The model on the CPU, in evaluation, its weights as that type holds them in float32.

    A VAE's prior needs no encoder there.

    Raises:
        ExportError: it holds what a bundle cannot, or a part of it stays in training mode.
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
    """A copy whose parameters and buffers are others over the same memory.

    Raises:
        ExportError: it keeps a tensor that was computed from its parameters.
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
            f"{type(model).__name__} cannot be copied ({error}): it keeps a tensor that was "
            f"computed from its parameters; compute it in each call, or detach it; "
            f"nn.utils.parametrizations.weight_norm is a weight norm that can be copied"
        ) from error


def _check_devices(model: nn.Module) -> None:
    """Refuse a model with tensors that have no numbers.

    Raises:
        ExportError: a parameter or a buffer is on the meta device, or has no shape yet.
    """
    tensors = _tensors(model)
    empty = [name for name, tensor in tensors.items() if is_lazy(tensor) or tensor.is_meta]
    if empty:
        raise ExportError(
            f"{type(model).__name__}: expected parameters and buffers that hold numbers, got "
            f"{_some(empty)} on the meta device, or lazy: call to_empty(device='cpu') and load the "
            f"weights; run a lazy module once"
        )


def check_ready(model: nn.Module) -> None:
    """Refuse a model that a bundle cannot hold: called on the CPU, after `eval`.

    Raises:
        ExportError: a tensor of another type, no parameter at all, or a part in training mode.
    """
    name = type(model).__name__
    for each, tensor in _tensors(model).items():
        if tensor.dtype not in _HELD:
            raise ExportError(
                f"{name}: {each} is {str(tensor.dtype).removeprefix('torch.')}, but a bundle holds "
                f"float32, int64, int32 and bool: {_conversion(tensor)}"
            )
    if next(model.parameters(), None) is None:
        raise ExportError(
            f"{name}: expected at least one parameter, got none: hold the numbers of the model in "
            f"an nn.Parameter, whose type and device its cache has too"
        )
    training = [path or name for path, part in model.named_modules() if part.training]
    if training:
        raise ExportError(
            f"{name}: expected every part in evaluation mode after model.eval(), but "
            f"{_some(training)} is still in training mode, where dropout and batch norms change "
            f"the numbers: `train(mode)` of your own has to set the mode that it is given"
        )


def check_pure(
    model: nn.Module,
    method: str,
    arguments: Callable[[], Mapping[str, Tensor]],
    run: Callable[[], Sequence[Tensor]],
) -> None:
    """Refuse a method that changes the model or its arguments, or is random.

    Args:
        model: in evaluation mode.
        method: its name.
        arguments: what it is passed, as it is at that time, by names for people.
        run: calls it with these: its results.

    Raises:
        ExportError: an argument is another after a call; or a tensor or a number of the model, or a
            result, is another the second time. What the first call leaves (a table that is made
            once, say) is not a change.
    """
    name = f"{type(model).__name__}.{method}"
    passed = {each: tensor.clone() for each, tensor in arguments().items()}
    first = [tensor.clone() for tensor in run()]
    now = arguments()
    for each, before in passed.items():
        if each not in now or not torch.equal(before, now[each]):
            raise ExportError(
                f"{name} writes into {each}, which is its argument and used again afterwards: make "
                f"a new tensor (torch.where, torch.cat, {each}.clone())"
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
            f"{name} changes {_some(changed)} of the model, which a graph cannot do: what goes "
            f"from step to step has to be an entry of cache_spec, which extend takes and returns; "
            f"nothing else may change in evaluation mode"
        )
    # Bit for bit, but for NaN.
    pairs = zip(first, second, strict=True)
    if not all(torch.equal(a.nan_to_num(), b.nan_to_num()) for a, b in pairs):
        raise ExportError(
            f"{name} gave other numbers when it was called again with the same arguments: in "
            f"evaluation mode it must draw nothing at random (nn.functional.dropout needs "
            f"training=self.training; noise is an argument), and depend on no earlier call"
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
            "hold the real and the imaginary part in two float32 tensors (torch.view_as_real), "
            "and write out the products"
        )
    if tensor.is_floating_point():
        return "call model.float() before"
    return "register it as .long() or .int()"


def _some(names: list[str]) -> str:
    more = len(names) - 3
    return ", ".join(map(repr, names[:3])) + (f" and {more} more" if more > 0 else "")
