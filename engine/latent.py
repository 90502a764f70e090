"""What the engine of a latent variable model offers: bounds, latents, reconstructions, samples."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ancestral.bound import Bound
from ancestral.engine import arguments, bounds, budget, encoding, inputs, interpolation
from ancestral.engine.finite import check_outputs
from ancestral.engine.latent_sample import LatentSamples, sample
from ancestral.engine.noise import Noise
from ancestral.engine.progress import Progress
from ancestral.engine.runner import Runner
from ancestral.engine.session import Array
from ancestral.engine.verify_latent import verify
from ancestral.errors import InvalidInput
from ancestral.latent_parity import LatentParityReport
from ancestral.sampling import Sampling
from ancestral.scalars import whole

_UNFILTERED = Sampling()
_PROBED = 256
"""Samples by which the latent dimensions in use are found."""


@dataclass(slots=True)
class LatentMethods(Runner, ABC):
    """The methods of a `LatentEngine`."""

    @property
    @abstractmethod
    def prior(self) -> Runner | None:
        """The bundle of the prior over codes, on the same backend; None without codes."""

    def bound(
        self,
        x: ArrayLike,
        k: int = 64,
        seed: int = 0,
        *,
        labels: ArrayLike | int | None = None,
        proposal: str = "posterior",
        first_index: int = 0,
        progress: Progress | None = None,
    ) -> Bound:
        """Lower bounds on log p(x) of each event in nats, from k latents of each.

        The noise of event i is a function of (seed, first_index + i) and of the proposal. It is not
        the noise that `sample` draws with, so that a bound on a model's own samples is a bound
        whatever the two seeds. Memory does not grow with k; the encoder runs once for each event.

        Args:
            x: events [n, *event_shape] or [n, t] of levels. Where p(x | z) is a density, levels are
                taken as x + u, u ~ U[0, 1) of the seed, and real values, as they are.
            k: latents of each event, exactly so many. For codes all are alike.
            seed: 0 .. 2^64 - 1.
            labels: of a prior over codes with classes: one for all, or [n]; without them the bound
                is on p(x), the sum over all classes.
            proposal: "posterior" draws z from q(z | x); "prior" from p(z), naive Monte Carlo.
            first_index: sample index of the first event.
            progress: called with how many pairs of an event and a latent of how many are done.

        Raises:
            InvalidInput: an argument is wrong, or the encoder makes numbers that are not finite.
        """
        k = whole("k", k, 1)
        noise = Noise(arguments.seed(seed), whole("first_index", first_index, 0))
        events = encoding.events(self, x, noise)
        arguments.noise(seed, first_index, len(events))
        proposal = arguments.choice("proposal", proposal, bounds.PROPOSALS)
        arguments.callback("progress", progress)
        if self.prior is not None:
            if proposal == "prior":
                raise InvalidInput("proposal: codes are chosen by the encoder: give none")
            return bounds.of_codes(self, self.prior, events, labels, k)
        if labels is not None:
            raise InvalidInput("labels: the model has no classes; give none")
        naive = proposal == "prior"
        return bounds.of_noise(self, events, k, noise, naive=naive, progress=progress)

    def log_weights(self, x: ArrayLike, noise: ArrayLike) -> dict[str, NDArray[np.float32]]:
        """log p(x | z), log p(z), log q(z | x) in nats, [n, k] each, of the z that noise draws.

        Args:
            x: as in `bound`; levels of a density stand for the middle of their intervals.
            noise: standard normal, [n, k, *latent_shape].

        Raises:
            InvalidInput: an argument is wrong.
        """
        if self.codes:
            raise InvalidInput("log_weights: codes take no noise: `bound` has both terms")
        events = encoding.events(self, x)
        drawn = inputs.real("noise", noise, (len(events), None, *self.latent.shape))
        found = bounds.log_weights(self, events, encoding.encode(self, events), drawn)
        check_outputs("noise", "events", found, impossible=bounds.impossible(self))
        return found

    def encode(self, x: ArrayLike) -> dict[str, Array]:
        """Parameters of q(z | x) by name, and its KL(q || p) in nats where it has a closed form.

        They are mean [n, *l] and log_scale [n, *l], or factor [n, l, l], lower triangular, and kl
        [n]; or codes [n, m].

        Args:
            x: as in `log_weights`.

        Raises:
            InvalidInput: an argument is wrong, or the encoder makes numbers that are not finite.
        """
        return encoding.encode(self, encoding.events(self, x))

    def decode(self, z: ArrayLike) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Parameters of p(x | z) [n, g, p], and E[x | z] [n, *event_shape] in units of levels.

        Args:
            z: latents, or codes, [n, *latent_shape].

        Raises:
            InvalidInput: an argument is wrong.
        """
        shape = (None, *self.latent.shape)
        if self.prior is not None:
            return encoding.decode(self, inputs.codes(z, shape, self.prior.data.levels))
        return encoding.decode(self, inputs.real("z", z, shape))

    def reconstruct(self, x: ArrayLike) -> NDArray[np.float32]:
        """E[x | z] at the mean of q(z | x), or at the codes: [n, *event_shape], units of levels.

        Raises:
            InvalidInput: as in `encode`.
        """
        return self.decode(self.means(x))[1]

    def means(self, x: ArrayLike) -> Array:
        """The mean of q(z | x), or the codes: [n, *latent_shape].

        Raises:
            InvalidInput: as in `encode`.
        """
        return self.encode(x)["codes" if self.codes else "mean"]

    def sample(
        self,
        n: int,
        labels: ArrayLike | int | None = None,
        seed: int = 0,
        first_index: int = 0,
        sampling: Sampling = _UNFILTERED,
        mean: bool = False,
    ) -> LatentSamples:
        """Draw n latents and an event from each; sample i depends on (seed, first_index + i) alone.

        Args:
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
        budget.check_size("n", n, 8 * max(self.data.length, self.latent_size))
        noise, sampling = arguments.noise(seed, first_index, n), arguments.sampling(sampling)
        mean = arguments.flag("mean", mean)
        return sample(self, self.prior, n, labels, noise, sampling, mean)

    def interpolate(
        self, start: ArrayLike, end: ArrayLike, steps: int = 8, path: str = "linear"
    ) -> NDArray[np.float32]:
        """E[x | z] along a path between the posterior means of events: [n, steps, *event_shape].

        Args:
            start: events where the paths begin, as in `encode`.
            end: as many, where they end.
            steps: points of each path, both ends among them.
            path: "linear"; or "spherical", along the great circle, which keeps the length that
                latents of a standard normal prior have.

        Raises:
            InvalidInput: an argument is wrong, or the latents are codes.
        """
        self._refuse_codes("interpolate: there is nothing between two codes")
        steps = whole("steps", steps, 2)
        path = arguments.choice("path", path, interpolation.PATHS)
        a, b = self.means(start), self.means(end)
        if a.shape != b.shape:
            raise InvalidInput(f"end: expected {len(a)} events as in start, got {len(b)}")
        each = 8 * len(a) * max(self.data.length, self.latent_size)
        budget.check_size("steps", steps, each)
        return self._means_at(interpolation.between(a, b, steps, path))

    def latent_grid(
        self, side: int = 10, dimensions: tuple[int, int] | None = None
    ) -> NDArray[np.float32]:
        """E[x | z] over two latent dimensions at quantiles of N(0, 1), the others at 0.

        Args:
            side: points of each dimension, at the quantiles (i + 1/2) / side.
            dimensions: of the flattened latents; the two whose posterior means vary most over 256
                samples of the model where None.

        Returns:
            [side, side, *event_shape]; the first dimension runs down, the second to the right.

        Raises:
            InvalidInput: an argument is wrong, or the latents are codes.
        """
        self._refuse_codes("latent_grid: there is nothing between two codes")
        side, size = whole("side", side, 1), self.latent_size
        budget.check_size("side", side, 4 * side * max(self.data.length, size))
        chosen = self.widest() if dimensions is None else dimensions
        down, right = arguments.pair("dimensions", chosen, size - 1)
        z = interpolation.grid(side, size, down, right)
        return self._means_at(z.reshape(side, side, *self.latent.shape))

    def widest(self) -> tuple[int, int]:
        """The two flattened latent dimensions whose posterior means vary most over samples.

        Raises:
            InvalidInput: the latents are codes.
        """
        self._refuse_codes("widest: codes have no mean")
        varied = self.means(self.sample(_PROBED).x).reshape(_PROBED, -1).var(axis=0)
        order = np.argsort(-varied)
        return int(order[0]), int(order[min(1, len(order) - 1)])

    def compare(self) -> LatentParityReport:
        """Replay the known answers."""
        return verify(self, self.prior)

    def _refuse_codes(self, message: str) -> None:
        if self.codes:
            raise InvalidInput(message)

    def _means_at(self, z: Array) -> NDArray[np.float32]:
        """E[x | z] of latents [n, m, *l]: [n, m, *event_shape]."""
        mean = self.decode(z.reshape(-1, *self.latent.shape))[1]
        return mean.reshape(*z.shape[:2], *self.data.event_shape)
