"""Replay the known answers of a bundle on a backend, and measure the distance in nats."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ancestral import step_tensors as names
from ancestral.engine import step_loop
from ancestral.engine.session import Array, Binding
from ancestral.errors import BundleError
from ancestral.parity import ParityReport, SequenceParity, Tolerance, tolerance
from ancestral.sampling import Sampling
from ancestral.units import bits_per_dim

if TYPE_CHECKING:
    from ancestral.engine.autoregressive import AutoregressiveEngine

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Limits:
    """The tolerance of the table at the errors that fp32 itself makes on these answers."""

    nats: float
    kl: float
    cdf: float

    @classmethod
    def of(
        cls, entry: Tolerance, answers: dict[str, Array], *, sampled: bool | None = None
    ) -> "Limits":
        """A factor times fp32's own error, plus a floor; KL grows with its square.

        Args:
            entry: of the table.
            answers: of a bundle.
            sampled: by the errors on the events that the model samples, or on those of noise; by
                the largest of all where None.

        Raises:
            BundleError: an own error is not finite, or there is nothing to compare.
        """
        own = [own_error(answers, name, sampled) for name in _OWN]
        if not np.isfinite(own).all() or not len(answers["at"]):
            raise BundleError("the known answers hold no sound reference: export the model again")
        positions = answers["x"].shape[1]
        return cls(
            entry.factor * own[0] + entry.nats_per_position * positions,
            entry.factor**2 * own[1] + entry.kl,
            entry.factor * own[2] + entry.cdf,
        )


_OWN = ("own_log_prob", "own_kl", "own_cdf")


def own_error(answers: dict[str, Array], name: str, sampled: bool | None) -> float:
    """PyTorch fp32's own error on the sampled events, on those of noise, or on all where None.

    Only some errors of latent variable models are kept for each; of an error that a kind of model
    does not have it is 0.
    """
    halves = answers.get(f"{name}_halves")
    if sampled is None or halves is None:
        return float(answers.get(name, np.zeros(())))
    return float(halves[0 if sampled else 1])


def halves(answers: dict[str, Array]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which events the model sampled, and which are noise, [n] each.

    Raises:
        BundleError: there are none of a kind.
    """
    sampled = answers["is_sample"].astype(bool)
    if not sampled.any() or sampled.all():
        raise BundleError("the known answers hold no sound reference: export the model again")
    return sampled, ~sampled


@dataclass(frozen=True, slots=True)
class Draws:
    """Drawn values beside the reference's."""

    count: int
    near_ties: int
    unexplained: int

    def __add__(self, other: "Draws") -> "Draws":
        return Draws(
            self.count + other.count,
            self.near_ties + other.near_ties,
            self.unexplained + other.unexplained,
        )


@dataclass(frozen=True, slots=True)
class _Replay:
    """What a backend answers.

    Attributes:
        delta: of log p by the parallel graph, [n, t].
        redrawn: values that u draws given the events, [n, t].
        kl: KL(reference || backend) of each distribution that is kept, [k].
        gap: how much less probable than the most probable value the backend's is, in nats, [k].
        stepped: values that each graph of steps draws along u, [samples, t].
        forced: log p along the steps of each graph and way, [n, t].
    """

    delta: Floats
    redrawn: Array
    kl: Floats
    gap: Floats
    stepped: list[Array]
    forced: list[Array]


def verify(engine: "AutoregressiveEngine") -> ParityReport:
    """Compare log-probabilities, distributions and draws with float64 PyTorch.

    Every graph of the bundle takes part: log_prob and logits in parallel; redraw at every position;
    step and step_filtered (its filters off) free along the reference's own samples and forced along
    all events; step over a block, and from the cache that prefill leaves. The events that the model
    samples and those of noise are held to limits of their own.

    Raises:
        BundleError: the bundle lacks a graph or its answers.
    """
    answers = engine.bundle.known_answers()
    entry = tolerance(engine.backend.name, engine.backend.dtype)
    sampled, noise = halves(answers)
    limits = {part: Limits.of(entry, answers, sampled=part) for part in (True, False)}
    replay = _replay(engine, answers, sampled)
    return ParityReport(
        backend=engine.backend.name,
        device=engine.backend.device,
        dtype=engine.backend.dtype,
        positions=answers["x"].shape[1],
        length=engine.data.length,
        sampled=_half(replay, answers, sampled, limits[True]),
        noise=_half(replay, answers, noise, limits[False]),
    )


