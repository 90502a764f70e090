"""Replay the known answers of a bundle on a backend, and measure the distance in nats."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ancestral.engine import loop
from ancestral.engine.session import Array
from ancestral.parity import ParityReport, Tolerance, tolerance
from ancestral.units import bits_per_dim

if TYPE_CHECKING:
    from ancestral.engine.engine import Engine

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Limits:
    """The tolerance of the table at the errors that fp32 itself makes on these answers."""

    nats: float
    kl: float
    cdf: float

    @classmethod
    def of(cls, entry: Tolerance, answers: dict[str, Array]) -> "Limits":
        """A factor times fp32's own error, plus a floor; KL grows with its square."""
        positions = answers["x"].shape[1]
        return cls(
            entry.factor * float(answers["own_log_prob"]) + entry.nats_per_position * positions,
            entry.factor**2 * float(answers["own_kl"]) + entry.kl,
            entry.factor * float(answers["own_cdf"]) + entry.cdf,
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


def verify(engine: "Engine") -> ParityReport:
    """Compare log-probabilities, distributions and draws with float64 PyTorch.

    Every graph that the bundle has for it takes part: log_prob and logits in parallel, redraw at
    every position, and the cached steps, free along the reference's own samples and forced along
    all events.

    Raises:
        BundleError: the bundle lacks a graph or its answers.
    """
    answers = engine.bundle.known_answers()
    limits = Limits.of(tolerance(engine.backend.name, engine.bundle.manifest.dtype), answers)
    label = answers.get("label")
    x, u = answers["x"], answers["u"]
    reference = answers["log_prob"].sum(axis=1)
    parallel = engine.parallel("log_prob", label, x=x)["log_prob"]
    delta = parallel.sum(axis=1, dtype=np.float64) - reference
    kl, flips = _distributions(engine, answers, label, limits)
    redrawn = engine.parallel("redraw", label, x=x, u=u)["values"]
    draws = _compare(redrawn, answers["drawn"], answers["margin"], limits)
    stepped, forced = _steps(engine, answers, label, limits)
    draws += stepped
    worst = int(np.argmax(np.abs(delta)))
    return ParityReport(
        backend=engine.backend.name,
        device=engine.backend.device,
        events=len(x),
        max_abs_nats=float(np.abs(delta).max()),
        mean_abs_nats=float(np.abs(delta).mean()),
        mean_signed_nats=float(delta.mean()),
        worst_index=worst,
        limit_nats=limits.nats,
        own_nats=float(answers["own_log_prob"]),
        bits_per_dim=float(bits_per_dim(reference, engine.data.event_shape).mean()),
        max_kl=kl,
        limit_kl=limits.kl,
        argmax_flips=flips,
        draws=draws.count,
        near_ties=draws.near_ties,
        unexplained=draws.unexplained,
        limit_cdf=limits.cdf,
        max_abs_step_nats=float(np.abs(forced - reference).max()),
    )


def kl_divergence(p: Floats, q: Floats) -> Floats:
    """KL(p || q) in nats over the last axis, from log-probabilities: sum p (log p - log q) - p + q.

    Each term is >= 0, so that rounding cannot hide a difference.
    """
    mass = np.exp(p)
    difference = np.where(mass > 0, p - q, 0)
    terms = np.where(mass > 0, mass * (difference + np.expm1(-difference)), np.exp(q))
    return np.asarray(terms.sum(axis=-1))


def _distributions(
    engine: "Engine", answers: dict[str, Array], label: Array | None, limits: Limits
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
    engine: "Engine", answers: dict[str, Array], label: Array | None, limits: Limits
) -> tuple[Draws, Floats]:
    """Step along the uniforms, then along the events: draws, and log p of each event [n]."""
    x, u, samples = answers["x"], answers["u"], answers["is_sample"].astype(bool)
    first = engine.bundle.manifest.first_position
    free = np.full_like(x, -1)
    free[:, :first] = x[:, :first]
    session = engine.session("step")
    rows = loop.rows_per_batch(session.signature)
    log_p, values = [], []
    for start in range(0, len(x), rows):
        part = slice(start, min(start + rows, len(x)))
        given = {"u": u[part]} | ({} if label is None else {"label": label[part]})
        binding = session.bind({"b": part.stop - part.start, "s": 1})
        values.append(loop.draw(binding, free[part], given, first_position=first).values)
        forced = loop.draw(binding, x[part], given, first_position=first, prefill=False)
        log_p.append(forced.log_p.sum(axis=1, dtype=np.float64))
    return (
        _follow(np.concatenate(values)[samples], x[samples], answers["margin"][samples], limits),
        np.concatenate(log_p),
    )


def _follow(got: Array, expected: Array, margin: Array, limits: Limits) -> Draws:
    """Compare each row up to its first difference: beyond it the past is another one."""
    draws = Draws(0, 0, 0)
    for row in range(len(got)):
        differs = np.flatnonzero(got[row] != expected[row])
        end = int(differs[0]) + 1 if len(differs) else got.shape[1]
        draws += _compare(got[row, :end], expected[row, :end], margin[row, :end], limits)
    return draws
