"""Check that `predict` and `extend` of a user's model give the same distribution.

Both are computed in float64, like the known answers, on a few positions. The limit is that of the
torch backend in the table of tolerances (`ancestral.parity`), computed from the model's own float32
error.
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
"""Number of positions that are compared."""
_WIDE = (
    "the known answers are computed in float64, so make new tensors in the type of the weights "
    "(torch.zeros(..., dtype=h.dtype), one_hot(x).to(weight.dtype)), and plain attributes buffers"
)


def check_agreement(model: AutoregressiveModel) -> None:
    """Check that `extend` agrees with `predict`: step by step, in blocks, and with a used cache.

    Args:
        model: model on the CPU, in evaluation mode, whose `predict` is known to be causal.

    Raises:
        ExportError: the two differ at a position, or the model cannot be computed in float64.
    """
    with torch.no_grad():
        whole, limit = _expected(model)
        if model.takes_prefixes and model.data.length > 1:
            _check_prefix(model, whole, limit)
        _check_steps(model, whole, limit)
        if model.takes_blocks:
            _check_block(model, whole, limit)


def _expected(model: AutoregressiveModel) -> tuple[Tensor, float]:
    """Return the log-probabilities of `predict` in float64, [2, t, v], and the limit in nats."""
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
            f"{type(model).__name__}.predict: a probability is 0 in float32 and positive in "
            f"float64, or the reverse; keep differences of logits below 80, or set the logits of "
            f"impossible values to -inf"
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
                f"{type(model).__name__}.predict: expected predict(x[:, :{n}]) to equal "
                f"predict(x)[:, :{n}], got log-probabilities that differ by {off:.3g} nats at "
                f"position {i}; set `takes_prefixes = False` in the class if predict needs whole "
                f"events"
            )


def _check_steps(model: AutoregressiveModel, whole: Tensor, limit: float) -> None:
    """Compare step by step; after two steps, row 1 starts again and keeps its used cache."""
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
                f"make a block of s = {s} agree with single values, which are right, or set "
                f"`takes_blocks = False` in the class"
            )
            raise ExportError(_differs(model, first + i, off, advice))


_SHIFT = (
    "make extend(tokens, position, ...) consume x[position - 1], or at position 0 the start symbol "
    "instead of tokens, and return the parameters for x[position]"
)
_AFRESH = (
    "make extend ignore tokens and cache at position 0, where a row may start with a used cache, "
    "in each row separately (torch.where(position == 0, ...))"
)


def _differs(model: AutoregressiveModel, at: int, off: float, advice: str) -> str:
    return (
        f"{type(model).__name__}.extend: expected the log-probabilities of predict, got a "
        f"difference of {off:.3g} nats at position {at}; {advice}"
    )


def _initial(model: AutoregressiveModel) -> dict[str, Tensor]:
    return {name: widened(tensor) for name, tensor in model.initial_cache(ROWS).items()}


def _log_probs(model: AutoregressiveModel, parameters: Tensor) -> Tensor:
    return model.likelihood.logits(parameters).double().log_softmax(dim=-1)
