"""Bounds on log p(x) from importance weights: means taken as a stream, in float64.

With log w_i = log p(x | z_i) + log p(z_i) - log q(z_i | x) of z_i ~ q(z | x), i = 1 .. k, the mean
of log w is the evidence lower bound (ELBO) and log of the mean of w the importance-weighted bound:
its expectation rises with k toward log p(x), and never passes it (Jensen).

References:
    Burda, Grosse, Salakhutdinov (2016), Importance weighted autoencoders, arXiv:1509.00519.
    Kong, Liu, Wong (1994), Sequential imputations and Bayesian missing data problems (the
    effective sample size).
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from ancestral.arrays import concatenated
from ancestral.errors import InvalidInput

LEAST_ESS = 10.0
"""Below it a few weights decide, and the standard error of a bound means little."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Bound:
    """Lower bounds on log p(x) of n events, in nats; none of them is log p(x).

    Attributes:
        elbo: mean of log w over the k draws, [n].
        iwae: log of the mean of w, [n].
        reconstruction: mean of log p(x | z) over the same draws, [n].
        kl: mean of log q(z | x) - log p(z) over them, [n]: elbo = reconstruction - kl.
        kl_closed: KL(q || p) in closed form, [n]; None where there is none.
        stderr_elbo: standard error of elbo: sd(log w) / sqrt(k), [n].
        stderr_iwae: of iwae, by the delta method: sqrt(1 / ess - 1 / k), [n].
        ess: effective sample size (sum w)^2 / sum w^2, [n].
        k: draws of each event.
    """

    elbo: Floats
    iwae: Floats
    reconstruction: Floats
    kl: Floats
    kl_closed: Floats | None
    stderr_elbo: Floats
    stderr_iwae: Floats
    ess: Floats
    k: int

    def __len__(self) -> int:
        return len(self.elbo)

    @property
    def unreliable(self) -> NDArray[np.bool_]:
        """Events whose weights are so uneven that stderr_iwae means little: ess < 10, [n]."""
        return np.asarray(self.ess < LEAST_ESS)


class Reduction:
    """The bound of n events, of log-weights that come in pieces of any size.

    Only sums are kept: memory does not grow with k. Each piece is reduced about its own mean and
    merged (Chan, Golub, LeVeque 1983, Algorithms for computing the sample variance).
    """

    def __init__(self, n: int) -> None:
        self._k = 0
        self._means = np.zeros((3, n))
        self._squares = np.zeros(n)
        self._top = np.full(n, -np.inf)
        self._sum = np.zeros(n)
        self._sum_of_squares = np.zeros(n)

    def add(
        self,
        log_likelihood: Float[np.ndarray, "n k"],
        log_prior: Float[np.ndarray, "n k"],
        log_posterior: Float[np.ndarray, "n k"],
    ) -> None:
        """Take in k draws of each event, in nats."""
        reconstruction, prior, posterior = (
            np.asarray(part, np.float64) for part in (log_likelihood, log_prior, log_posterior)
        )
        kl = posterior - prior
        log_w = reconstruction - kl
        size = log_w.shape[1]
        means = np.stack([part.mean(axis=1) for part in (log_w, reconstruction, kl)])
        with np.errstate(invalid="ignore"):
            squares = np.square(log_w - means[0][:, None]).sum(axis=1)
            step = means[0] - self._means[0]
            total = self._k + size
            self._squares += squares + np.square(step) * self._k * size / total
        # Not by steps: an event that some draw makes impossible stays so.
        self._means = self._means * (self._k / total) + means * (size / total)
        self._k = total
        self._add_weights(log_w)

    def _add_weights(self, log_w: Floats) -> None:
        """Sums of w and w^2 over the largest w so far."""
        top = np.maximum(self._top, log_w.max(axis=1))
        # Where all weights are 0 so far: nothing is subtracted from -inf.
        base = np.where(np.isfinite(top), top, 0.0)
        old = np.exp(np.where(np.isfinite(self._top), self._top - base, -np.inf))
        w = np.exp(log_w - base[:, None])
        self._sum = self._sum * old + w.sum(axis=1)
        self._sum_of_squares = self._sum_of_squares * old * old + np.square(w).sum(axis=1)
        self._top = top

    def bound(self, kl_closed: Floats | None) -> Bound:
        """The bound of all draws so far.

        Raises:
            InvalidInput: there were none.
        """
        if not self._k:
            raise InvalidInput("bound: expected at least one draw, got none")
        k = self._k
        elbo, reconstruction, kl = self._means
        base = np.where(np.isfinite(self._top), self._top, 0.0)
        with np.errstate(divide="ignore", invalid="ignore"):
            iwae = base + np.log(self._sum / k)
            ess = np.where(self._sum > 0, self._sum**2 / self._sum_of_squares, 0.0)
            stderr_iwae = np.sqrt(np.maximum(1 / ess - 1 / k, 0.0))
            variance = self._squares / (k - 1) if k > 1 else np.full(len(elbo), np.inf)
        # The mean of log w never passes log of the mean; where all weights agree, rounding might.
        return Bound(
            elbo=elbo.copy(),
            iwae=np.maximum(iwae, elbo),
            reconstruction=reconstruction.copy(),
            kl=kl.copy(),
            kl_closed=kl_closed,
            stderr_elbo=np.sqrt(variance / k),
            stderr_iwae=stderr_iwae,
            ess=ess,
            k=k,
        )


def join(parts: list[Bound]) -> Bound:
    """Bounds of some events and of the next ones as one.

    Raises:
        InvalidInput: there are none, or they are of different numbers of draws.
    """
    if len({part.k for part in parts}) != 1:
        raise InvalidInput(f"bounds: expected one k, got {sorted({part.k for part in parts})}")
    return concatenated(parts)
