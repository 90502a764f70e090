"""Samples of a latent variable model: a latent from the prior, an event from the latent."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ancestral.engine import arguments, budget
from ancestral.engine import sample as sequences
from ancestral.engine.encoding import check_outputs, decode_latents
from ancestral.engine.noise import FIRST, Noise, event_noise, prior_noise
from ancestral.engine.runner import LatentRunner
from ancestral.engine.session import Array
from ancestral.engine.step_loop import check_values
from ancestral.errors import InvalidInput
from ancestral.philox import Stream
from ancestral.sampling import UNFILTERED, Sampling
from ancestral.scalars import whole
from ancestral.step_tensors import X


@dataclass(frozen=True, slots=True)
class LatentSamples:
    """Samples (z, x) of p(z) p(x | z), n of them; log p(x) itself is not known.

    Attributes:
        x: in levels, int64; where p(x | z) is a density, float32 in units of levels; or, where they
            were asked for, the means E[x | z], float32. [n, *event_shape].
        z: latents [n, *latent_shape], float32, or codes, int64.
        log_prior: log p(z) in nats, [n], whatever the temperature it was drawn at.
        log_likelihood: log p(x | z) in nats, [n]; None for means.
        labels: [n], or None without classes.
        first_index: sample index of the first.
    """

    x: Array
    z: Array
    log_prior: NDArray[np.float64]
    log_likelihood: NDArray[np.float64] | None
    labels: NDArray[np.int64] | None
    first_index: int

    def __len__(self) -> int:
        return len(self.x)


def sample(
    runner: LatentRunner,
    n: int,
    labels: ArrayLike | int | None = None,
    seed: int = 0,
    first_index: int = 0,
    sampling: Sampling = UNFILTERED,
    mean: bool = False,
) -> LatentSamples:
    """Draw n latents and an event from each; sample i depends on (seed, first_index + i) only.

    Args:
        runner: a bundle on a backend.
        n: number of samples.
        labels: of a prior over codes with classes: one for all, or [n].
        seed: 0 .. 2^64 - 1.
        first_index: sample index of the first.
        sampling: its temperature scales the noise of z, 0 leaves the prior's mean. Of a prior
            over codes, temperature and filters are those of its values.
        mean: take E[x | z] instead of drawing x.

    Raises:
        InvalidInput: an argument is wrong.
    """
    n = whole("n", n, 1)
    budget.check_size("n", n, 8 * max(runner.data.length, runner.latent_size))
    noise, sampling = arguments.noise(seed, first_index, n), arguments.sampling(sampling)
    mean = arguments.flag("mean", mean)
    label: NDArray[np.int64] | None = None
    if runner.prior is not None:
        drawn = sequences.sample(runner.prior, n, labels, seed, first_index, sampling)
        z, log_prior, label = drawn.x.reshape(n, -1), drawn.log_prob, drawn.labels
    else:
        if labels is not None:
            raise InvalidInput("labels: the model has no classes; give none")
        z, log_prior = _from_prior(runner, noise, n, sampling)
    if mean:
        x = decode_latents(runner, z)[1]
        return LatentSamples(x, z, log_prior, None, label, noise.first_index)
    given = event_noise(runner.latent, noise, n, runner.data.length)
    found = runner.parallel("draw", z=z, **given)
    check_outputs("sampling", "samples", {"z": z, "log_prior": log_prior, **found})
    if not runner.latent.continuous:
        check_values(found[X], runner.data.levels)
    return LatentSamples(
        found[X].reshape(-1, *runner.data.event_shape),
        z,
        log_prior,
        found["log_likelihood"].astype(np.float64),
        label,
        noise.first_index,
    )


def _from_prior(
    runner: LatentRunner, noise: Noise, n: int, sampling: Sampling
) -> tuple[Array, NDArray[np.float64]]:
    """Latents [n, *l], and log p(z) of them in nats."""
    if sampling != Sampling(temperature=sampling.temperature):
        raise InvalidInput(
            "sampling: top_k, top_p and min_p are of discrete values; these latents are real: "
            "expected a temperature alone"
        )
    found = runner.parallel(
        "prior",
        **prior_noise(runner.latent, noise, n, FIRST, Stream.Z),
        temperature=np.full(n, sampling.temperature, np.float32),
    )
    return found["z"], found["log_prior"].astype(np.float64)
