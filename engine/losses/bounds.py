"""Paired differences of the bounds of two latent variable models, from the same noise."""

import numpy as np
from numpy.typing import ArrayLike

from ancestral.engine.arguments import Progress
from ancestral.engine.bounds import bound
from ancestral.engine.losses.side import ran_on
from ancestral.engine.runner import LatentRunner
from ancestral.engine.same_data import check_same_data
from ancestral.errors import InvalidInput
from ancestral.loss_measurement import Comparison, Ran


def compare_bounds(
    bundle: LatentRunner,
    source: LatentRunner,
    data: ArrayLike,
    labels: ArrayLike | int | None,
    noise: tuple[int, int],
    progress: Progress | None,
) -> Comparison:
    """Compare the importance-weighted bounds (IWAE) of two models on the same events.

    The latents of both come from the same noise, so what they share does not add to the standard
    error. A difference of bounds is not a difference of log p: a bundle whose encoder is worse has
    a lower bound, even if its log p is the same.

    Args:
        bundle: engine of the bundle whose loss is measured.
        source: engine of the bundle that it is compared with.
        data: events, as in `LatentEngine.bound`.
        labels: as in `LatentEngine.bound`.
        noise: the seed, and the number of latents of each bound.
        progress: called as `progress(done, total)`, in latents of events of both models.

    Raises:
        InvalidInput: an argument is invalid, or the bundles are of different data or only one has
            a density.
    """
    check_same_data("source", source, bundle, "the bundle's")
    if bundle.latent.continuous != source.latent.continuous:
        raise InvalidInput(
            "source: expected a model whose p(x | z) is of the same kind, because a bound on a "
            "density is not comparable with a bound on a probability"
        )
    seed, k = noise
    found = [
        bound(runner, data, k, seed, labels=labels, progress=_half(progress, part))
        for part, runner in enumerate((source, bundle))
    ]
    n = len(found[0])
    return Comparison(
        source=found[0].iwae[:, None],
        bundle=found[1].iwae[:, None],
        counted=np.ones((n, 1), np.bool_),
        positions=np.full(n, bundle.data.length),
        unit="events",
        ran=Ran(ran_on(bundle), ran_on(source), source.bundle.manifest.sha256, seed, found[0].k),
    )


def _half(progress: Progress | None, part: int) -> Progress | None:
    """Return a callback for one of two equal parts of the work."""
    if progress is None:
        return None

    def of_part(done: int, total: int) -> None:
        progress(part * total + done, 2 * total)

    return of_part
