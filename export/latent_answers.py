"""Known answers of a latent variable model: PyTorch float64 on seeded inputs and noise."""

import copy
import math
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ancestral.export.float32_error import difference, margin, own_error, widened, worst
from ancestral.export.known_answers import SEED
from ancestral.philox import Stream, normals, uniforms
from ancestral.train.models.latent_graphs import LatentProgram
from ancestral.train.models.latent_variable import LatentVariableModel
from ancestral.train.models.posteriors import Codes
from ancestral.train.models.vqvae import VQVAE

DRAWS = 8
"""Most latents of an event."""
_NUMBERS = 2**22
"""Most numbers of the decoder's output, for all events together."""
_AT_A_TIME = 2**20
"""Most numbers of the decoder's output per call, unless a single row has more."""
_KEPT = 2
"""Latents whose parameters of p(x | z) are stored."""


def latent_answers(model: LatentVariableModel) -> dict[str, NDArray[np.generic]]:
    """Compute the known answers of a latent variable model.

    Half of the events are drawn by the model, from its prior or from random codes. The others are
    uniform noise, which the encoder was not trained on and the decoder finds improbable.

    Args:
        model: model on the CPU, in float32.

    Returns:
        Arrays by name, for n events of t values, k latents of each, and m latents of shape l:

        - x [n, t] and is_sample [n]; log_likelihood [n, k], in nats.
        - with a Gaussian posterior: noise [n, k, *l], log_prior and log_posterior [n, k], in nats.
        - with codes: codes [n, number of codes] and code_margin, of the same shape, the difference
          in distance between the nearest code and the next.
        - z [m, *l]; with a Gaussian posterior also prior_noise [m, *l], prior_u [m] for a mixture,
          and log_prior_z [m], in nats.
        - x_mean [m, t] in levels, and the parameters of p(x | z) of the first latents.
        - draw_noise [m, t] and what it draws: drawn [m, t], margin [m, t] for discrete values, and
          drawn_log_likelihood [m], in nats.
        - the largest errors of PyTorch float32: own_log_weight and own_prior (nats), own_mean and
          own_drawn (levels), own_cdf, own_distance, own_z, own_parameters (relative to the largest
          parameter); own_log_weight_halves and own_distance_halves [2], for the model's own events
          and for the noise.
    """
    single = model.eval()
    double = copy.deepcopy(model).double().eval()
    with torch.no_grad():
        answers, z = _latents(single, double)
        answers |= _events(single, double, z)
        answers |= _decoded(single, double, z)
    return {name: tensor.contiguous().numpy() for name, tensor in answers.items()}


