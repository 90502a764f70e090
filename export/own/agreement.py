"""Whether the two forms of a model of one's own are one distribution: `predict` and `extend`.

Both are computed in float64, as the reference answers are, on a few positions. The limit is that of
the table of tolerances, for the model's own error in float32.
"""

import math

import torch
from torch import Tensor

from ancestral.errors import ExportError
from ancestral.export.float32_error import widened, worst
from ancestral.export.memory.float64_mode import Float64Mode
from ancestral.export.own.contract import PREFIX, ROWS, example, extended, predicted
from ancestral.parity import tolerance
from ancestral.train.models.autoregressive import AutoregressiveModel

_STEPS = 4
"""Positions that are compared."""
_WIDE = (
    "In float32 that works; here it is computed in float64, as the reference answers are: a tensor "
    "that the method makes, or one that is a plain attribute, has to have the type of the weights: "
    "torch.zeros(..., dtype=h.dtype), one_hot(x).to(weight.dtype), register_buffer(name, tensor)"
)


def check_agreement(model: AutoregressiveModel) -> None:
    """Compare `extend`, step by step, by blocks and from a cache that was used, with `predict`.

    Args:
        model: on the CPU, in evaluation mode; what it predicts does not see the future.

    Raises:
        ExportError: they differ, with the position; or the model cannot be computed in float64.
    """
    with torch.no_grad():
        whole, limit = _expected(model)
        if model.takes_prefixes and model.data.length > 1:
            _check_prefix(model, whole, limit)
        _check_steps(model, whole, limit)
        if model.takes_blocks:
            _check_block(model, whole, limit)


def _expected(model: AutoregressiveModel) -> tuple[Tensor, float]:
    """Log-probabilities [2, t, v] in float64 of `predict`, and how far others may be from them."""
    x, label = example(model)
    if model.takes_prefixes:
        x = x[:, : min(model.data.length, model.first_position + _STEPS)]
    near = _log_probs(model, predicted(model, x, label, _WIDE))
    with Float64Mode(model):
        exact = _log_probs(model, predicted(model, x, label, _WIDE))
    allowed = tolerance("torch", "float32")
    own = float(worst(near[:, model.first_position :], exact[:, model.first_position :]))
    if not math.isfinite(own):
        raise ExportError(
            f"{type(model).__name__}.predict: in float32 a probability is 0 where float64 has a "
            f"positive one, or the reverse: keep differences of logits below 80, or set "
            f"impossible values to -inf in both"
        )
    return exact, allowed.factor * own + allowed.nats_per_position


def _check_prefix(model: AutoregressiveModel, whole: Tensor, limit: float) -> None:
    x, label = example(model)
    n = min(PREFIX, model.data.length - 1)
    with Float64Mode(model):
        part = _log_probs(model, predicted(model, x[:, :n], label, _WIDE))
    for i in range(model.first_position, n):
        off = float(worst(part[:, i], whole[:, i]))
        if not off <= limit:
            raise ExportError(
                f"{type(model).__name__}.predict: expected predict(x[:, :{n}]) to be "
                f"predict(x)[:, :{n}], got log-probabilities that differ by {off:.3g} nats at "
                f"position {i}: set `takes_prefixes = False` in the class if predict needs whole "
                f"events"
            )


def _check_steps(model: AutoregressiveModel, whole: Tensor, limit: float) -> None:
    """The first row goes on; the second begins afresh after two steps, in the cache that it has."""
    x, label = example(model)
    first = model.first_position
    cache = _initial(model)
    for i in range(min(_STEPS, whole.shape[1] - first)):
        position = torch.tensor([first + i, first + (i if i < 2 else i - 2)])
        tokens = x[torch.arange(ROWS), position - 1][:, None]
        with Float64Mode(model):
            given = (tokens, position, cache, label)
            parameters, cache = extended(model, given, _WIDE)
            got = _log_probs(model, parameters)[:, 0]
        for row in range(ROWS):
            at = int(position[row])
            off = float(worst(got[row], whole[row, at]))
            if not off <= limit:
                again = i >= 2 and row == 1
                raise ExportError(_differs(model, at, off, _AFRESH if again else _SHIFT))


def _check_block(model: AutoregressiveModel, whole: Tensor, limit: float) -> None:
    x, label = example(model)
    first = model.first_position
    s = min(PREFIX, whole.shape[1] - first)
    at = torch.arange(first, first + s)
    with Float64Mode(model):
        given = (x[:, at - 1], torch.full((ROWS,), first), _initial(model), label)
        got = _log_probs(model, extended(model, given, _WIDE)[0])
    for i in range(s):
        off = float(worst(got[:, i], whole[:, first + i]))
        if not off <= limit:
            advice = (
                f"one value at a time they agree, a block of s = {s} is wrong: set `takes_blocks = "
                f"False` in the class if extend takes one value at a time"
            )
            raise ExportError(_differs(model, first + i, off, advice))


_SHIFT = (
    "extend(tokens, position, ...) consumes x[position - 1], and its parameters are for "
    "x[position]; at position 0 it consumes the start symbol, whatever tokens hold"
)
_AFRESH = (
    "a row began again at position 0 with the cache that it had: there extend has to ignore what "
    "tokens and cache hold in that row (torch.where(position == 0, ...)), for each row by itself"
)


def _differs(model: AutoregressiveModel, at: int, off: float, advice: str) -> str:
    return (
        f"{type(model).__name__}.extend: expected the log-probabilities of predict, got others at "
        f"position {at}, by {off:.3g} nats: {advice}"
    )


def _initial(model: AutoregressiveModel) -> dict[str, Tensor]:
    return {name: widened(tensor) for name, tensor in model.initial_cache(ROWS).items()}


def _log_probs(model: AutoregressiveModel, parameters: Tensor) -> Tensor:
    return model.likelihood.logits(parameters).double().log_softmax(dim=-1)
