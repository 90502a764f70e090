"""Bounds, log-likelihoods and codes of data under latent variable models, in PyTorch."""

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ancestral.bound import Bound, Reduction, join
from ancestral.errors import InvalidInput
from ancestral.philox import Stream, normals, uniforms
from ancestral.train.data.dataset import Dataset, Part
from ancestral.train.evaluation import evaluating
from ancestral.train.models.latent_variable import LatentVariableModel
from ancestral.train.models.posteriors import Codes
from ancestral.train.models.vqvae import VQVAE

_ROWS = 2**13
"""Number of pairs of an event and a latent per pass through the decoder."""
_ENCODED = 1024
"""Number of events per pass through the encoder."""
ACTIVE_VARIANCE = 0.01
"""Variance of a posterior mean over the data, above which its latent dimension is in use."""


class Streams(NamedTuple):
    """Random streams of a bound's noise.

    Attributes:
        z: stream of the latents from q(z | x).
        dequantisation: stream of the noise added to levels if p(x | z) is a density.
    """

    z: Stream
    dequantisation: Stream


TRAINING = Streams(Stream.TRAINING_Z_GIVEN_X, Stream.TRAINING_DEQUANTISATION)
"""Streams of the bounds on validation during training."""
ENGINE = Streams(Stream.Z_GIVEN_X, Stream.DEQUANTISATION)
"""Streams of `LatentEngine.bound`; with these, both compute the same numbers."""


def bound(
    model: LatentVariableModel,
    x: NDArray[np.int64],
    k: int,
    seed: int = 0,
    first_index: int = 0,
    streams: Streams = TRAINING,
    progress: Callable[[int, int], object] = lambda done, total: None,
) -> Bound:
    """Return the bound of each event from k draws.

    If p(x | z) is a density, the events are x + u, with u drawn from the same seed.

    Args:
        model: model with its own prior, not a VQ-VAE.
        x: levels of the events, [n, t].
        k: number of latents per event.
        seed: seed in 0 .. 2^64 - 1.
        first_index: sample index of the first event.
        streams: random streams of the noise.
        progress: function called with the number of finished events and their total.

    Raises:
        InvalidInput: `k` is less than 1, or the model's prior is another model.
    """
    if k < 1:
        raise InvalidInput(f"k: expected an integer >= 1, got {k}")
    if isinstance(model.posterior, Codes):
        raise InvalidInput(
            f"model: expected a model with its own prior, got a {type(model).__name__}"
        )
    rows = max(1, _ROWS // k)
    dimensions = int(np.prod(model.latent_shape))
    parts = []
    with evaluating(model) as device:
        for start in range(0, len(x), rows):
            some = x[start : start + rows]
            indices = first_index + start + np.arange(len(some))
            events = _events(model, some, indices, seed, streams).to(device)
            q = model.encode(events)
            reduction, step = Reduction(len(some)), max(1, _ROWS // len(some))
            for first in range(0, k, step):
                particles = np.arange(first, min(first + step, k))
                noise = normals(seed, indices, particles, dimensions, stream=streams.z)
                shaped = torch.from_numpy(noise).unflatten(-1, model.latent_shape).to(device)
                terms = model.log_weights(events, q, shaped)
                reduction.add(*(term.cpu().numpy() for term in terms))
            closed = None
            if model.has_closed_kl:
                closed = model.posterior.kl_to_standard(q).sum(dim=-1).double().cpu().numpy()
            parts.append(reduction.bound(closed))
            progress(start + len(some), len(x))
    return join(parts)


def _events(
    model: LatentVariableModel,
    x: NDArray[np.int64],
    indices: NDArray[np.int64],
    seed: int,
    streams: Streams,
) -> Tensor:
    """Return events as the model reads them: levels, or levels with uniform noise added."""
    events = torch.from_numpy(x)
    if not model.observation.continuous:
        return events
    positions = np.arange(x.shape[1], dtype=np.int64)
    noise = uniforms(seed, indices, positions, stream=streams.dequantisation)
    return events + torch.from_numpy(noise)


def log_likelihood(
    model: LatentVariableModel, x: NDArray[np.int64], streams: Streams = TRAINING
) -> NDArray[np.float64]:
    """Return log p(x | z) of each event at the z of a deterministic encoder, [n], in nats.

    If p(x | z) is a density, the events are x + u, with u drawn from seed 0.
    """
    parts = []
    with evaluating(model) as device:
        for start in range(0, len(x), _ROWS):
            some = x[start : start + _ROWS]
            events = _events(model, some, start + np.arange(len(some)), 0, streams).to(device)
            (codes,) = model.encode(events)
            parts.append(model.log_likelihood(events, codes[:, None])[:, 0].double().cpu().numpy())
    return np.concatenate(parts)


def level_centres(model: LatentVariableModel, x: NDArray[np.int64]) -> Tensor:
    """Return events [n, t] as levels, or as the middles of their intervals for a density."""
    return torch.from_numpy(x) + (0.5 if model.observation.continuous else 0)


def active_units(model: LatentVariableModel, x: NDArray[np.int64]) -> int:
    """Return the number of latent dimensions, or of codes, that the encoder uses.

    A dimension is in use if the variance of its posterior mean over the events is above 0.01.

    References:
        Burda, Grosse, Salakhutdinov (2016), arXiv:1509.00519, section 5.2.
    """
    with evaluating(model) as device:
        chosen = model.encode(level_centres(model, x).to(device))[0]
    if isinstance(model.posterior, Codes):
        return len(chosen.unique())
    # A single event has no spread.
    spread = chosen.flatten(1).var(dim=0, correction=min(1, len(chosen) - 1))
    return int((spread > ACTIVE_VARIANCE).sum())


def encoded(model: VQVAE, data: Dataset) -> Dataset:
    """Return the codes of every event, with its label, in the same split.

    Args:
        model: model whose training mode is restored afterwards.
        data: the events, with labels if the prior is to be conditional on them.
    """

    def codes(part: Part) -> Part:
        with evaluating(model) as device:
            found = [
                model.encode(level_centres(model, some).to(device))[0].cpu()
                for some in np.split(part.x, range(_ENCODED, len(part), _ENCODED))
            ]
        return Part(torch.cat(found).numpy(), part.label)

    spec = model.code_data.model_copy(update={"num_classes": data.spec.num_classes})
    return replace(data.changed(codes), spec=spec)
