"""Run the known inputs of a bundle on a backend, and measure the errors of its answers in nats."""

from dataclasses import asdict, dataclass

import numpy as np

from ancestral.engine import comparison, step_loop
from ancestral.engine.comparison import Draws, Events, Floats, Limits, difference, worst
from ancestral.engine.likelihood import log_prob_of
from ancestral.engine.runner import Runner
from ancestral.engine.session import Array, Binding
from ancestral.parity import ParityReport, SequenceParity
from ancestral.sampling import SETTINGS, UNFILTERED
from ancestral.step_tensors import (
    LABEL,
    LOG_PROB,
    LOGITS,
    REDRAWN,
    U,
    X,
    takes_temperature,
)
from ancestral.units import bits_per_dim


@dataclass(frozen=True, slots=True)
class _Replay:
    """The answers of a backend.

    Attributes:
        delta: log p of the parallel graph less the reference, in nats, [n, t].
        redrawn: values that u draws given the events, [n, t].
        kl: KL(reference || backend) of each stored distribution, in nats, [k].
        gap: reference log p of its own most probable value less that of the backend's, in nats,
            [k].
        stepped: values that each step graph draws from u, [samples, t].
        tempered: for each step graph, the values that it draws at each position given the events,
            with each event's settings, [n, t], and the name of their answers.
        forced: log p of the events along the steps, for each step graph and way, in nats, [n, t].
    """

    delta: Floats
    redrawn: Array
    kl: Floats
    gap: Floats
    stepped: list[Array]
    tempered: list[tuple[Array, str]]
    forced: list[Array]