def _replay(
    engine: "AutoregressiveEngine", answers: dict[str, Array], sampled: NDArray[np.bool_]
) -> _Replay:
    """Run every graph on the known inputs."""
    label, x = answers.get("label"), answers["x"]
    parallel = engine.parallel("log_prob", label, x=x)["log_prob"]
    kl, gap = _distributions(engine, answers, label)
    redrawn = engine.parallel("redraw", label, x=x, u=answers["u"])[names.REDRAWN]
    stepped, forced = [], []
    prefilled = _prefilled(engine, x, label)
    for graph in ("step", "step_filtered"):
        if graph in engine.bundle.manifest.graphs:
            values, ways = _steps(engine, graph, answers, sampled, prefilled)
            stepped.append(values)
            forced += ways
    return _Replay(difference(parallel, answers["log_prob"]), redrawn, kl, gap, stepped, forced)


def _half(
    replay: _Replay, answers: dict[str, Array], events: NDArray[np.bool_], limits: Limits
) -> SequenceParity:
    """How far the events of one kind, [n] bool, are from the reference."""
    sampled = bool(answers["is_sample"][events].all())
    drawn, margin, reference = (answers[name][events] for name in ("drawn", "margin", "log_prob"))
    draws = _compare(replay.redrawn[events], drawn, margin, limits)
    for values in replay.stepped if sampled else ():
        draws += _follow(values, answers["x"][events], margin, limits)
    kept = events[answers["at"][:, 0]]
    delta = replay.delta[events]
    return SequenceParity(
        **summary(delta.sum(axis=1), events, limits.nats),
        own_nats=own_error(answers, "own_log_prob", sampled),
        bits_per_dim=float(bits_per_dim(reference.sum(axis=1), delta.shape[1:]).mean()),
        max_abs_position_nats=float(np.abs(delta).max()),
        max_abs_step_nats=max(
            (_worst(log_p[events], reference) for log_p in replay.forced), default=0.0
        ),
        max_kl=float(replay.kl[kept].max(initial=0.0)),
        limit_kl=limits.kl,
        argmax_flips=int((replay.gap[kept] > limits.nats).sum()),
        draws=draws.count,
        near_ties=draws.near_ties,
        unexplained=draws.unexplained,
        limit_cdf=limits.cdf,
    )


def summary(delta: Floats, events: NDArray[np.bool_], limit: float) -> dict[str, Any]:
    """What `EventsParity` says of the differences of some events.

    Args:
        delta: of each of these events, in nats, [m, ...].
        events: which of all these are, [n] bool.
        limit: of the largest.
    """
    apart = np.abs(delta).reshape(len(delta), -1)
    worst = float(apart.max())
    return {
        "events": len(delta),
        "max_abs_nats": worst if np.isfinite(worst) else np.inf,
        "mean_abs_nats": float(apart.mean()),
        "mean_signed_nats": float(delta.mean()),
        "worst_index": int(np.flatnonzero(events)[np.argmax(apart.max(axis=1))]),
        "limit_nats": limit,
    }


def difference(got: Array, expected: Array) -> Floats:
    """got - expected in float64, and 0 where both are the same infinity."""
    with np.errstate(invalid="ignore"):
        return np.where(got == expected, 0.0, got.astype(np.float64) - expected)


def _worst(log_p: Array, reference: Array) -> float:
    """Largest |delta log p|, of an event or of one of its positions; NaN is infinite."""
    delta = difference(log_p, reference)
    worst = max(np.abs(delta).max(), np.abs(delta.sum(axis=1)).max())
    return float(worst) if np.isfinite(worst) else np.inf


def kl_divergence(p: Floats, q: Floats) -> Floats:
    """KL(p || q) in nats over the last axis, from log-probabilities: sum p (log p - log q) - p + q.

    Each term is >= 0, so that rounding cannot hide a difference.
    """
    mass = np.exp(p)
    with np.errstate(invalid="ignore"):
        difference = np.where(mass > 0, p - q, 0)
    terms = np.where(mass > 0, mass * (difference + np.expm1(-difference)), np.exp(q))
    return np.asarray(terms.sum(axis=-1))


def _distributions(
    engine: "AutoregressiveEngine", answers: dict[str, Array], label: Array | None
) -> tuple[Floats, Floats]:
    """KL(reference || backend) of each distribution [k], infinite where it is none.

    And by how much the backend's most probable value is less probable than the reference's, in
    nats, [k].
    """
    at, reference = answers["at"], answers["distribution"]
    divergence, gap = np.full(len(at), np.inf), np.zeros(len(at))
    for event in np.unique(at[:, 0]):
        rows = at[:, 0] == event
        one = slice(event, event + 1)
        labels = None if label is None else label[one]
        logits = engine.parallel("logits", labels, x=answers["x"][one])["logits"]
        got = _log_softmax(logits[0, at[rows, 1]].astype(np.float64))
        expected = reference[rows]
        sound = np.isfinite(got.max(axis=-1))
        divergence[rows] = np.where(sound, kl_divergence(expected, got), np.inf)
        top = expected.max(axis=-1)
        chosen = np.take_along_axis(expected, got.argmax(axis=-1)[:, None], axis=-1)[:, 0]
        with np.errstate(invalid="ignore"):
            gap[rows] = top - chosen
    return divergence, gap