def _count(model: LatentVariableModel) -> int:
    """Return the number of events the model draws; noise has as many."""
    return max(2, min(16, _NUMBERS // (math.prod(model.observation.shape) * DRAWS)))


def _draws(model: LatentVariableModel) -> int:
    """Return the number of latents of an event, which is smaller for large events."""
    numbers = math.prod(model.observation.shape) * _count(model)
    return max(1, min(DRAWS, _NUMBERS // numbers))


def _in_rows(
    model: LatentVariableModel, k: int, compute: Callable[..., tuple[Tensor, ...]], *given: Tensor
) -> tuple[Tensor, ...]:
    """Compute `compute(*given)` in pieces of rows with k latents each, to bound memory."""
    rows = max(1, _AT_A_TIME // (math.prod(model.observation.shape) * k))
    pieces = [
        compute(*(tensor[i : i + rows] for tensor in given)) for i in range(0, len(given[0]), rows)
    ]
    return tuple(torch.cat(parts) for parts in zip(*pieces, strict=True))


def _latents(
    single: LatentVariableModel, double: LatentVariableModel
) -> tuple[dict[str, Tensor], Tensor]:
    """Return the answers of the prior, and latents z [m, *l]: float32, or int64 codes."""
    n = _count(single)
    indices, shape = np.arange(n, dtype=np.int64), single.latent_shape
    if isinstance(single.posterior, Codes):
        u = uniforms(SEED, indices, np.arange(math.prod(shape)), stream=Stream.Z)
        codes = single.config.codes if isinstance(single, VQVAE) else 2
        return {}, (torch.from_numpy(u).double() * codes).long().view(n, *shape)
    noise = _normals(n, [0], shape, SEED)[:, 0]
    at = np.array([math.prod(shape)])
    choice = torch.from_numpy(uniforms(SEED, indices, at, stream=Stream.Z)[:, 0])
    inputs = [noise, *([choice] if double.prior is not None and double.prior.chooses else [])]
    one = torch.ones(n)
    exact, log_prior = LatentProgram(double, "prior")(
        *(each.double() for each in inputs), one.double()
    )
    z = exact.float()
    near_z, near = LatentProgram(single, "prior")(*inputs, one)
    answers = {
        "prior_noise": noise,
        "log_prior_z": log_prior,
        "own_prior": worst(near, log_prior),
        "own_z": worst(near_z, exact),
    }
    if len(inputs) > 1:
        answers["prior_u"] = inputs[1]
    return answers, z


def _events(
    single: LatentVariableModel, double: LatentVariableModel, z: Tensor
) -> dict[str, Tensor]:
    """Return events, and the three terms of their log-weights (or their codes), with errors."""
    n, t = len(z), single.data.length
    drawn = LatentProgram(double, "draw")(widened(z), _draw_noise(single, n).double())[0]
    u = torch.from_numpy(uniforms(SEED + 1, np.arange(n), np.arange(t, dtype=np.int64)))
    noisy = (
        u * single.data.levels
        if single.observation.continuous
        else (u.double() * single.data.levels).long()
    )
    x = torch.cat([drawn.to(noisy.dtype), noisy])
    answers = {"x": x, "is_sample": torch.arange(2 * n) < n}
    if isinstance(single.posterior, Codes):
        return answers | _coded(single, double, x)
    k = _draws(single)
    noise = _normals(2 * n, range(k), single.latent_shape, SEED + 2)

    def terms(model: LatentVariableModel) -> Callable[..., tuple[Tensor, ...]]:
        return lambda some, drawn: model.log_weights(some, model.encode(some), drawn)

    exact = _in_rows(single, k, terms(double), widened(x), noise.double())
    near = _in_rows(single, k, terms(single), x, noise)
    names = ("log_likelihood", "log_prior", "log_posterior")
    sums = [a + b - c for a, b, c in (near, exact)]
    pairs = [*zip(near, exact, strict=True), (sums[0], sums[1])]
    own = _own("own_log_weight", *pairs)
    return answers | dict(zip(names, exact, strict=True)) | {"noise": noise} | own


def _coded(
    single: LatentVariableModel, double: LatentVariableModel, x: Tensor
) -> dict[str, Tensor]:
    """Return the codes of events, the margins of these codes, and log p(x | z) in nats."""
    assert isinstance(single, VQVAE)
    assert isinstance(double, VQVAE)
    distances = double.distances(widened(x))
    two = distances.topk(2, dim=-1, largest=False)
    codes = two.indices[..., 0]
    exact = double.log_likelihood(widened(x), codes[:, None])
    near = single.log_likelihood(x, codes[:, None])
    return {
        "codes": codes,
        "code_margin": two.values[..., 1] - two.values[..., 0],
        "log_likelihood": exact,
        **_own("own_distance", (single.distances(x), distances)),
        **_own("own_log_weight", (near, exact)),
    }


def _decoded(
    single: LatentVariableModel, double: LatentVariableModel, z: Tensor
) -> dict[str, Tensor]:
    """Return what latents decode to and draw, and the margins of discrete values."""
    noise = _draw_noise(single, len(z))
    (exact,) = _in_rows(single, 1, lambda some: (double.decode(some),), widened(z))
    (near,) = _in_rows(single, 1, lambda some: (single.decode(some),), z)
    target = single.observation
    kept, largest = exact[:_KEPT], exact[:_KEPT].abs().amax().clamp_min(1.0)
    mean = target.mean(exact)
    result = {
        "z": z,
        "x_mean": mean,
        "draw_noise": noise,
        "own_mean": worst(target.mean(near), mean),
        "parameters": kept,
        "own_parameters": worst(near[:_KEPT], kept) / largest,
    }
    drawn = target.draw(exact, noise.double())
    result["drawn"] = drawn
    result["drawn_log_likelihood"] = target.log_prob(exact, drawn)
    if target.continuous:
        result["own_drawn"] = worst(target.draw(near, noise), drawn)
        return result
    edges = _edges(target.logits(exact, drawn))
    result["own_cdf"] = worst(_edges(target.logits(near, drawn)), edges)
    result["margin"] = margin(edges, noise, drawn)
    return result


def _edges(logits: Tensor) -> Tensor:
    """Return the cumulative distribution over levels, in float64."""
    return logits.double().softmax(dim=-1).cumsum(dim=-1)


def _normals(n: int, particles: range | list[int], shape: tuple[int, ...], seed: int) -> Tensor:
    drawn = normals(seed, np.arange(n), np.array(particles), math.prod(shape), stream=Stream.Z)
    return torch.from_numpy(drawn).view(n, len(particles), *shape)


def _draw_noise(model: LatentVariableModel, n: int) -> Tensor:
    """Return the noise [n, t] that draws x given z: normal for a density, otherwise uniform."""
    t, stream = model.data.length, Stream.X_GIVEN_Z
    if model.observation.continuous:
        return torch.from_numpy(normals(SEED, np.arange(n), np.array([0]), t, stream=stream)[:, 0])
    return torch.from_numpy(uniforms(SEED, np.arange(n), np.arange(t), stream=stream))


def _own(name: str, *pairs: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
    """Return float32's largest error, of all events and of each half.

    Args:
        name: name of the error.
        pairs: float32 and float64 results, each [n, ...]; the model's own events come first.
    """
    error = torch.stack([difference(near, exact) for near, exact in pairs], dim=1)
    n = len(error) // 2
    return own_error(name, error[:n], error[n:])
