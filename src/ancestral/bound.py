"""Bounds on log p(x) from importance weights, computed piece by piece in float64.

With log w_i = log p(x | z_i) + log p(z_i) - log q(z_i | x) for z_i ~ q(z | x), i = 1 .. k, the mean
of log w is the evidence lower bound (ELBO), and the log of the mean of w is the importance-weighted
bound (IWAE). Its expectation rises with k towards log p(x) and never exceeds it (Jensen).

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
"""Smallest reliable effective sample size. Below it a few weights dominate the mean, and the
standard error of the bound means little."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Bound:
    """Lower bounds on log p(x) of n events, in nats; not log p(x) itself.

    Attributes:
        elbo: mean of log w over the k draws, [n].
        iwae: log of the mean of w, [n].
        reconstruction: mean of log p(x | z) over the same draws, [n].
        kl: mean of log q(z | x) - log p(z) over the same draws, [n]: elbo = reconstruction - kl.
        kl_closed: KL(q || p) in closed form, [n]; `None` if there is no closed form.
        stderr_elbo: standard error of elbo: sd(log w) / sqrt(k), [n].
        stderr_iwae: standard error of iwae by the delta method: sqrt(1 / ess - 1 / k), [n].
        ess: effective sample size (sum w)^2 / sum w^2, [n].
        k: number of draws per event.
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
        """Whether each event's weights are too uneven for stderr_iwae: ess < 10, [n]."""
        return np.asarray(self.ess < LEAST_ESS)


class Reduction:
    """Bound of n events, computed from log-weights that arrive in pieces of any size.

    Only sums are kept, so memory does not grow with k. Each piece is centred on its own mean and
    then merged (Chan, Golub, LeVeque 1983, Algorithms for computing the sample variance).
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
        """Add k draws of each event, in nats."""
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
        # Not as mean + step: that gives NaN for an event that some draw makes impossible (-inf).
        self._means = self._means * (self._k / total) + means * (size / total)
        self._k = total
        self._add_weights(log_w)

    def _add_weights(self, log_w: Floats) -> None:
        """Add to the sums of w and w^2, in units of the largest w so far."""
        top = np.maximum(self._top, log_w.max(axis=1))
        # While all weights of an event are 0, subtract 0: -inf - (-inf) would be NaN.
        base = np.where(np.isfinite(top), top, 0.0)
        old = np.exp(np.where(np.isfinite(self._top), self._top - base, -np.inf))
        w = np.exp(log_w - base[:, None])
        self._sum = self._sum * old + w.sum(axis=1)
        self._sum_of_squares = self._sum_of_squares * old * old + np.square(w).sum(axis=1)
        self._top = top

    def bound(self, kl_closed: Floats | None) -> Bound:
        """Return the bound from all draws so far.

        Raises:
            InvalidInput: no draw was added.
        """
        if not self._k:
            raise InvalidInput("bound: expected at least one draw, got 0")
        k = self._k
        elbo, reconstruction, kl = self._means
        base = np.where(np.isfinite(self._top), self._top, 0.0)
        with np.errstate(divide="ignore", invalid="ignore"):
            iwae = base + np.log(self._sum / k)
            ess = np.where(self._sum > 0, self._sum**2 / self._sum_of_squares, 0.0)
            stderr_iwae = np.sqrt(np.maximum(1 / ess - 1 / k, 0.0))
            variance = self._squares / (k - 1) if k > 1 else np.full(len(elbo), np.inf)
        # The mean of log w never exceeds the log of the mean; rounding may, if weights are equal.
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
    """Concatenate the bounds of consecutive events.

    Raises:
        InvalidInput: `parts` is empty, or the parts have different numbers of draws.
    """
    if len({part.k for part in parts}) != 1:
        raise InvalidInput(
            f"bounds: expected the same k in all parts, got {sorted({part.k for part in parts})}"
        )
    return concatenated(parts)
