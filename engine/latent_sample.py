"""Samples of a latent variable model: a latent from the prior, then an event given the latent."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ancestral.engine import arguments, budget
from ancestral.engine import sample as sequences
from ancestral.engine.draw_checks import check_values
from ancestral.engine.encoding import check_outputs, decode_latents
from ancestral.engine.noise import FIRST, Noise, event_noise, prior_noise
from ancestral.engine.runner import LatentRunner
from ancestral.engine.session import Array
from ancestral.errors import InvalidInput
from ancestral.philox import Stream
from ancestral.sampling import UNFILTERED, Sampling
from ancestral.scalars import whole
from ancestral.step_tensors import X


@dataclass(frozen=True, slots=True)
class LatentSamples:
    """n samples (z, x) of p(z) p(x | z). `bound` gives a lower bound on their log p(x).

    Attributes:
        x: events, [n, *event_shape]: levels, int64; or real values in units of levels, float32, if
            p(x | z) is a density or if means E[x | z] were requested.
        z: latents, [n, *latent_shape], float32; or codes, int64.
        log_prior: log p(z) in nats, [n], under the prior itself, not at the temperature.
        log_likelihood: log p(x | z) in nats, [n]; None for means.
        labels: label of each sample, [n]; None without classes.
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
    """Draw n latents from the prior, and an event given each of them.

    Sample i depends on (seed, first_index + i) only.

    Args:
        runner: the engine.
        n: number of samples.
        labels: class of all samples, or of each, [n], for a prior over codes with classes;
            required if the prior has only p(z | y).
        seed: integer in 0 .. 2^64 - 1.
        first_index: sample index of the first sample.
        sampling: the temperature scales the noise of z; at 0, z is the mean of the prior, or of
            the drawn component of a mixture. For a prior over codes, temperature and filters apply
            to the draws of its values.
        mean: return E[x | z] instead of drawing x.

    Returns:
        `LatentSamples`: events, [n, *event_shape], latents, [n, *latent_shape], log p(z) and
        log p(x | z), in nats, [n].

    Raises:
        InvalidInput: an argument is invalid, or an output of the model is not finite.
        NotADistribution: a log-probability of the prior over codes is NaN.
        BundleError: the weights have changed since the bundle was opened, or a drawn value is not
            a level.

    For example:

        s = engine.sample(64, seed=0)
        s.x, s.z, s.log_prior + s.log_likelihood  # log p(x, z), nats [64]
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
            raise InvalidInput("labels: the model has no classes; leave labels out")
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
    """Return latents [n, *l], and their log p(z) in nats, [n]."""
    if sampling != Sampling(temperature=sampling.temperature):
        raise InvalidInput(
            f"sampling: expected only a temperature, as the latents are real numbers, got "
            f"{sampling}"
        )
    found = runner.parallel(
        "prior",
        **prior_noise(runner.latent, noise, n, FIRST, Stream.Z),
        temperature=np.full(n, sampling.temperature, np.float32),
    )
    return found["z"], found["log_prior"].astype(np.float64)
