"""Reference answers of a model: float64 PyTorch on seeded inputs, and how far fp32 is from it."""

import copy
import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ancestral.philox import uniforms
from ancestral.train.models.autoregressive import AutoregressiveModel
from ancestral.train.models.graphs import Step

SEED = 20_260_101
_NUMBERS = 2**22
"""At most so many probabilities of next-value distributions are kept."""
_CHUNK = 2**22
"""Logits computed at a time."""
_WORK = 1e11
"""Parameters x positions that the events of one kind may cost."""
_POSITIONS = 4096
"""Positions that the events of one kind may have together; long events are few."""


def known_answers(model: AutoregressiveModel) -> dict[str, NDArray[np.generic]]:
    """Inputs and answers, for `verify` to compare a backend with.

    Half of the events are samples that the model itself drew from the uniforms u; the others are
    uniform noise, where log-probabilities are low and distributions strange.

    Returns:
        x [n, t], label [n], u [n, t], is_sample [n]; log_prob [n, t] in nats; at [k, 2] (event,
        position) and distribution [k, v], log-probabilities; drawn [n, t] and margin [n, t], the
        distance of u to the nearer edge of the drawn value's interval; and the errors of PyTorch
        fp32 against all this: own_log_prob (an event, nats), own_kl (nats), own_cdf.
    """
    x, u, label = _inputs(model)
    single = model.eval()
    double = copy.deepcopy(model).double().eval()
    rows = max(1, _CHUNK // (x.shape[1] * model.data.levels))
    chosen = _positions(x, model)
    parts = []
    with torch.no_grad():
        for i in range(0, len(x), rows):
            part = slice(i, i + rows)
            labels = None if label is None else label[part]
            exact = double.logits(x[part], labels).log_softmax(-1)
            predicted = single.predict(x[part], labels)
            near = single.likelihood.logits(predicted)
            answers = _compare(exact, near, x[part], u[part], chosen[part], model)
            answers["fp32"] = single.log_prob_given(predicted, x[part]).double()
            parts.append(answers)
    answers = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    own = _difference(answers["fp32"], answers["log_prob"]).sum(1)
    result = {
        "x": x,
        "u": u,
        "log_prob": answers["log_prob"],
        "at": chosen.nonzero(),
        "distribution": answers["distribution"],
        "drawn": answers["drawn"],
        "margin": answers["margin"],
        "is_sample": torch.arange(len(x)) < len(x) // 2,
        "own_log_prob": own.abs().amax(),
        "own_kl": answers["kl"].amax(),
        "own_cdf": answers["cdf"].amax(),
    }
    if label is not None:
        result["label"] = label
    return {name: tensor.contiguous().numpy() for name, tensor in result.items()}


def _difference(a: Tensor, b: Tensor) -> Tensor:
    """a - b, and 0 where both are the same infinity."""
    return torch.where(a == b, 0.0, a - b)


def _inputs(model: AutoregressiveModel) -> tuple[Tensor, Tensor, Tensor | None]:
    """Events [n, t], uniforms [n, t], labels [n]: the first half is sampled from the uniforms."""
    t, v = model.data.length, model.data.levels
    parameters = sum(parameter.numel() for parameter in model.parameters())
    half = max(2, min(16, int(_WORK / (parameters * t)), _POSITIONS // t))
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


def _sample(model: AutoregressiveModel, u: Tensor, label: Tensor | None, first: Tensor) -> Tensor:
    """Values [n, t] that u draws, step by step; x_0 is `first`'s where there is no start symbol."""
    program = Step(model, filters=False).eval()
    n, t = u.shape
    observed = torch.full((n, t), -1)
    if model.first_position:
        observed[:, 0] = first[:, 0]
    block = [torch.arange(1)] if model.takes_blocks else []
    given = [*block, u, observed, *([] if label is None else [label])]
    state = [
        torch.full((n,), model.first_position),
        observed.clamp_min(0),
        torch.zeros(n, t),
        *model.initial_cache(n).values(),
    ]
    with torch.no_grad():
        for _ in range(model.first_position, t):
            state = list(program(*given, *state))
    return state[1]


def _positions(x: Tensor, model: AutoregressiveModel) -> Tensor:
    """Which positions keep their whole distribution: [n, t] bool, drawn by seed."""
    n, t = x.shape
    first = model.first_position
    count = min(n * (t - first), _NUMBERS // model.data.levels)
    order = torch.from_numpy(np.random.default_rng(SEED).permutation(n * (t - first))[:count])
    chosen = torch.zeros(n, t - first, dtype=torch.bool)
    chosen.view(-1)[order] = True
    return torch.nn.functional.pad(chosen, (first, 0))


def _compare(
    exact: Tensor, near: Tensor, x: Tensor, u: Tensor, chosen: Tensor, model: AutoregressiveModel
) -> dict[str, Tensor]:
    """Answers of a few events from float64 log-probabilities, and fp32's distance to them."""
    index = x[..., None]
    log_prob = exact.gather(-1, index)[..., 0]
    edges = exact.exp().cumsum(-1)
    edges = edges / edges[..., -1:]
    weights = (near - near.amax(-1, keepdim=True)).exp().cumsum(-1)
    cdf = (weights / weights[..., -1:] - edges).abs().amax(-1)
    target = u.double()[..., None]
    drawn = (edges < target).sum(-1)
    lower = torch.nn.functional.pad(edges, (1, 0)).gather(-1, drawn[..., None])[..., 0]
    margin = torch.minimum(u - lower, edges.gather(-1, drawn[..., None])[..., 0] - u)
    if model.first_position:
        drawn[:, 0], margin[:, 0], cdf[:, 0] = x[:, 0], math.inf, 0.0
        log_prob[:, 0] = 0.0
    distribution = exact[chosen]
    p, q = distribution, near[chosen].double().log_softmax(-1)
    terms = p.exp() * (_difference(p, q) + (-_difference(p, q)).expm1())
    kl = torch.where(p > -math.inf, terms, q.exp()).sum(-1)
    return {
        "log_prob": log_prob,
        "drawn": drawn,
        "margin": margin,
        "cdf": cdf,
        "distribution": distribution,
        "kl": kl if len(kl) else torch.zeros(1, dtype=torch.float64),
    }
