"""Run the known inputs of a bundle on a backend, and measure the errors of its answers in nats."""

from dataclasses import asdict, dataclass

import numpy as np

from ancestral.engine import comparison, verify_steps
from ancestral.engine.comparison import Draws, Events, Floats, Limits, difference, worst
from ancestral.engine.likelihood import log_prob_of
from ancestral.engine.runner import Runner
from ancestral.engine.session import Array
from ancestral.engine.top import GRAPH, top_of
from ancestral.engine.verify_speculation import SpeculatedParity, speculated
from ancestral.parity import ParityReport, SequenceParity
from ancestral.step_tensors import LABEL, LOG_PROB, LOGITS, REDRAWN, STEP_GRAPHS, U, X, most_of
from ancestral.units import bits_per_dim


@dataclass(frozen=True, slots=True)
class _Replay:
    """The answers of a backend.

    Attributes:
        delta: log p of the parallel graph minus the reference, in nats, [n, t].
        redrawn: values that u draws given the events, [n, t].
        kl: KL(reference || backend) of each stored distribution, in nats, [k].
        top: largest error of the most probable values of each stored distribution, in nats, [k].
        again: log p of the graph that returns them minus the reference, in nats, [n, t]; zeros
            without it.
        gap: log p, by the reference, of the reference's most probable value minus that of the
            backend's, in nats, [k].
        stepped: values that each step graph draws from u, [samples, t].
        drawn: values that each step graph draws at each position given the events, with each
            event's settings, [n, t], and the name of their answers.
        forced: log p of the events along the steps, for each step graph and way, in nats, [n, t].
        speculated: parity in blocks of proposals, of samples and of noise.
    """

    delta: Floats
    redrawn: Array
    kl: Floats
    gap: Floats
    top: Floats
    again: Floats
    stepped: list[Array]
    drawn: list[tuple[str, Array]]
    forced: list[Array]
    speculated: dict[bool, SpeculatedParity]


def compare(runner: Runner) -> ParityReport:
    """Compare log-probabilities, distributions and draws with float64 PyTorch.

    `verify` does the same after rehashing the files. Every graph of the bundle takes part: log_prob
    and logits in parallel; the most probable values; redraw at every position; every step graph
    (filters, bias and penalties off) drawing the reference's own samples again, and forced along
    all events; step at temperatures, and the other step graphs with filters too, given the events;
    step over a block, from the cache that prefill leaves, and in blocks of proposals, some
    of them wrong. The events that the model samples and
    the events of noise have separate limits.

    Args:
        runner: the engine.

    Returns:
        A `ParityReport`, with errors in nats and bits/dim by the reference, for each kind of
        events.

    Raises:
        BundleError: a graph or the known answers are missing, or a file has changed.
    """
    answers = runner.bundle.known_answers()
    sampled, noise = comparison.halves(answers)
    limits, beyond = comparison.limits(runner, answers)
    if not len(answers["at"]):
        raise comparison.no_reference()
    replay = _replay(runner, answers, sampled, limits)
    report = ParityReport(
        **comparison.ran_on(runner),
        positions=answers[X].shape[1],
        length=runner.data.length,
        sampled=_half(replay, answers, sampled, limits),
        noise=_half(replay, answers, noise, beyond),
    )
    runner.check_files()
    return report


def _replay(runner: Runner, answers: dict[str, Array], sampled: Events, limits: Limits) -> _Replay:
    """Run every graph on the known inputs."""
    label, x = answers.get(LABEL), answers[X]
    parallel = log_prob_of(runner, x, label)
    kl, gap = _distributions(runner, answers, label)
    redrawn = runner.parallel("redraw", label, x=x, u=answers[U])[REDRAWN]
    stepped, drawn, forced = [], [], []
    for graph in STEP_GRAPHS:
        if graph in runner.bundle.manifest.graphs:
            values, ways = verify_steps.steps(runner, graph, answers, sampled)
            stepped.append(values)
            forced += ways
            drawn += verify_steps.with_settings(runner, graph, answers)
    top, again = _most_probable(runner, answers, label)
    delta = difference(parallel, answers[LOG_PROB])
    blocks = {
        kind: speculated(runner, answers, sampled == kind, limits.cdf) for kind in (True, False)
    }
    return _Replay(delta, redrawn, kl, gap, top, again, stepped, drawn, forced, blocks)