def _log_softmax(logits: Floats) -> Floats:
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True)))


def _compare(got: Array, expected: Array, margin: Array, limits: Limits) -> Draws:
    differs = got != expected
    near = differs & (margin <= limits.cdf)
    return Draws(got.size, int(near.sum()), int((differs & ~near).sum()))


def _steps(
    engine: "AutoregressiveEngine",
    graph: str,
    answers: dict[str, Array],
    sampled: Array,
    prefilled: dict[str, Array],
) -> tuple[Array, list[Array]]:
    """Step along the uniforms, and along the events in each way that there is.

    Returns:
        values [samples, t] along the uniforms of the samples; and log p [n, t] of the events: step
        by step; as a block; from a prefilled cache.
    """
    x, u, label = answers["x"], answers["u"], answers.get("label")
    (n, t), first = x.shape, engine.bundle.manifest.first_position
    free = np.full_like(x[sampled], -1)
    free[:, :first] = x[sampled, :first]

    def begin(rows: Array, observed: Array, prefill: bool) -> tuple[Binding, int]:
        """A loop over some of the known answers, by their indices; and how far it is."""
        # The answers may be only of the first positions of events: the others are never reached.
        beyond = ((0, 0), (0, engine.data.length - t))
        given: dict[str, Array] = {"u": np.pad(u[rows], beyond, constant_values=0.5)}
        if label is not None:
            given["label"] = label[rows]
        if graph == "step_filtered":
            given |= step_loop.filter_rows(Sampling(), len(rows), engine.data.levels)
        events = np.pad(observed, beyond, constant_values=-1)
        binding = engine.session(graph).bind({"b": len(rows), "s": 1})
        done = step_loop.begin(binding, events, given, first_position=first, prefill=prefill)
        return binding, done

    every = np.arange(n)
    # All events forced and the samples free are rows of one batch: half as many steps.
    binding, done = begin(
        np.append(every, every[sampled]), np.concatenate([x, free]), prefill=False
    )
    step_loop.advance(binding, t - done)
    values, log_p = binding.read("values")[n:, :t], binding.read("log_p")[:n, :t]
    forced = [log_p]
    del binding
    if step_loop.takes_blocks(engine.session(graph).signature):
        binding, done = begin(every, x, prefill=True)
        step_loop.advance(binding, t - done)
        forced.append(binding.read("log_p")[:, :t])
        if prefilled:
            forced.append(_after_prefill(binding, prefilled, log_p))
    return values, forced


def _prefilled(engine: "AutoregressiveEngine", x: Array, label: Array | None) -> dict[str, Array]:
    """The position in the middle of x [n, t], and the cache that prefill leaves there, by name.

    Empty where the bundle has no such graph.
    """
    if "prefill" not in engine.bundle.manifest.graphs:
        return {}
    n, t = x.shape
    half = max(t // 2, engine.bundle.manifest.first_position + 1)
    session = engine.session("prefill")
    inputs = {"x": x[:, :half]} | ({} if label is None else {"label": label})
    for pair in session.signature.carried:
        spec = session.signature.input(pair.input)
        inputs[pair.input] = np.full(spec.shape({"b": n}), pair.initial, spec.host)
    cache = session.run(inputs)
    found = {pair.input: cache[pair.output] for pair in session.signature.carried}
    return found | {"position": np.full(n, half, np.int64)}


def _after_prefill(binding: Binding, prefilled: dict[str, Array], log_p: Array) -> Array:
    """log p [n, t] where the first half comes from `log_p` [n, t], the rest from prefill."""
    t = log_p.shape[1]
    for name, array in prefilled.items():
        binding.write(name, array)
    before = binding.read("log_p")
    before[:, :t] = log_p
    binding.write("log_p", before)
    binding.run(t - int(prefilled["position"][0]))
    return binding.read("log_p")[:, :t]


def _follow(got: Array, expected: Array, margin: Array, limits: Limits) -> Draws:
    """Compare each row up to its first difference: beyond it the past is another one."""
    draws = Draws(0, 0, 0)
    for row in range(len(got)):
        differs = np.flatnonzero(got[row] != expected[row])
        end = int(differs[0]) + 1 if len(differs) else got.shape[1]
        draws += _compare(got[row, :end], expected[row, :end], margin[row, :end], limits)
    return draws
