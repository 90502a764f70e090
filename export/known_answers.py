"""Known answers of an autoregressive model: PyTorch float64 on seeded inputs, and float32's error.

A bundle's known answers are what `verify` compares a backend with.
"""

import math
from contextlib import nullcontext

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ancestral.export.filter_answers import DRAWN, ERRORS, MARGINS, filter_answers, settings
from ancestral.export.float32_error import difference, margin, own_error
from ancestral.export.memory.float64_mode import Float64Mode
from ancestral.export.memory.freed import give_back
from ancestral.philox import uniforms
from ancestral.train.models.autoregressive import AutoregressiveModel
from ancestral.train.models.step import Step
from ancestral.train.models.transformer import Transformer
from ancestral.triton_kernels.operators import in_place

SEED = 20_260_101
_NUMBERS = 2**21
"""Most probabilities that are stored as whole next-value distributions."""
_CHUNK = 2**24
"""Most logits per call, for several events together: each weight is widened once per call."""
_COMPARED = 2**19
"""Logits that are compared at a time."""
_LOGITS = 2**22
"""Most logits of one event; a longer event is cut to its first positions."""
_WORK = 1e11
"""Most work for the samples, and for the noise: parameters times positions of all its events."""
_FEWEST = 64
"""Fewest positions that an event is cut to, however large the model is."""
_OWN = {"own_cdf": "cdf", "own_filtered": "filtered_error", "own_gap": "gap_error"}
"""Float32's errors at each position; the largest of each is stored under the name on the left."""
_POSITIONS = 4096
"""Most positions of all samples together, and of all noise: long events are few."""


