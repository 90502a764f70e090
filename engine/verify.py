"""Replay the known answers of a bundle on a backend, and measure the distance in nats."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ancestral.engine import loop
from ancestral.engine.session import Array, Binding
from ancestral.errors import BundleError
from ancestral.parity import ParityReport, Tolerance, tolerance
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
    def of(cls, entry: Tolerance, answers: dict[str, Array]) -> "Limits":
        """A factor times fp32's own error, plus a floor; KL grows with its square.

        Raises:
            BundleError: an own error is not finite, or there is nothing to compare.
        """
        own = [float(answers[name]) for name in ("own_log_prob", "own_kl", "own_cdf")]
        if not np.isfinite(own).all() or not len(answers["at"]) or not answers["is_sample"].any():
            raise BundleError("the known answers hold no sound reference: export the model again")
        positions = answers["x"].shape[1]
        return cls(
            entry.factor * own[0] + entry.nats_per_position * positions,
            entry.factor**2 * own[1] + entry.kl,
            entry.factor * own[2] + entry.cdf,
        )


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


def verify(engine: "AutoregressiveEngine") -> ParityReport:
    """Compare log-probabilities, distributions and draws with float64 PyTorch.

    Every graph of the bundle takes part: log_prob and logits in parallel; redraw at every position;
    step and step_filtered (its filters off) free along the reference's own samples and forced along
    all events; step over a block, and from the cache that prefill leaves.

    Raises:
        BundleError: the bundle lacks a graph or its answers.
    """
    answers = engine.bundle.known_answers()
    limits = Limits.of(tolerance(engine.backend.name, engine.backend.dtype), answers)
    label = answers.get("label")
    x, u = answers["x"], answers["u"]
    reference = answers["log_prob"]
    parallel = difference(engine.parallel("log_prob", label, x=x)["log_prob"], reference)
    delta = parallel.sum(axis=1)
    kl, flips = _distributions(engine, answers, label, limits)
    redrawn = engine.parallel("redraw", label, x=x, u=u)["values"]
    draws = _compare(redrawn, answers["drawn"], answers["margin"], limits)
    worst_step = 0.0
    for graph in ("step", "step_filtered"):
        if graph in engine.bundle.manifest.graphs:
            stepped, forced = _steps(engine, graph, answers, limits)
            draws += stepped
            worst_step = max(worst_step, *(_worst(log_p, reference) for log_p in forced))
    return ParityReport(
        backend=engine.backend.name,
        device=engine.backend.device,
        dtype=engine.backend.dtype,
        events=len(x),
        positions=x.shape[1],
        length=engine.data.length,
        max_abs_nats=float(np.abs(delta).max()),
        mean_abs_nats=float(np.abs(delta).mean()),
        mean_signed_nats=float(delta.mean()),
        worst_index=int(np.argmax(np.abs(delta))),
        limit_nats=limits.nats,
        own_nats=float(answers["own_log_prob"]),
        bits_per_dim=float(bits_per_dim(reference.sum(axis=1), x.shape[1:]).mean()),
        max_kl=kl,
        limit_kl=limits.kl,
        argmax_flips=flips,
        draws=draws.count,
        near_ties=draws.near_ties,
        unexplained=draws.unexplained,
        limit_cdf=limits.cdf,
        max_abs_position_nats=float(np.abs(parallel).max()),
        max_abs_step_nats=worst_step,
    )


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
    engine: "AutoregressiveEngine", answers: dict[str, Array], label: Array | None, limits: Limits
) -> tuple[float, int]:
    """Largest KL(reference || backend), and flips of the most probable value beyond limits."""
    at, reference = answers["at"], answers["distribution"]
    worst, flips = 0.0, 0
    for event in np.unique(at[:, 0]):
        rows = at[:, 0] == event
        one = slice(event, event + 1)
        labels = None if label is None else label[one]
        logits = engine.parallel("logits", labels, x=answers["x"][one])["logits"]
        got = _log_softmax(logits[0, at[rows, 1]].astype(np.float64))
        expected = reference[rows]
        worst = np.fmax(worst, kl_divergence(expected, got).max())
        if not np.isfinite(got.max(axis=-1)).all():
            worst = np.inf
        top = expected.max(axis=-1)
        chosen = np.take_along_axis(expected, got.argmax(axis=-1)[:, None], axis=-1)[:, 0]
        flips += int((top - chosen > limits.nats).sum())
    return float(worst), flips


def _log_softmax(logits: Floats) -> Floats:
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True)))


def _compare(got: Array, expected: Array, margin: Array, limits: Limits) -> Draws:
    differs = got != expected
    near = differs & (margin <= limits.cdf)
    return Draws(got.size, int(near.sum()), int((differs & ~near).sum()))


def _steps(
    engine: "AutoregressiveEngine", graph: str, answers: dict[str, Array], limits: Limits
) -> tuple[Draws, list[Array]]:
    """Step along the uniforms, and along the events in each way that there is.

    Returns:
        draws, and log p [n, t] of the events: step by step; as a block; from a prefilled cache.
    """
    x, samples = answers["x"], answers["is_sample"].astype(bool)
    (n, t), first = x.shape, engine.bundle.manifest.first_position
    # The answers may be of the first positions of events alone: the others are never reached.
    beyond = ((0, 0), (0, engine.data.length - t))
    events = np.pad(x, beyond, constant_values=-1)
    free = np.full_like(events, -1)
    free[:, :first] = x[:, :first]
    given: dict[str, Array] = {"u": np.pad(answers["u"], beyond, constant_values=0.5)}
    if "label" in answers:
        given["label"] = answers["label"]
    if graph == "step_filtered":
        given |= loop.filter_rows(Sampling(), n, engine.data.levels)
    session = engine.session(graph)
    binding = session.bind({"b": n, "s": 1})

    def run(observed: Array, prefill: bool) -> Binding:
        begin = loop.begin(binding, observed, given, first_position=first, prefill=prefill)
        loop.advance(binding, t - begin)
        return binding

    values = run(free, False).read("values")[:, :t]
    ways = (False, True) if loop.takes_blocks(session.signature) else (False,)
    forced = [run(events, prefill).read("log_p") for prefill in ways]
    if "prefill" in engine.bundle.manifest.graphs:
        forced.append(_after_prefill(engine, binding, x, forced[0], answers.get("label")))
    margin = answers["margin"][samples]
    forced = [log_p[:, :t] for log_p in forced]
    return _follow(values[samples], x[samples], margin, limits), forced


def _after_prefill(
    engine: "AutoregressiveEngine", binding: Binding, x: Array, log_p: Array, label: Array | None
) -> Array:
    """log p [n, T] where the first half of x [n, t] comes from `log_p`, the rest from prefill."""
    n, t = x.shape
    half = max(t // 2, engine.bundle.manifest.first_position + 1)
    session = engine.session("prefill")
    fresh = {
        pair.input: np.full(
            session.signature.input(pair.input).shape({"b": n}),
            pair.initial,
            session.signature.input(pair.input).host,
        )
        for pair in session.signature.carried
    }
    labels = {} if label is None else {"label": label}
    cache = session.run({"x": x[:, :half], **labels, **fresh})
    for pair in session.signature.carried:
        binding.write(pair.input, cache[pair.output])
    binding.write("position", np.full(n, half, np.int64))
    binding.write("log_p", log_p)
    binding.run(t - half)
    return binding.read("log_p")


def _follow(got: Array, expected: Array, margin: Array, limits: Limits) -> Draws:
    """Compare each row up to its first difference: beyond it the past is another one."""
    draws = Draws(0, 0, 0)
    for row in range(len(got)):
        differs = np.flatnonzero(got[row] != expected[row])
        end = int(differs[0]) + 1 if len(differs) else got.shape[1]
        draws += _compare(got[row, :end], expected[row, :end], margin[row, :end], limits)
    return draws
