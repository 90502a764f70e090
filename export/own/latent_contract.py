"""Check the contract of a user's latent variable model on two events before export."""

from functools import partial
from typing import Any

import torch
from torch import Tensor

from ancestral.errors import ExportError
from ancestral.export.float32_error import widened
from ancestral.export.memory.float64_mode import Float64Mode
from ancestral.export.model_state import check_pure
from ancestral.export.own.user_code import call, check_result, described
from ancestral.train.likelihoods.observation import Observation
from ancestral.train.models.latent_variable import LatentVariableModel
from ancestral.train.models.posteriors import Posterior
from ancestral.train.models.priors import Prior
from ancestral.train.perturbation import random_events

ROWS = 2
_ENCODE = (
    "make encode(x) return the tuple of parameters that `posterior` declares, as "
    "self.posterior.from_features(h) makes it from h [b, posterior.features] (x [b, t] are levels "
    "as int64, or float32 if p(x | z) is a density)"
)
_DECODE = "make decode(z [b, *latent_shape]) return [b, n, p], where (n, p) is observation.shape"
_WIDE = (
    "the known answers are computed in float64, so compute in the type of the weights "
    "(x.to(self.weight.dtype)), and store constants as buffers"
)


def check_latent_contract(model: LatentVariableModel) -> None:
    """Call `encode` and `decode` on two events, and check what they return.

    Args:
        model: model on the CPU, in evaluation mode.

    Raises:
        ExportError: an attribute is missing; or a method raised, returned a shape or type that
            breaks the contract, changed the model or its argument, or is random.
    """
    _check_attributes(model)
    x = random_events(model.data.length, model.data.levels, seed=0)[:ROWS]
    z = torch.linspace(-1, 1, ROWS)[:, None] + torch.zeros(model.latent_shape).flatten()
    z = z.unflatten(1, model.latent_shape)
    if model.observation.continuous:
        x = x + 0.5
    with torch.no_grad():
        for method, given, advice in (("encode", x, _ENCODE), ("decode", z, _DECODE)):
            named = {"x" if method == "encode" else "z": given}
            run = partial(_run, model, method, given, advice)
            check_pure(model, method, named.copy, run)
            with Float64Mode(model):
                _run(model, method, widened(given), _WIDE)


def _run(model: LatentVariableModel, method: str, given: Tensor, advice: str) -> tuple[Tensor, ...]:
    result = call(model, method, (given,), advice)
    like = next(model.parameters())
    if method == "decode":
        expected: tuple[Tensor, ...] = (like.new_empty((ROWS, *model.observation.shape)),)
        found: Any = (result,)
    else:
        assert isinstance(model.posterior, Posterior)
        expected = tuple(like.new_empty((ROWS, *shape)) for shape in model.posterior.shapes)
        found = result
    check_result(f"{type(model).__name__}.{method}", found, expected, advice)
    if any(tensor.isnan().any() for tensor in found):
        raise ExportError(
            f"{type(model).__name__}.{method}: expected numbers, got NaN; the weights may contain "
            f"NaN"
        )
    return tuple(found)


def _check_attributes(model: LatentVariableModel) -> None:
    expected = {
        "latent_shape": (tuple, "a tuple of sizes, for example (2,)"),
        "posterior": (Posterior, "Diagonal(latent_shape) or Full(dimensions)"),
        "observation": (Observation, "an observation, for example Independent(likelihood, T)"),
        "prior": (Prior, "StandardNormal() or a mixture"),
    }
    for name, (kind, words) in expected.items():
        value = getattr(model, name, None)
        if not isinstance(value, kind):
            raise ExportError(
                f"{type(model).__name__}.{name}: expected {words}, got {described(value)}"
            )
    if model.data.num_classes is not None:
        raise ExportError(
            f"{type(model).__name__}.data: expected num_classes = None, got "
            f"{model.data.num_classes}; a latent variable model has no labels"
        )
