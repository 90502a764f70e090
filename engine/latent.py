"""The engine of a latent variable model: bounds, latents, reconstructions, samples."""

from dataclasses import dataclass, field
from statistics import NormalDist
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ancestral.bound import Bound
from ancestral.bundles.manifest import Latent
from ancestral.engine import arguments, bounds, inputs, interpolation
from ancestral.engine.autoregressive import AutoregressiveEngine
from ancestral.engine.engine import Engine
from ancestral.engine.finite import check_outputs
from ancestral.engine.interpolation import PATHS
from ancestral.engine.latent_noise import event_noise, sample_prior_noise
from ancestral.engine.session import Array
from ancestral.engine.step_loop import Progress, check_values
from ancestral.engine.verify_latent import verify
from ancestral.errors import InvalidInput
from ancestral.latent_parity import LatentParityReport
from ancestral.philox import Stream, uniforms
from ancestral.sampling import Sampling

_UNFILTERED = Sampling()
_NUMBERS = 2**22
"""Numbers that a decoder may make in one call."""
_PROBED = 256
"""Samples by which the latent dimensions in use are found."""


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


@dataclass(slots=True)
class LatentEngine(Engine):
    """A bundle of a latent variable model, loaded on a backend. Make one with `Engine.load`."""

    kind: ClassVar[str] = "latent_variable"
    advice: ClassVar[str] = (
        "log p(x) of a latent variable model is only bounded, by `bound`; it has encode, decode, "
        "reconstruct, sample and interpolate beside"
    )
    _prior: AutoregressiveEngine | None = field(default=None, init=False, repr=False, compare=False)

    @property
    def latent(self) -> Latent:
        """What the latents are."""
        latent = self.bundle.manifest.latent
        assert latent is not None
        return latent

    @property
    def _latent_size(self) -> int:
        return int(np.prod(self.latent.shape))

    @property
    def prior(self) -> AutoregressiveEngine | None:
        """The engine of the prior over codes, on the same backend; None without codes."""
        if self.latent.prior == "autoregressive" and self._prior is None:
            with self._once:
                if self._prior is None:
                    inside = self.bundle.prior()
                    self._prior = AutoregressiveEngine(inside, self.backend.of(inside))
        return self._prior

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
            progress: told how many pairs of an event and a latent of how many are done.

        Raises:
            InvalidInput: an argument is wrong, or the encoder makes numbers that are not finite.
        """
        k, seed = inputs.count("k", k, 1), arguments.seed(seed)
        index = inputs.count("first_index", first_index, 0)
        events = self._events(x, seed, index)
        arguments.first_of(index, len(events))
        proposal = arguments.choice("proposal", proposal, bounds.PROPOSALS)
        arguments.callback("progress", progress)
        if self.latent.posterior == "codes":
            if proposal == "prior":
                raise InvalidInput("proposal: codes are chosen by the encoder: give none")
            return bounds.of_codes(self, events, labels, k)
        if labels is not None:
            raise InvalidInput("labels: the model has no classes; give none")
        return bounds.of_noise(self, events, bounds.Draws(k, seed, index, proposal), progress)

    def log_weights(self, x: ArrayLike, noise: ArrayLike) -> dict[str, NDArray[np.float32]]:
        """log p(x | z), log p(z), log q(z | x) in nats, [n, k] each, of the z that noise draws.

        Args:
            x: as in `bound`; levels of a density stand for the middle of their intervals.
            noise: standard normal, [n, k, *latent_shape].

        Raises:
            InvalidInput: an argument is wrong.
        """
        if self.latent.posterior == "codes":
            raise InvalidInput("log_weights: codes take no noise: `bound` has both terms")
        events = self._events(x)
        shape = (len(events), None, *self.latent.shape)
        drawn = inputs.real("noise", noise, shape)
        found = bounds.log_weights(self, events, self.encode_events(events), drawn)
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
        return self.encode_events(self._events(x))

    def decode(self, z: ArrayLike) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Parameters of p(x | z) [n, g, p], and E[x | z] [n, *event_shape] in units of levels.

        Args:
            z: latents, or codes, [n, *latent_shape].

        Raises:
            InvalidInput: an argument is wrong.
        """
        found = self.chunked("decode", z=self._latents(z))
        check_outputs("z", "latents", found)
        return found["parameters"], found["x_mean"].reshape(-1, *self.data.event_shape)

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
        return self.encode(x)["codes" if self.latent.posterior == "codes" else "mean"]

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
        n = inputs.count("n", n, 1)
        arguments.check_size("n", n, 8 * max(self.data.length, self._latent_size))
        seed, index = arguments.seed(seed), arguments.first_of(first_index, n)
        sampling, mean = arguments.sampling(sampling), arguments.flag("mean", mean)
        label: NDArray[np.int64] | None = None
        if self.prior is not None:
            drawn = self.prior.sample(n, labels, seed, index, sampling)
            z, log_prior, label = drawn.x.reshape(n, -1), drawn.log_prob, drawn.labels
        else:
            if labels is not None:
                raise InvalidInput("labels: the model has no classes; give none")
            z, log_prior = self._from_prior(n, seed, index, sampling)
        if mean:
            return LatentSamples(self.decode(z)[1], z, log_prior, None, label, index)
        indices = index + np.arange(n, dtype=np.int64)
        noise = event_noise(self.latent, seed, indices, self.data.length)
        found = self.chunked("draw", z=z, **noise)
        check_outputs("sampling", "samples", {"z": z, "log_prior": log_prior, **found})
        if not self.latent.continuous:
            check_values(found["x"], self.data.levels)
        x = found["x"].reshape(-1, *self.data.event_shape)
        log_likelihood = found["log_likelihood"].astype(np.float64)
        return LatentSamples(x, z, log_prior, log_likelihood, label, index)

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
        if self.latent.posterior == "codes":
            raise InvalidInput("interpolate: there is nothing between two codes")
        steps, path = inputs.count("steps", steps, 2), arguments.choice("path", path, PATHS)
        a, b = self.means(start), self.means(end)
        if a.shape != b.shape:
            raise InvalidInput(f"end: expected {len(a)} events as in start, got {len(b)}")
        arguments.check_size("steps", steps, 8 * len(a) * max(self.data.length, self._latent_size))
        z = interpolation.between(a, b, steps, path)
        mean = self.decode(z.reshape(-1, *self.latent.shape))[1]
        return mean.reshape(len(a), steps, *self.data.event_shape)

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
        if self.latent.posterior == "codes":
            raise InvalidInput("latent_grid: there is nothing between two codes")
        side, size = inputs.count("side", side, 1), self._latent_size
        arguments.check_size("side", side, 4 * side * max(self.data.length, size))
        if dimensions is None:
            dimensions = self.widest()
        down, right = arguments.pair("dimensions", dimensions, size - 1)
        normal = NormalDist()
        at = np.array([normal.inv_cdf((i + 0.5) / side) for i in range(side)], np.float32)
        z = np.zeros((side, side, size), np.float32)
        z[..., right] = at[None, :]
        z[..., down] = at[:, None]
        mean = self.decode(z.reshape(-1, *self.latent.shape))[1]
        return mean.reshape(side, side, *self.data.event_shape)

    def widest(self) -> tuple[int, int]:
        """The two flattened latent dimensions whose posterior means vary most over samples.

        Raises:
            InvalidInput: the latents are codes.
        """
        if self.latent.posterior == "codes":
            raise InvalidInput("widest: codes have no mean")
        varied = self.means(self.sample(_PROBED).x).reshape(_PROBED, -1).var(axis=0)
        order = np.argsort(-varied)
        return int(order[0]), int(order[min(1, len(order) - 1)])

    def chunked(self, graph: str, **arrays: Array) -> dict[str, Array]:
        """Run a graph in chunks of rows that bound memory, also where a row has k latents."""
        session = self.session(graph)
        n = len(next(iter(arrays.values())))
        latents = arrays["noise"].shape[1] if graph == "log_weights" else 1
        rows = max(1, _NUMBERS // (latents * bounds.numbers(self)))
        parts = [
            session.run({name: array[i : i + rows] for name, array in arrays.items()})
            for i in range(0, n, rows)
        ]
        self.check_files()
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def compare(self) -> LatentParityReport:
        report = verify(self)
        self.check_files()
        return report

    def _events(self, x: ArrayLike, seed: int | None = None, first_index: int = 0) -> Array:
        """Events [n, t] as the graphs take them.

        Where p(x | z) is a density, levels become real: by uniform noise of the seed, or the middle
        of their intervals without one.
        """
        if not self.latent.continuous:
            return inputs.events(x, self.data)
        values = inputs.real_events(x, self.data)
        if values.dtype.kind == "f":
            return values
        if seed is None:
            return (values + np.float32(0.5)).astype(np.float32)
        indices = first_index + np.arange(len(values), dtype=np.int64)
        u = uniforms(seed, indices, np.arange(self.data.length), stream=Stream.DEQUANTISATION)
        return np.asarray(values + u, np.float32)

    def encode_events(self, events: Array) -> dict[str, Array]:
        """`encode` of events [n, t] as the graph takes them.

        Raises:
            InvalidInput: the encoder makes numbers that are not finite.
        """
        found = self.chunked("encode", x=events)
        check_outputs("x", "events", found)
        return found

    def _latents(self, z: ArrayLike) -> Array:
        shape = (None, *self.latent.shape)
        if self.latent.posterior != "codes":
            return inputs.real("z", z, shape)
        assert self.prior is not None
        return inputs.codes(z, shape, self.prior.data.levels)

    def _from_prior(
        self, n: int, seed: int, first_index: int, sampling: Sampling
    ) -> tuple[Array, NDArray[np.float64]]:
        """Latents [n, *l], and log p(z) of them in nats."""
        if sampling != Sampling(temperature=sampling.temperature):
            raise InvalidInput(
                "sampling: top_k, top_p and min_p are of discrete values; these latents are real: "
                "expected a temperature alone"
            )
        indices = first_index + np.arange(n, dtype=np.int64)
        found = self.chunked(
            "prior",
            **sample_prior_noise(self.latent, seed, indices),
            temperature=np.full(n, sampling.temperature, np.float32),
        )
        return found["z"], found["log_prior"].astype(np.float64)
