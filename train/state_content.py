"""What the file of a training state may hold: every field is checked before one of them is used."""

import math
from collections.abc import Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any, NoReturn

import torch
from torch import Tensor

from ancestral.errors import InvalidInput
from ancestral.excerpts import LONGEST_VALUE, cut
from ancestral.train.config import TrainingConfig

if TYPE_CHECKING:
    from ancestral.train.state import TrainingState

FIELDS = {
    "identity": dict,
    "model": dict,
    "average": dict,
    "optimiser": dict,
    "batches": dict,
    "step": int,
    "seconds": float,
    "loss": Tensor,
    "history": list,
    "best": dict,
    "random": Tensor,
    "random_cuda": list,
}
"""Fields of the file and their types."""
_MOMENTS = ("exp_avg", "exp_avg_sq")


def check_content(
    content: Mapping[str, Any], state: "TrainingState", config: TrainingConfig
) -> None:
    """Refuse what no run of this model, these data and this configuration writes.

    Args:
        content: of the file.
        state: fresh, of the same run: its tensors have the shapes and types that are expected.
        config: of the run.

    Raises:
        InvalidInput: a field is missing, of another type or shape, or outside its range.
    """
    check_fields(content, FIELDS)
    step, seconds, loss = content["step"], content["seconds"], content["loss"]
    if not 0 <= step <= config.steps:
        _refuse("step", f"an integer in 0 .. {config.steps}", step)
    if not 0 <= seconds < math.inf:
        _refuse("seconds", "a number >= 0", seconds)
    _check_tensor("loss", loss, state.loss)
    _check_history(content["history"], step, config)
    for name, expected in (("model", state.model), ("average", state.average)):
        _check_tensors(name, content[name], expected.state_dict())
    best = state.average.state_dict() if content["history"] else {}
    _check_tensors("best", content["best"], best)
    _check_optimiser(content["optimiser"], state.optimiser.state_dict(), state.optimiser, step)
    _check_batches(content["batches"], state.batches.state())
    _check_tensor("random", content["random"], torch.get_rng_state())
    for i, random in enumerate(content["random_cuda"]):
        if not isinstance(random, Tensor) or random.dtype != torch.uint8:
            _refuse(f"random_cuda[{i}]", "a tensor of bytes", type(random).__name__)


def check_fields(content: Mapping[str, Any], types: Mapping[str, type]) -> None:
    """Refuse other names, or a value of another type.

    Raises:
        InvalidInput: there is one.
    """
    _check_names("fields", content, types)
    for name, expected in types.items():
        # By the type itself: True is an int, and would count as a step.
        exact = expected in (int, float)
        value = content[name]
        if type(value) is not expected if exact else not isinstance(value, expected):
            _refuse(name, expected.__name__, type(value).__name__)


def _check_names(name: str, got: Mapping[Any, Any], expected: Mapping[Any, Any]) -> None:
    different = sorted(map(str, got.keys() ^ expected.keys()))
    if different:
        shown = ", ".join(different[:3]) + (", ..." if len(different) > 3 else "")
        raise InvalidInput(f"{name}: missing or unknown: {shown}")


def _check_tensors(name: str, got: Mapping[str, Any], expected: Mapping[str, Tensor]) -> None:
    _check_names(name, got, expected)
    for key, tensor in expected.items():
        _check_tensor(f"{name}.{key}", got[key], tensor)


def _check_tensor(name: str, got: object, expected: Tensor) -> None:
    """Refuse another shape, type or place, and values that are not finite."""
    if not isinstance(got, Tensor):
        _refuse(name, "a tensor", type(got).__name__)
    if (got.layout, got.is_quantized, got.is_meta) != (torch.strided, False, False):
        _refuse(name, "a dense tensor", got.layout)
    if (got.dtype, got.shape) != (expected.dtype, expected.shape):
        wanted = f"{expected.dtype} {tuple(expected.shape)}"
        _refuse(name, wanted, f"{got.dtype} {tuple(got.shape)}")
    if got.is_floating_point() and not bool(got.isfinite().all()):
        _refuse(name, "finite values", "others")