def known_answers(model: AutoregressiveModel) -> dict[str, NDArray[np.generic]]:
    """Compute the known answers of an autoregressive model.

    Half of the events are samples that the model draws from the uniforms u. The others are uniform
    noise, with low log-probabilities and unusual distributions. If whole events would take too
    long or too much memory, only their first t positions are used.

    Args:
        model: model on the CPU, in float32.

    Returns:
        Arrays by name, for n events of t positions, k stored distributions and v levels:

        - x [n, t], label [n] (if the model has labels), u [n, t], is_sample [n]: the inputs.
        - log_prob [n, t], in nats.
        - at [k, 2], (event, position), and distribution [k, v], log-probabilities in nats.
        - drawn [n, t], the value that u draws, and margin [n, t], the distance of u to the nearer
          edge of that value's interval.
        - temperature, top_k, top_p and min_p, [n]: settings of each event; the values that u draws
          with them, and their distances from a tie, [n, t], as in `filter_answers`.
        - own_log_prob (nats per event), own_kl (nats), own_cdf and own_filtered (probability) and
          own_gap (nats): the largest error of PyTorch float32; own_log_prob_halves [2] and so on:
          for the samples, and for the noise.
    """
    model.eval()
    x, u, label = _inputs(model)
    give_back()
    n, t = x.shape
    rows = max(1, _CHUNK // (t * model.data.levels))
    chosen = _positions(x, model)
    given = settings(n, model.data.levels)
    answers = _room(n, t, int(chosen.sum()), model.data.levels)
    with torch.no_grad():
        for i in range(0, n, rows):
            part = slice(i, i + rows)
            labels = None if label is None else label[part]
            predicted = model.predict(x[part], labels)
            answers["fp32"][part] = model.log_prob_given(predicted, x[part])
            near = model.likelihood.logits(predicted)
            with Float64Mode(model):
                exact = model.logits(x[part], labels)
            for row in range(len(exact)):
                _compare(exact[row], near[row], (x, u, chosen), i + row, given, answers)
            del predicted, near, exact
            if n > rows:
                give_back()
    if model.first_position:
        answers["drawn"][:, 0], answers["margin"][:, 0] = x[:, 0], math.inf
        answers["log_prob"][:, 0] = answers["cdf"][:, 0] = 0.0
        for name in DRAWN:
            answers[name][:, 0] = x[:, 0]
        for name in (*MARGINS, *ERRORS):
            answers[name][:, 0] = math.inf if name in MARGINS else 0.0
    is_sample = torch.arange(n) < n // 2
    result = {
        "x": x,
        "u": u,
        "log_prob": answers["log_prob"],
        "at": chosen.nonzero(),
        "distribution": answers["distribution"],
        "drawn": answers["drawn"],
        "margin": answers["margin"],
        "is_sample": is_sample,
        **given,
        **{name: answers[name] for name in (*DRAWN, *MARGINS)},
        **_own(answers, is_sample, chosen),
    }
    if label is not None:
        result["label"] = label
    return {name: tensor.contiguous().numpy() for name, tensor in result.items()}


def _own(answers: dict[str, Tensor], is_sample: Tensor, chosen: Tensor) -> dict[str, Tensor]:
    """Return float32's largest errors: of all events, and of samples and noise separately."""
    log_prob = difference(answers["fp32"], answers["log_prob"]).sum(1)
    sampled = is_sample[chosen.nonzero()[:, 0]]
    return {
        **own_error("own_log_prob", log_prob[is_sample], log_prob[~is_sample]),
        **own_error("own_kl", answers["kl"][sampled], answers["kl"][~sampled]),
    } | {
        kind: error
        for name, each in _OWN.items()
        for kind, error in own_error(
            name, answers[each][is_sample], answers[each][~is_sample]
        ).items()
    }


def _inputs(model: AutoregressiveModel) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return events [n, t], uniforms [n, t] and labels [n]; the first half of x is sampled."""
    v = model.data.levels
    half, t = _size(model)
    indices = np.arange(2 * half, dtype=np.int64)
    positions = np.arange(t, dtype=np.int64)
    u = torch.from_numpy(uniforms(SEED, indices, positions))
    noise = torch.from_numpy(uniforms(SEED + 1, indices, positions))
    label = None
    if model.data.num_classes is not None:
        label = torch.arange(2 * half) % (model.data.num_classes + model.label_optional)
    x = (noise.double() * v).long()
    x[:half] = _sample(model, u[:half], None if label is None else label[:half], x[:half])
    return x, u, label


def _size(model: AutoregressiveModel) -> tuple[int, int]:
    """Return the number of samples (noise has as many), and the positions of an event."""
    t, v = model.data.length, model.data.levels
    parameters = sum(parameter.numel() for parameter in model.parameters())
    if model.takes_prefixes:
        t = min(t, max(_FEWEST, min(int(_WORK / (2 * parameters)), _LOGITS // v)))
    return max(2, min(16, int(_WORK / (parameters * t)), _POSITIONS // t)), t


def _sample(model: AutoregressiveModel, u: Tensor, label: Tensor | None, first: Tensor) -> Tensor:
    """Return the values [n, t] that u draws, step by step; without a start symbol x_0 is given."""
    program = Step(model).eval()
    n, t = u.shape
    whole = model.data.length
    u = torch.nn.functional.pad(u, (0, whole - t), value=0.5)
    observed = torch.full((n, whole), -1)
    if model.first_position:
        observed[:, 0] = first[:, 0]
    block = [torch.arange(1)] if model.takes_blocks else []
    warm = [torch.ones(n) for _ in program.settings]
    given = [*block, u, observed, *([] if label is None else [label]), *warm]
    state = [
        torch.full((n,), model.first_position),
        observed.clamp_min(0),
        *(torch.zeros(n, whole) for _ in (None, *warm)),
        *_cache(model, n, t).values(),
    ]
    # Appending in place is safe for our Transformer. A class of the user's own may read the old
    # cache after appending to it.
    appends = in_place() if type(model) is Transformer else nullcontext()
    with torch.no_grad(), appends:
        for _ in range(model.first_position, t):
            state = list(program(*given, *state))
    return state[1][:, :t]


def _cache(model: AutoregressiveModel, n: int, t: int) -> dict[str, Tensor]:
    """Return an empty cache of n rows for t positions; a Transformer's is cut to t slots."""
    if type(model) is not Transformer:
        return model.initial_cache(n)
    found = {}
    for entry in model.cache_spec:
        shape = list(entry.shape({"b": n}))
        shape[entry.axis] = t
        found[entry.name] = torch.zeros(shape, dtype=getattr(torch, entry.dtype))
    return found


def _positions(x: Tensor, model: AutoregressiveModel) -> Tensor:
    """Choose the positions whose whole distribution is stored: [n, t] bool, drawn by seed."""
    n, t = x.shape
    first = model.first_position
    count = min(n * (t - first), _NUMBERS // model.data.levels)
    order = torch.from_numpy(np.random.default_rng(SEED).permutation(n * (t - first))[:count])
    chosen = torch.zeros(n, t - first, dtype=torch.bool)
    chosen.view(-1)[order] = True
    return torch.nn.functional.pad(chosen, (first, 0))


def _room(n: int, t: int, count: int, v: int) -> dict[str, Tensor]:
    """Allocate all answers in advance: v levels, `count` distributions.

    glibc returns freed memory only above the highest live block (see `memory.freed`), so answers
    allocated between large temporary tensors would keep the memory of those tensors.
    """
    shapes: dict[str, tuple[int, ...]] = {"distribution": (count, v), "kl": (count,)}
    shapes |= dict.fromkeys(("log_prob", "margin", "cdf", "fp32", *MARGINS, *ERRORS), (n, t))
    room = {name: torch.empty(shape, dtype=torch.float64) for name, shape in shapes.items()}
    return room | {name: torch.empty(n, t, dtype=torch.int64) for name in ("drawn", *DRAWN)}


def _compare(
    exact: Tensor,
    near: Tensor,
    inputs: tuple[Tensor, Tensor, Tensor],
    event: int,
    given: dict[str, Tensor],
    answers: dict[str, Tensor],
) -> None:
    """Write the answers of one event, and float32's error, into the answers of all events.

    Args:
        exact: float64 logits, [t, v].
        near: float32 logits, [t, v].
        inputs: x, u and the positions whose distribution is stored, of all events, each [n, t].
        event: index of the event.
        given: settings of all events, each [n].
        answers: answers of all events, which are changed in place.
    """
    x, u, chosen = inputs
    (t, v), kept = exact.shape, int(chosen[:event].sum())
    positions = max(1, _COMPARED // v)
    settings = {name: tensor[event].item() for name, tensor in given.items()}
    for start in range(0, t, positions):
        at, part = (event, slice(start, start + positions)), slice(start, start + positions)
        found = _compare_positions(exact[part], near[part], x[at], u[at], chosen[at])
        found |= filter_answers(exact[part], near[part], u[at], settings)
        rows = slice(kept, kept + len(found["kl"]))
        kept = rows.stop
        for name, tensor in found.items():
            answers[name][rows if name in {"distribution", "kl"} else at] = tensor


def _compare_positions(
    exact: Tensor, near: Tensor, x: Tensor, u: Tensor, chosen: Tensor
) -> dict[str, Tensor]:
    """Return the answers of t positions of an event, from float64 and float32 logits [t, v]."""
    exact = exact.log_softmax(-1)
    edges = exact.exp().cumsum(-1)
    edges = edges / edges[..., -1:]
    weights = (near - near.amax(-1, keepdim=True)).exp().cumsum(-1)
    cdf = (weights / weights[..., -1:] - edges).abs().amax(-1)
    target = u.double()[..., None]
    drawn = (edges < target).sum(-1)
    p, q = exact[chosen], near[chosen].double().log_softmax(-1)
    terms = p.exp() * (difference(p, q) + (-difference(p, q)).expm1())
    return {
        "log_prob": exact.gather(-1, x[..., None])[..., 0],
        "drawn": drawn,
        "margin": margin(edges, u, drawn),
        "cdf": cdf,
        "distribution": p,
        "kl": torch.where(p > -math.inf, terms, q.exp()).sum(-1),
    }
