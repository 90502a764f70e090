"""Quantise the weights of a model, in place, as a plan says."""

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from ancestral.bundles.quantisation import (
    GROUPS,
    Compute,
    Quantisation,
    QuantisedTensor,
    Weights,
)
from ancestral.errors import InvalidInput
from ancestral.train.quantisation.modules import QuantisedModule, empty, store
from ancestral.train.quantisation.places import SMALLEST, Place, places
from ancestral.train.quantisation.rounding import Codes, check_finite, check_scales, nearest

_TOO_SMALL = "fewer than 4,096 numbers"
_BY_PLAN = "left out by the plan"
_SHARED = "shared by two modules"
_NO_KERNEL = "not a map, table, convolution or recurrent layer"


@runtime_checkable
class Rounding(Protocol):
    """A rule that rounds the matrix of a weight to codes."""

    def __call__(self, name: str, matrix: Tensor, how: QuantisedTensor, half: bool) -> Codes: ...


def round_nearest(name: str, matrix: Tensor, how: QuantisedTensor, half: bool) -> Codes:
    """Round each number of a weight to the nearest code; the name is not used."""
    return nearest(matrix, how, half)


def planned(
    model: nn.Module,
    weights: Weights,
    *,
    group: int = 32,
    symmetric: bool = True,
    compute: Compute = "float32",
    half_scales: bool = False,
) -> Quantisation:
    """Plan to quantise every weight of a model that can be, with the same settings.

    Convolutions and recurrent layers have 8 bits in both cases: their matrices are dequantised when
    they are loaded, so that only the file becomes smaller. A convolution has one scale for each
    output channel. Tables are symmetric, because ONNX Runtime reads rows only so.

    Args:
        model: a model in float32.
        weights: "int8" or "int4".
        group: numbers that share a scale.
        symmetric: whether the zero point of maps is the middle of the codes.
        compute: "float32", or "int8" to round activations at run time.
        half_scales: whether scales are stored in float16.

    Raises:
        InvalidInput: the size of the groups is not one of GROUPS, the model is already quantised,
            or it has no weight of at least 4,096 numbers.
    """
    if group not in GROUPS:
        raise InvalidInput(f"group: expected one of {list(GROUPS)}, got {group}")
    check_plain(model)
    tensors: dict[str, QuantisedTensor] = {}
    kept: dict[str, str] = {}
    for place in places(model):
        if place.weight.numel() < SMALLEST:
            kept[place.name] = _TOO_SMALL
        else:
            tensors[place.name] = _settings(place, weights, group, symmetric)
    if not tensors:
        raise InvalidInput(
            f"weights: expected a model with a weight of at least {SMALLEST:,} numbers to "
            f"quantise, got smaller ones only; export it in float32"
        )
    kept |= _others(model, {place.name for place in places(model)})
    scales = "float16" if half_scales else "float32"
    return Quantisation(compute=compute, scales=scales, tensors=tensors, kept=kept)


def _others(model: nn.Module, found: Collection[str]) -> dict[str, str]:
    """Return the large matrices of which no codes can be stored, with the reason."""
    named = list(model.named_parameters(remove_duplicate=False))
    names = Counter(id(parameter) for _, parameter in named)
    return {
        name: _SHARED if names[id(parameter)] > 1 else _NO_KERNEL
        for name, parameter in model.named_parameters()
        if name not in found and parameter.ndim > 1 and parameter.numel() >= SMALLEST
    }


def without(plan: Quantisation, names: Collection[str]) -> Quantisation:
    """Return a plan that keeps some weights as they are.

    Raises:
        InvalidInput: no weight is left to quantise.
    """
    tensors = {name: how for name, how in plan.tensors.items() if name not in names}
    if not tensors:
        raise InvalidInput("plan: expected at least one weight to quantise; leave out fewer")
    kept = {**plan.kept, **dict.fromkeys(sorted(names), _BY_PLAN)}
    return plan.model_copy(update={"tensors": tensors, "kept": kept})


def _settings(place: Place, weights: Weights, group: int, symmetric: bool) -> QuantisedTensor:
    if place.kind == "convolution":
        width = place.matrix.shape[1]
        return QuantisedTensor(bits=8, group=width + width % 2, symmetric=True)
    bits = 8 if weights == "int8" or place.kind == "recurrent" else 4
    return QuantisedTensor(
        bits=bits, group=group, symmetric=symmetric or place.kind in {"table", "recurrent"}
    )


def check_plain(model: nn.Module) -> None:
    """Check that no weight of a model is quantised.

    Raises:
        InvalidInput: a weight is.
    """
    for name, module in model.named_modules():
        if isinstance(module, QuantisedModule):
            raise InvalidInput(
                f"{name}: expected a weight in float32, got one that is already quantised; use the "
                f"float32 bundle that it was made from"
            )


@torch.no_grad()
def quantise(
    model: nn.Module,
    plan: Quantisation,
    rounding: Rounding = round_nearest,
    progress: Callable[[str], None] = lambda name: None,
) -> None:
    """Replace the weights of a plan by their codes, in place.

    Args:
        model: a model in float32.
        plan: what to quantise, and how.
        rounding: rule that rounds each matrix.
        progress: called with the name of each weight.

    Raises:
        InvalidInput: the model has no such weight, a weight has numbers that are not finite, or a
            scale is too large for its type.
    """
    for place, how in _planned_places(model, plan.tensors):
        progress(place.name)
        matrix = place.matrix
        check_finite(place.name, matrix)
        codes = rounding(place.name, matrix, how, plan.scales == "float16")
        check_scales(place.name, codes, plan.scales)
        store(place, codes, how, plan.compute)


def hollow(model: nn.Module, plan: Quantisation) -> None:
    """Replace weights by codes without memory, which `load_state_dict(..., assign=True)` fills.

    Raises:
        InvalidInput: the model has no such weight.
    """
    for place, how in _planned_places(model, plan.tensors):
        store(place, empty(place, how), how, plan.compute)


def _planned_places(
    model: nn.Module, tensors: Mapping[str, QuantisedTensor]
) -> list[tuple[Place, QuantisedTensor]]:
    found = {place.name: place for place in places(model)}
    unknown = sorted(tensors.keys() - found.keys())
    if unknown:
        raise InvalidInput(
            f"quantisation: expected weights of the model, got {unknown[0]!r} and "
            f"{len(unknown) - 1} more"
        )
    return [(found[name], how) for name, how in tensors.items()]