def _check_history(history: list[Any], step: int, config: TrainingConfig) -> None:
    """Refuse other looks than those that a run has had by that step."""
    from ancestral.train.state import Evaluation

    names = [field.name for field in fields(Evaluation)]
    every = config.evaluate_every
    steps = [*range(every, step + 1, every)]
    if step == config.steps and step % every:
        steps.append(step)
    found = []
    for i, look in enumerate(history):
        if not isinstance(look, tuple) or len(look) != len(names):
            _refuse(f"history[{i}]", f"{len(names)} values", type(look).__name__)
        for name, value in zip(names, look, strict=True):
            _check_look_field(f"history[{i}].{name}", name, value)
        found.append(look[0])
    if found != steps:
        _refuse("history", f"looks at {len(steps)} steps up to {step}", f"{len(found)} looks")


def _check_look_field(where: str, name: str, value: object) -> None:
    optional = name in ("reconstruction", "kl", "active")
    if value is None and optional:
        return
    expected = int if name in ("step", "active") else float
    if type(value) is not expected:
        _refuse(where, expected.__name__, type(value).__name__)


def _check_optimiser(
    got: Mapping[str, Any], expected: Mapping[str, Any], adam: torch.optim.AdamW, step: int
) -> None:
    """Refuse other settings than those of a fresh optimiser, and moments of other shapes."""
    check_fields(got, {"state": dict, "param_groups": list})
    groups = got["param_groups"]
    if len(groups) != len(expected["param_groups"]):
        _refuse("optimiser.param_groups", str(len(expected["param_groups"])), len(groups))
    for i, (group, wanted) in enumerate(zip(groups, expected["param_groups"], strict=True)):
        where = f"optimiser.param_groups[{i}]"
        if not isinstance(group, dict):
            _refuse(where, "settings", type(group).__name__)
        _check_names(where, group, wanted)
        for name, value in wanted.items():
            # The rate is set before each step.
            if name != "lr" and (type(group[name]), group[name]) != (type(value), value):
                _refuse(f"{where}.{name}", repr(value), type(group[name]).__name__)
    parameters = [each for group in adam.param_groups for each in group["params"]]
    for index, moments in got["state"].items():
        where = f"optimiser.state[{index}]"
        if type(index) is not int or not 0 <= index < len(parameters):
            _refuse(where, f"a parameter in 0 .. {len(parameters) - 1}", "another")
        _check_moments(where, moments, parameters[index], step)
    if step and not got["state"]:
        _refuse("optimiser.state", f"moments after {step} steps", "none")


def _check_moments(where: str, moments: object, parameter: Tensor, step: int) -> None:
    if not isinstance(moments, dict):
        _refuse(where, "moments", type(moments).__name__)
    _check_names(where, moments, dict.fromkeys(("step", *_MOMENTS)))
    for name in _MOMENTS:
        _check_tensor(f"{where}.{name}", moments[name], parameter)
    _check_tensor(f"{where}.step", moments["step"], torch.zeros(()))
    if not 1 <= moments["step"].item() <= step:
        _refuse(f"{where}.step", f"a number in 1 .. {step}", moments["step"].item())
    if bool((moments["exp_avg_sq"] < 0).any()):
        _refuse(f"{where}.exp_avg_sq", "values >= 0", "others")


def _check_batches(got: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    check_fields(got, {"generator": Tensor, "order": Tensor, "next": int})
    for name in ("generator", "order"):
        _check_tensor(f"batches.{name}", got[name], expected[name])
    order = got["order"].cpu()
    if not torch.equal(order.sort().values, torch.arange(len(order))):
        _refuse("batches.order", f"a permutation of {len(order)} events", "another order")
    if not 0 <= got["next"] <= len(order):
        _refuse("batches.next", f"an integer in 0 .. {len(order)}", got["next"])


def _refuse(name: str, expected: str, got: object) -> NoReturn:
    raise InvalidInput(f"{name}: expected {expected}, got {cut(str(got), LONGEST_VALUE)}")