def compare(runner: Runner) -> ParityReport:
    """Compare log-probabilities, distributions and draws with float64 PyTorch.

    `verify` does the same after rehashing the files. Every graph of the bundle takes part: log_prob
    and logits in parallel; redraw at every position; step and step_filtered (its filters off)
    drawing the reference's own samples again, and forced along all events; step over a block, and
    from the cache that prefill leaves; step at temperatures and step_filtered with filters, given
    the events. The events that the model samples and the events of noise
    have separate limits.

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
    replay = _replay(runner, answers, sampled)
    report = ParityReport(
        **comparison.ran_on(runner),
        positions=answers[X].shape[1],
        length=runner.data.length,
        sampled=_half(replay, answers, sampled, limits),
        noise=_half(replay, answers, noise, beyond),
    )
    runner.check_files()
    return report


def _replay(runner: Runner, answers: dict[str, Array], sampled: Events) -> _Replay:
    """Run every graph on the known inputs."""
    label, x = answers.get(LABEL), answers[X]
    parallel = log_prob_of(runner, x, label)
    kl, gap = _distributions(runner, answers, label)
    redrawn = runner.parallel("redraw", label, x=x, u=answers[U])[REDRAWN]
    stepped, tempered, forced = [], [], []
    for graph in ("step", "step_filtered"):
        if graph in runner.bundle.manifest.graphs:
            values, ways = _steps(runner, graph, answers, sampled)
            stepped.append(values)
            forced += ways
            name = "filtered" if graph == "step_filtered" else "cooled"
            if takes_temperature(runner.session(graph).signature):
                tempered.append((_tempered(runner, graph, answers), name))
    delta = difference(parallel, answers[LOG_PROB])
    return _Replay(delta, redrawn, kl, gap, stepped, tempered, forced)


def _half(
    replay: _Replay, answers: dict[str, Array], events: Events, limits: Limits
) -> SequenceParity:
    """Return the errors on the events of one kind."""
    sampled = bool(answers["is_sample"][events].all())
    drawn, margin, reference = (answers[name][events] for name in ("drawn", "margin", LOG_PROB))
    draws = Draws.of(replay.redrawn[events], drawn, margin, limits.cdf)
    for values in replay.stepped if sampled else ():
        draws += _follow(values, answers[X][events], margin, limits.cdf)
    for values, name in replay.tempered:
        distance = answers[f"{name}_margin"][events]
        if name == "filtered":
            # Which values stay may differ where one is so near to the edge of a filter.
            distance = np.where(answers["filtered_gap"][events] <= limits.nats, 0.0, distance)
        draws += Draws.of(values[events], answers[name][events], distance, limits.cdf)
    kept = events[answers["at"][:, 0]]
    delta = replay.delta[events]
    steps = [difference(log_p[events], reference) for log_p in replay.forced]
    return SequenceParity(
        **comparison.summary(delta.sum(axis=1), events, limits.nats),
        own_nats=comparison.own_error(answers, "log_prob", sampled),
        bits_per_dim=float(bits_per_dim(reference.sum(axis=1), delta.shape[1:]).mean()),
        max_abs_position_nats=float(np.abs(delta).max()),
        max_abs_step_nats=max((worst(each, each.sum(axis=1)) for each in steps), default=0.0),
        max_kl=float(replay.kl[kept].max(initial=0.0)),
        limit_kl=limits.kl,
        argmax_flips=int((replay.gap[kept] > limits.nats).sum()),
        **asdict(draws),
        limit_cdf=limits.cdf,
    )


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


def _log_softmax(logits: Floats) -> Floats:
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True)))


def _steps(
    runner: Runner, graph: str, answers: dict[str, Array], sampled: Events
) -> tuple[Array, list[Array]]:
    """Draw the samples step by step, and run all events in each way that the graph has.

    Returns:
        The values drawn from the uniforms of the samples, [samples, t]; and log p of the events in
        nats, [n, t] each: step by step, as a block, and from a prefilled cache.
    """
    x, every = answers[X], np.arange(len(answers[X]))
    n, t = x.shape
    free = np.full_like(x[sampled], -1)
    free[:, : runner.first_position] = x[sampled, : runner.first_position]
    # All events, forced, and the samples, free, are rows of one batch: half as many steps.
    rows = np.append(every, every[sampled])
    binding = _stepped(runner, graph, answers, rows, np.concatenate([x, free]), prefill=False)
    values = step_loop.read_values(binding)[n:, :t]
    log_p = step_loop.read_log_p(binding)[:n, :t]
    forced = [log_p]
    del binding
    if step_loop.takes_blocks(runner.session(graph).signature):
        binding = _stepped(runner, graph, answers, every, x, prefill=True)
        forced.append(step_loop.read_log_p(binding)[:, :t])
        if "prefill" in runner.bundle.manifest.graphs:
            half = max(t // 2, runner.first_position + 1)
            cache = _prefilled(runner, x[:, :half], answers.get(LABEL))
            step_loop.resume(binding, cache, half, log_p)
            step_loop.advance(binding, t - half)
            forced.append(step_loop.read_log_p(binding)[:, :t])
    return values, forced


def _stepped(
    runner: Runner,
    graph: str,
    answers: dict[str, Array],
    rows: Array,
    observed: Array,
    *,
    prefill: bool = False,
    steps: int | None = None,
) -> Binding:
    """Return a loop over the known answers with these indices, which has run all or some steps."""
    t = observed.shape[1]
    # The answers may have only the first positions of events: the others are never reached.
    beyond = ((0, 0), (0, runner.data.length - t))
    given = {U: np.pad(answers[U][rows], beyond, constant_values=0.5)}
    given |= step_loop.labelled(answers[LABEL][rows] if LABEL in answers else None)
    signature = runner.session(graph).signature
    given |= step_loop.settings(signature, UNFILTERED, len(rows), runner.data.levels)
    events = np.pad(observed, beyond, constant_values=-1)
    binding = runner.session(graph).bind({"b": len(rows), "s": 1})
    start = step_loop.Start(events, given, runner.first_position, prefill)
    done = step_loop.begin(binding, start)
    step_loop.advance(binding, t - done if steps is None else steps)
    return binding


def _tempered(runner: Runner, graph: str, answers: dict[str, Array]) -> Array:
    """Return the values that a step graph draws at each position given the events, [n, t].

    Each event has its own temperature and filters. After each step the drawn value is replaced by
    the event's, so that the pasts are those of the known answers.
    """
    x, first = answers[X], runner.first_position
    free = np.full_like(x, -1)
    free[:, :first] = x[:, :first]
    binding = _stepped(runner, graph, answers, np.arange(len(x)), free, steps=0)
    signature = runner.session(graph).signature
    for name in SETTINGS:
        if any(spec.name == name for spec in signature.inputs):
            binding.write(name, answers[name])
    found = x.copy()
    for position in range(first, x.shape[1]):
        step_loop.advance(binding, 1)
        values = step_loop.read_values(binding)
        found[:, position] = values[:, position]
        values[:, position] = x[:, position]
        step_loop.set_values(binding, values)
    return found


def _prefilled(runner: Runner, x: Array, label: Array | None) -> dict[str, Array]:
    """Return the cache, by name, that prefill leaves after the first positions x [n, s]."""
    session = runner.session("prefill")
    inputs = {X: x} | step_loop.labelled(label)
    for pair in session.signature.carried:
        spec = session.signature.input(pair.input)
        inputs[pair.input] = np.full(spec.shape({"b": len(x)}), pair.initial, spec.host)
    cache = session.run(inputs)
    return {pair.input: cache[pair.output] for pair in session.signature.carried}


def _follow(got: Array, expected: Array, margin: Array, limit: float) -> Draws:
    """Compare each row up to its first difference; beyond it the pasts are not the same."""
    draws = Draws()
    for row in range(len(got)):
        differs = np.flatnonzero(got[row] != expected[row])
        end = int(differs[0]) + 1 if len(differs) else got.shape[1]
        draws += Draws.of(got[row, :end], expected[row, :end], margin[row, :end], limit)
    return draws
