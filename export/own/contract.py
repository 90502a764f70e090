"""The contract of an autoregressive model of one's own, tried on a few positions before export.

What is tried here is plain PyTorch: a refusal names the method, what it gave, and what to do.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ancestral.dataspec import DataSpec
from ancestral.errors import ExportError
from ancestral.export.model_state import check_pure
from ancestral.export.own.user_code import call, check_result, described, first_line, user_line
from ancestral.signature import CacheEntry
from ancestral.step_tensors import POSITION, TAKEN
from ancestral.train.models.autoregressive import AutoregressiveModel
from ancestral.train.models.families import Model
from ancestral.train.perturbation import random_events

ROWS = 2
PREFIX = 3
"""Positions of a prefix, and of a block."""
_PREDICT = (
    "Expected predict(x [b, t] int64, label) to return [b, t, p]: values of x are 0 .. levels - 1, "
    "and a start symbol, if the model has one, needs a number of its own; label is None where "
    "data.num_classes is, else [b] int64"
)
_EXTEND = (
    "Expected extend(tokens [b, s] int64, position [b] int64, cache, label) to return parameters "
    "[b, s, p] and the new cache, a dict of the entries of cache_spec and no others"
)
_WHOLE = (
    "set `takes_prefixes = False` in the class if it needs whole events; or take the length from "
    "x.shape[1] and cut masks and tables to it"
)
_ONE = (
    "set `takes_blocks = False` in the class if extend consumes one value at a time; or handle any "
    "s = tokens.shape[1]"
)


def check_declared(model: Model) -> None:
    """Refuse a model whose `data` or `cache_spec` are not what the contract says.

    Raises:
        ExportError: `data` is not a DataSpec, or an entry of the cache cannot be carried.
    """
    name = type(model).__name__
    if not isinstance(getattr(model, "data", None), DataSpec):
        got = described(getattr(model, "data", None))
        raise ExportError(f"{name}.data: expected a DataSpec, set in __init__, got {got}")
    if not isinstance(model, AutoregressiveModel):
        return
    entries = model.cache_spec
    if not isinstance(entries, tuple | list) or not all(isinstance(e, CacheEntry) for e in entries):
        raise ExportError(
            f"{name}.cache_spec: expected a property that returns a tuple of CacheEntry, "
            f"got {described(entries)}"
        )
    names = [entry.name for entry in entries]
    for entry in entries:
        where = f"{name}.cache_spec: {entry.name!r}"
        if entry.name in TAKEN or not entry.name.isidentifier() or names.count(entry.name) > 1:
            raise ExportError(
                f"{where}: expected a name that no other tensor of a step has (not one of "
                f"{sorted(TAKEN)}), a Python identifier, once"
            )
        if entry.axes[:1] != ("b",) or any(isinstance(axis, str) for axis in entry.axes[1:]):
            raise ExportError(
                f"{where}: expected the axes ('b', then fixed sizes): a row of the batch has its "
                f"own part of the cache; got {entry.axes}"
            )


def check_contract(model: AutoregressiveModel) -> None:
    """Call `predict` and `extend` on a few positions, and look at what they return.

    Args:
        model: on the CPU, in evaluation mode.

    Raises:
        ExportError: a method raised, or what it returned has another shape or type than the
            contract says; it changes the model or what it is passed, or is random.
    """
    with torch.no_grad():
        _check_predict(model)
        _check_extend(model, 1, _EXTEND)
        if model.takes_blocks:
            _check_extend(model, PREFIX, f"{_EXTEND}. Blocks of one value work: {_ONE}")


def example(model: AutoregressiveModel) -> tuple[Tensor, Tensor | None]:
    """Events [2, T] that differ at each position, as far as there are levels, and labels [2]."""
    x = random_events(model.data.length, model.data.levels, seed=0)[:ROWS]
    classes = model.data.num_classes
    return x, None if classes is None else torch.arange(ROWS) % classes


def predicted(model: AutoregressiveModel, x: Tensor, label: Tensor | None, advice: str) -> Tensor:
    """What `predict` returns, of the right shape and type.

    Raises:
        ExportError: it raised, or returned something else.
    """
    result = call(model, "predict", (x, label), advice)
    _check_parameters(model, "predict", result, x.shape[1], advice)
    found: Tensor = result
    return found


def extended(
    model: AutoregressiveModel,
    given: tuple[Tensor, Tensor, dict[str, Tensor], Tensor | None],
    advice: str,
) -> tuple[Tensor, dict[str, Tensor]]:
    """What `extend` returns for tokens, position, cache and label, of the right shapes and types.

    Raises:
        ExportError: it raised, or returned something else.
    """
    name = type(model).__name__
    result = call(model, "extend", given, advice)
    if not (isinstance(result, tuple) and len(result) == 2 and isinstance(result[1], Mapping)):
        raise ExportError(
            f"{name}.extend: expected two things, the parameters and a dict, got "
            f"{described(result)}. {advice}"
        )
    parameters, cache = result
    _check_parameters(model, "extend", parameters, given[0].shape[1], advice)
    before = given[2]
    if set(cache) != set(before):
        raise ExportError(
            f"{name}.extend: expected a cache of the entries of cache_spec, {sorted(before)}, got "
            f"{sorted(cache)}. {advice}"
        )
    for each, tensor in cache.items():
        where = f"{name}.extend: cache[{each!r}]"
        check_result(where, tensor, before[each], advice, "{} as cache_spec declares it")
    return parameters, dict(cache)


def _check_predict(model: AutoregressiveModel) -> None:
    x, label = example(model)
    if model.takes_prefixes and model.data.length > 1:
        part = x[:, : min(PREFIX, model.data.length - 1)]
        try:
            predicted(model, part.clone(), label, _PREDICT)
        except ExportError as error:
            # Its own fault is told where whole events do not work either.
            predicted(model, x, label, _PREDICT)
            cause = error.__cause__
            reason = f"{first_line(cause)}{user_line(cause)}" if cause is not None else str(error)
            raise ExportError(
                f"{type(model).__name__}.predict takes whole events of {model.data.length} "
                f"positions, but not the first {part.shape[1]} of them: {_WHOLE}. There it fails: "
                f"{reason}"
            ) from error
        x = part
    check_pure(model, "predict", lambda: {"x": x}, lambda: [predicted(model, x, label, _PREDICT)])


def _check_extend(model: AutoregressiveModel, s: int, advice: str) -> None:
    x, label = example(model)
    s = min(s, model.data.length - model.first_position)
    tokens, position = x[:, :s].clone(), torch.full((ROWS,), model.first_position)
    cache = model.initial_cache(ROWS)

    def run() -> list[Tensor]:
        parameters, after = extended(model, (tokens, position, cache, label), advice)
        return [parameters, *after.values()]

    def arguments() -> dict[str, Tensor]:
        kept = {f"cache[{name!r}]": tensor for name, tensor in cache.items()}
        return {"tokens": tokens, POSITION: position, **kept}

    check_pure(model, "extend", arguments, run)


def _check_parameters(
    model: AutoregressiveModel, method: str, result: Any, t: int, advice: str
) -> None:
    like = next(model.parameters())
    expected = like.new_empty((ROWS, t, model.likelihood.size))
    words = (
        f"parameters {{}} of {type(model.likelihood).__name__}, p = {model.likelihood.size} "
        f"numbers for each position"
    )
    check_result(f"{type(model).__name__}.{method}", result, expected, advice, words)
    if result[:, model.first_position :].isnan().any():
        raise ExportError(
            f"{type(model).__name__}.{method}: expected numbers, got NaN: look for NaN in the "
            f"weights, and for rows of attention in which nothing is visible"
        )
