"""`ancestral sample` of a latent variable model: latents of the prior, and events from them."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ancestral.cli.autoregressive_samples import MANY
from ancestral.cli.draw import Draw
from ancestral.cli.present.events_file import Shown, write_events

if TYPE_CHECKING:
    from ancestral.engine import LatentEngine, LatentSamples


def sample_latent(engine: "LatentEngine", draw: Draw, mean: bool) -> None:
    """Draw, write and tell.

    Args:
        engine: a bundle on a backend.
        draw: how many, how and where to.
        mean: whether x is E[x | z], not a draw.

    Raises:
        InvalidInput: an argument is wrong.
        OSError: the file could not be written.
    """
    n = draw.count(MANY, engine.data)
    space = engine.data if engine.prior is None else engine.prior.data
    labels, said = draw.labels(n, space)
    samples = engine.sample(n, labels, draw.seed, draw.first_index, draw.sampling, mean)
    first, last = samples.first_index, samples.first_index + len(samples) - 1
    shown = Shown(
        samples.x,
        [f"sample {i}" for i in range(first, last + 1)],
        intervals=engine.latent.continuous,
        means=mean,
        columns=space.num_classes if draw.label is None else None,
    )
    write_events(draw.out, _arrays(samples, draw.seed), shown, engine.data)
    likelihood = samples.log_likelihood
    of_x = "means E[x | z]" if likelihood is None else f"log p(x | z) {likelihood.mean():.2f} nats"
    numbers = f"mean log p(z) {samples.log_prior.mean():.2f} nats, {of_x}"
    draw.say(f"{len(samples)} samples", said, (first, last), engine, numbers)


def _arrays(samples: "LatentSamples", seed: int) -> dict[str, NDArray[Any]]:
    """The arrays of the .npz; those that there are none of are left out."""
    names = ("x", "z", "log_prior", "log_likelihood", "labels")
    arrays = {name: getattr(samples, name) for name in names}
    arrays |= {"seed": np.uint64(seed), "first_index": np.int64(samples.first_index)}
    return {name: np.asarray(array) for name, array in arrays.items() if array is not None}
