"""Latents of the data in PyTorch: bounds, what training looks at and the reference; and codes."""

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
"""Pairs of an event and a latent that go through the decoder at a time."""
_ENCODED = 1024
"""Events whose codes are found at a time."""
ACTIVE_VARIANCE = 0.01
"""Of a posterior mean over the data, above which its latent dimension is in use."""


class Streams(NamedTuple):
    """What the noise of a bound is drawn for.

    Attributes:
        z: the latents from q(z | x).
        dequantisation: what is added to levels where p(x | z) is a density.
    """

    z: Stream
    dequantisation: Stream


TRAINING = Streams(Stream.TRAINING_Z_GIVEN_X, Stream.TRAINING_DEQUANTISATION)
"""Streams of the bounds by which training chooses its weights."""
ENGINE = Streams(Stream.Z_GIVEN_X, Stream.DEQUANTISATION)
"""Streams of `LatentEngine.bound`: with them both compute the same numbers."""


def bound(
    model: LatentVariableModel,
    x: NDArray[np.int64],
    k: int,
    seed: int = 0,
    first_index: int = 0,
    streams: Streams = TRAINING,
    progress: Callable[[int, int], object] = lambda done, total: None,
) -> Bound:
    """The bound of each event [n, t] from k draws.

    Where p(x | z) is a density, events are x + u with u from the same seed.

    Args:
        model: whose prior is its own.
        x: events [n, t] of levels.
        k: latents of each event.
        seed: 0 .. 2^64 - 1.
        first_index: sample index of the first event.
        streams: what the noise is drawn for.
        progress: told how many events of how many are done.

    Raises:
        InvalidInput: k < 1, or a model whose prior is another one.
    """
    if k < 1 or isinstance(model.posterior, Codes):
        raise InvalidInput(f"bound: expected k >= 1 and a prior of the model's own, got k = {k}")
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
    """Events as the model takes them: levels, or levels with uniform noise added."""
    events = torch.from_numpy(x)
    if not model.observation.continuous:
        return events
    positions = np.arange(x.shape[1], dtype=np.int64)
    noise = uniforms(seed, indices, positions, stream=streams.dequantisation)
    return events + torch.from_numpy(noise)


def log_likelihood(
    model: LatentVariableModel, x: NDArray[np.int64], streams: Streams = TRAINING
) -> NDArray[np.float64]:
    """log p(x | z) in nats of events [n, t] at the z that a deterministic encoder chooses, [n].

    Where p(x | z) is a density, events are x + u with u of seed 0.
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
    """Events [n, t] as levels; where p(x | z) is a density, the middle of each level's interval."""
    return torch.from_numpy(x) + (0.5 if model.observation.continuous else 0)


def active_units(model: LatentVariableModel, x: NDArray[np.int64]) -> int:
    """Latent dimensions that the encoder uses; for codes, how many of them.

    A dimension is active where the variance over the events of its posterior mean is above 0.01.

    References:
        Burda, Grosse, Salakhutdinov (2016), arXiv:1509.00519, section 5.2.
    """
    with evaluating(model) as device:
        chosen = model.encode(level_centres(model, x).to(device))[0]
    if isinstance(model.posterior, Codes):
        return len(chosen.unique())
    # One event has no spread.
    spread = chosen.flatten(1).var(dim=0, correction=min(1, len(chosen) - 1))
    return int((spread > ACTIVE_VARIANCE).sum())


def encoded(model: VQVAE, data: Dataset) -> Dataset:
    """Every event as its codes, with its label, cut as the data are.

    Args:
        model: its mode, training or not, is the same afterwards.
        data: the events, with labels where the prior is to know them.
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
