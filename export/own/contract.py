"""Check the contract of a user's autoregressive model on a few positions before export.

The checks run in plain PyTorch. An error names the method, what it returned, and what to do.
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
"""Positions of the prefix, and of the block, that are tried."""
_PREDICT = (
    "make predict(x [b, t] int64, label) return [b, t, p], for x in 0 .. levels - 1 (a start "
    "symbol needs another number) and label [b] int64, or None if data.num_classes is None"
)
_EXTEND = (
    "make extend(tokens [b, s] int64, position [b] int64, cache, label) return parameters "
    "[b, s, p] and the new cache, a dict with exactly the entries of cache_spec"
)
_WHOLE = (
    "set `takes_prefixes = False` in the class if predict needs whole events, or take the length "
    "from x.shape[1] and cut masks and tables to it"
)
_ONE = (
    "blocks of one value work, so set `takes_blocks = False` in the class if extend takes one "
    "value at a time, or handle any s = tokens.shape[1]"
)


def check_declared(model: Model) -> None:
    """Check a model's `data` and `cache_spec` against the contract.

    Raises:
        ExportError: `data` is not a DataSpec, or `cache_spec` has an entry that a step graph
            cannot carry.
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
                f"{where}: expected a Python identifier that is used once and is not the name of "
                f"another tensor of a step graph ({', '.join(sorted(TAKEN))})"
            )
        if entry.axes[:1] != ("b",) or any(isinstance(axis, str) for axis in entry.axes[1:]):
            raise ExportError(
                f"{where}: expected the axis 'b' (a row of the batch) and then fixed sizes, got "
                f"{entry.axes}"
            )


def check_contract(model: AutoregressiveModel) -> None:
    """Call `predict` and `extend` on a few positions, and check what they return.

    Args:
        model: model on the CPU, in evaluation mode.

    Raises:
        ExportError: a method raised, returned a shape or type that breaks the contract, changed
            the model or its arguments, or is random.
    """
    with torch.no_grad():
        _check_predict(model)
        _check_extend(model, 1, _EXTEND)
        if model.takes_blocks:
            _check_extend(model, PREFIX, _ONE)


def example(model: AutoregressiveModel) -> tuple[Tensor, Tensor | None]:
    """Return two events [2, T], which differ at each position if levels allow, and labels [2]."""
    x = random_events(model.data.length, model.data.levels, seed=0)[:ROWS]
    classes = model.data.num_classes
    return x, None if classes is None else torch.arange(ROWS) % classes


def predicted(model: AutoregressiveModel, x: Tensor, label: Tensor | None, advice: str) -> Tensor:
    """Call `predict`, and check the shape and type of what it returns.

    Raises:
        ExportError: `predict` raised, or returned another shape or type, or NaN.
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
    """Call `extend` with tokens, position, cache and label, and check what it returns.

    Raises:
        ExportError: `extend` raised, or returned other shapes, types or cache entries, or NaN.
    """
    name = type(model).__name__
    result = call(model, "extend", given, advice)
    if not (isinstance(result, tuple) and len(result) == 2 and isinstance(result[1], Mapping)):
        raise ExportError(
            f"{name}.extend: expected a tuple of the parameters and a dict, got "
            f"{described(result)}; {advice}"
        )
    parameters, cache = result
    _check_parameters(model, "extend", parameters, given[0].shape[1], advice)
    before = given[2]
    if set(cache) != set(before):
        raise ExportError(
            f"{name}.extend: expected a cache with the entries of cache_spec, {sorted(before)}, "
            f"got {sorted(cache)}; {advice}"
        )
    for each, tensor in cache.items():
        where = f"{name}.extend: cache[{each!r}]"
        check_result(where, tensor, before[each], advice, "{} as declared in cache_spec")
    return parameters, dict(cache)


def _check_predict(model: AutoregressiveModel) -> None:
    x, label = example(model)
    if model.takes_prefixes and model.data.length > 1:
        part = x[:, : min(PREFIX, model.data.length - 1)]
        try:
            predicted(model, part.clone(), label, _PREDICT)
        except ExportError as error:
            # If whole events fail too, this call raises their error instead.
            predicted(model, x, label, _PREDICT)
            cause = error.__cause__
            fault = str(error).partition("; ")[0]
            reason = f"{first_line(cause)}{user_line(cause)}" if cause is not None else fault
            raise ExportError(
                f"{type(model).__name__}.predict takes whole events of {model.data.length} "
                f"positions, but not the first {part.shape[1]} of them ({reason}); {_WHOLE}"
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
        f"parameters {{}} for {type(model.likelihood).__name__}, p = {model.likelihood.size} "
        f"numbers per position"
    )
    check_result(f"{type(model).__name__}.{method}", result, expected, advice, words)
    if result[:, model.first_position :].isnan().any():
        raise ExportError(
            f"{type(model).__name__}.{method}: expected numbers, got NaN; the weights may contain "
            f"NaN, or a row of attention may have all its positions masked"
        )
