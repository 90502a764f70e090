"""The content of a training state's file; every field is checked before any is used."""

import math
from collections.abc import Mapping
from dataclasses import astuple, fields
from typing import Any, NoReturn

import torch
from torch import Tensor

from ancestral.errors import InvalidInput
from ancestral.excerpts import LONGEST_VALUE, cut
from ancestral.train.config import TrainingConfig
from ancestral.train.state import Evaluation, TrainingState

_WHOLE = ("step", "active")
_OPTIONAL = ("reconstruction", "kl", "active")
"""Fields of an Evaluation that are integers, and fields that may be None."""


def content_of(state: TrainingState, identity: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of the file.

    Args:
        state: state between two steps.
        identity: values that identify the run.
    """
    return {
        "identity": identity,
        "model": state.model.state_dict(),
        "average": state.average.state_dict(),
        "optimiser": state.optimiser.state_dict(),
        "batches": state.batches.state(),
        "step": state.step,
        "seconds": state.seconds,
        "loss": state.loss,
        "history": [astuple(each) for each in state.history],
        "best": state.best,
        "random": torch.get_rng_state(),
        "random_cuda": torch.cuda.get_rng_state_all() if state.loss.is_cuda else [],
    }


def check_fields(content: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Check that the fields have the expected names and types.

    Raises:
        InvalidInput: a field is missing, unknown or of another type.
    """
    _check_names("fields", content, expected)
    for name, value in expected.items():
        kind = next(kind for kind in (dict, list, Tensor, int, float) if isinstance(value, kind))
        # `bool` is a subclass of `int`: True must not count as a step.
        if not isinstance(content[name], kind) or isinstance(content[name], bool):
            _refuse(name, kind.__name__, type(content[name]).__name__)


def check_content(content: Mapping[str, Any], state: TrainingState, config: TrainingConfig) -> None:
    """Check that the fields could have been written by a run of this model, data and configuration.

    Args:
        content: fields of the file, whose names and types have been checked.
        state: fresh state of the same run; its tensors have the expected shapes and types.
        config: training settings of the run.

    Raises:
        InvalidInput: a field has another shape or type, or is out of range.
    """
    expected = content_of(state, {})
    step, seconds = content["step"], content["seconds"]
    _check(0 <= step <= config.steps, "step", f"an integer in 0 .. {config.steps}", step)
    _check(0 <= seconds < math.inf, "seconds", "a number >= 0", seconds)
    _check_history(content["history"], step, config)
    best = expected["average"] if content["history"] else {}
    for name, value in (expected | {"best": best}).items():
        if name in ("loss", "model", "average", "best", "batches", "random"):
            _check_alike(name, content[name], value)
    _check_optimiser(content["optimiser"], expected["optimiser"], state.optimiser, step)
    order, after = content["batches"]["order"].cpu(), content["batches"]["next"]
    distinct = torch.equal(order.sort().values, torch.arange(len(order)))
    _check(
        distinct,
        "batches.order",
        f"a permutation of {len(order)} events",
        "indices that repeat or are out of range",
    )
    _check(0 <= after <= len(order), "batches.next", f"an integer in 0 .. {len(order)}", after)
    for i, random in enumerate(content["random_cuda"]):
        valid = isinstance(random, Tensor) and random.dtype == torch.uint8
        _check(valid, f"random_cuda[{i}]", "a tensor of bytes", type(random).__name__)


def _check_names(name: str, got: Mapping[Any, Any], expected: Mapping[Any, Any]) -> None:
    different = sorted(map(str, got.keys() ^ expected.keys()))
    if different:
        shown = ", ".join(different[:3]) + (", ..." if len(different) > 3 else "")
        raise InvalidInput(
            f"{name}: expected the names of this run, missing or unknown are {shown}"
        )


def _check_alike(where: str, got: object, expected: object) -> None:
    """Check that names, types and shapes are those of a fresh state, at any depth."""
    if isinstance(expected, Tensor):
        _check_tensor(where, got, expected)
    elif isinstance(expected, dict) and isinstance(got, dict):
        _check_names(where, got, expected)
        for name, value in expected.items():
            _check_alike(f"{where}.{name}", got[name], value)
    elif type(got) is not type(expected):
        _refuse(where, type(expected).__name__, type(got).__name__)


def _check_tensor(name: str, got: object, expected: Tensor) -> None:
    """Check that a tensor is dense and finite, with the expected shape and type."""
    if not isinstance(got, Tensor):
        _refuse(name, "a tensor", type(got).__name__)
    dense = got.layout == torch.strided and not got.is_quantized and not got.is_meta
    _check(dense, name, "a dense tensor", got.layout)
    wanted, found = (f"{each.dtype} {tuple(each.shape)}" for each in (expected, got))
    _check(found == wanted, name, wanted, found)
    finite = not got.is_floating_point() or bool(got.isfinite().all())
    _check(finite, name, "finite values", "NaN or infinity")


def _check_history(history: list[Any], step: int, config: TrainingConfig) -> None:
    """Check that the evaluations are those that a run has had by this step."""
    names = [field.name for field in fields(Evaluation)]
    every = config.evaluate_every
    steps = [*range(every, step + 1, every)]
    if step == config.steps and step % every:
        steps.append(step)
    for i, values in enumerate(history):
        valid = isinstance(values, tuple) and len(values) == len(names)
        _check(valid, f"history[{i}]", f"{len(names)} values", type(values).__name__)
        for name, value in zip(names, values, strict=True):
            expected = int if name in _WHOLE else float
            if type(value) is not expected and not (value is None and name in _OPTIONAL):
                _refuse(f"history[{i}].{name}", expected.__name__, type(value).__name__)
    same = [values[0] for values in history] == steps
    wanted = f"evaluations at {len(steps)} steps up to {step}"
    _check(same, "history", wanted, f"{len(history)} evaluations")


def _check_optimiser(
    got: Mapping[str, Any], expected: Mapping[str, Any], adam: torch.optim.AdamW, step: int
) -> None:
    """Check the settings against those of a fresh optimiser, and the shapes of the moments."""
    check_fields(got, {"state": {}, "param_groups": []})
    groups, fresh = got["param_groups"], expected["param_groups"]
    _check(len(groups) == len(fresh), "optimiser.param_groups", str(len(fresh)), len(groups))
    for i, (group, wanted) in enumerate(zip(groups, fresh, strict=True)):
        where = f"optimiser.param_groups[{i}]"
        _check(isinstance(group, dict), where, "settings", type(group).__name__)
        _check_names(where, group, wanted)
        for name, value in wanted.items():
            # The learning rate is set before each step.
            same = name == "lr" or (type(group[name]), group[name]) == (type(value), value)
            _check(same, f"{where}.{name}", repr(value), type(group[name]).__name__)
    parameters = [each for group in adam.param_groups for each in group["params"]]
    for index, moments in got["state"].items():
        where = f"optimiser.state[{index}]"
        known = type(index) is int and 0 <= index < len(parameters)
        _check(known, where, f"a parameter in 0 .. {len(parameters) - 1}", index)
        _check_moments(where, moments, parameters[index], step)
    moments_there = bool(got["state"]) or not step
    _check(moments_there, "optimiser.state", f"moments after {step} steps", "an empty state")


def _check_moments(where: str, moments: object, parameter: Tensor, step: int) -> None:
    if not isinstance(moments, dict):
        _refuse(where, "moments", type(moments).__name__)
    expected = {"exp_avg": parameter, "exp_avg_sq": parameter, "step": torch.zeros(())}
    _check_alike(where, moments, expected)
    taken = moments["step"].item()
    _check(1 <= taken <= step, f"{where}.step", f"a number in 1 .. {step}", taken)
    negative = bool((moments["exp_avg_sq"] < 0).any())
    _check(not negative, f"{where}.exp_avg_sq", "values >= 0", "negative values")


def _check(holds: bool, name: str, expected: str, got: object) -> None:
    if not holds:
        _refuse(name, expected, got)


def _refuse(name: str, expected: str, got: object) -> NoReturn:
    raise InvalidInput(f"{name}: expected {expected}, got {cut(str(got), LONGEST_VALUE)}")