def _half(
    replay: _Replay, answers: dict[str, Array], events: Events, limits: Limits
) -> SequenceParity:
    """Return the errors on the events of one kind."""
    sampled = bool(answers["is_sample"][events].all())
    drawn, margin, reference = (answers[name][events] for name in ("drawn", "margin", LOG_PROB))
    draws = Draws.of(replay.redrawn[events], drawn, margin, limits.cdf)
    for values in replay.stepped if sampled else ():
        draws += comparison.follow(values, answers[X][events], margin, limits.cdf)
    blocks = replay.speculated[sampled]
    filtered = Draws()
    for name, values in replay.drawn:
        ties = _ties(answers, name, limits)[events]
        filtered += Draws.certified(values[events], answers[name][events], ties)
    kept = events[answers["at"][:, 0]]
    delta = replay.delta[events]
    steps = [difference(log_p[events], reference) for log_p in replay.forced]
    return SequenceParity(
        **comparison.summary(delta.sum(axis=1), events, limits.nats),
        own_nats=comparison.own_error(answers, "log_prob", sampled),
        bits_per_dim=float(bits_per_dim(reference.sum(axis=1), delta.shape[1:]).mean()),
        max_abs_position_nats=float(np.abs(delta).max()),
        max_abs_step_nats=max((worst(each, each.sum(axis=1)) for each in steps), default=0.0),
        max_abs_speculated_nats=blocks.nats,
        max_abs_top_nats=max(worst(replay.again[events]), float(replay.top[kept].max(initial=0.0))),
        max_kl=float(replay.kl[kept].max(initial=0.0)),
        limit_kl=limits.kl,
        argmax_flips=int((replay.gap[kept] > limits.nats).sum()),
        **asdict(draws + filtered + blocks.draws),
        **{f"filtered_{name}": count for name, count in asdict(filtered).items()},
        limit_cdf=limits.cdf,
        limit_filtered=limits.filtered,
        limit_gap=limits.gap,
    )


def _ties(answers: dict[str, Array], name: str, limits: Limits) -> Events:
    """Return where the reference has a tie in draws with settings, [n, t].

    There u is within the limit of an edge, the mass before a value within that of top-p's, or a
    logit within that of a filter's threshold.
    """
    near = answers[f"{name}_margin"] <= limits.filtered
    return np.asarray(near | (answers[f"{name}_gap"] <= limits.gap))


def kl_divergence(p: Floats, q: Floats) -> Floats:
    """Return KL(p || q) in nats over the last axis, from log-probabilities.

    It is the sum of p (log p - log q) - p + q. Each term is >= 0, so that rounding cannot hide a
    difference.
    """
    mass = np.exp(p)
    with np.errstate(invalid="ignore"):
        difference = np.where(mass > 0, p - q, 0)
    terms = np.where(mass > 0, mass * (difference + np.expm1(-difference)), np.exp(q))
    return np.asarray(terms.sum(axis=-1))


def _distributions(
    runner: Runner, answers: dict[str, Array], label: Array | None
) -> tuple[Floats, Floats]:
    """Compare the distributions of next values.

    Returns:
        KL(reference || backend) in nats, [k], infinite where the backend's logits are not a
        distribution; and by how much the backend's most probable value is less probable under the
        reference than the reference's own, in nats, [k].
    """
    at, reference = answers["at"], answers["distribution"]
    divergence, gap = np.full(len(at), np.inf), np.zeros(len(at))
    for event in np.unique(at[:, 0]):
        rows = at[:, 0] == event
        one = slice(event, event + 1)
        labels = None if label is None else label[one]
        logits = runner.parallel(LOGITS, labels, x=answers[X][one])[LOGITS]
        got = _log_softmax(logits[0, at[rows, 1]].astype(np.float64))
        expected = reference[rows]
        sound = np.isfinite(got.max(axis=-1))
        divergence[rows] = np.where(sound, kl_divergence(expected, got), np.inf)
        top = expected.max(axis=-1)
        chosen = np.take_along_axis(expected, got.argmax(axis=-1)[:, None], axis=-1)[:, 0]
        with np.errstate(invalid="ignore"):
            gap[rows] = top - chosen
    return divergence, gap


def _most_probable(
    runner: Runner, answers: dict[str, Array], label: Array | None
) -> tuple[Floats, Floats]:
    """Compare the most probable values at the stored positions, and log p of the given values.

    Two values may change places if the reference gives them almost the same log p: the error of an
    id is its distance, in nats, to the value that is due at its place.

    Returns:
        Largest error in nats, [k], infinite for ids that are not different values; and log p of
        the given values less the reference, [n, t]. Zeros if the bundle has no such graph.
    """
    at, reference = answers["at"], answers["distribution"]
    if GRAPH not in runner.bundle.manifest.graphs:
        return np.zeros(len(at)), np.zeros(answers[X].shape)
    found = top_of(runner, answers[X], label, most_of(runner.data.levels))
    ids, nats = (each[at[:, 0], at[:, 1]] for each in (found.top.ids, found.top.log_prob))
    levels, k = reference.shape[-1], ids.shape[-1]
    sound = (ids >= 0) & (ids < levels)
    sound[:, 1:] &= np.diff(np.sort(ids, axis=-1)) > 0
    own = np.take_along_axis(reference, np.where(sound, ids, 0), axis=-1)
    due = -np.sort(-reference, axis=-1)[:, :k]
    error = np.maximum(np.abs(difference(nats, own)), np.abs(difference(own, due)))
    error = np.where(sound & np.isfinite(error), error, np.inf)
    # A model without a start symbol predicts nothing at its first position.
    error[at[:, 1] < runner.first_position] = 0
    return error.max(axis=-1), difference(found.log_prob, answers[LOG_PROB])


def _log_softmax(logits: Floats) -> Floats:
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True)))
