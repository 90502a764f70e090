"""The known answers of a bundle, run step by step on a backend."""

from dataclasses import replace

import numpy as np

from ancestral.engine import step_graph, step_loop
from ancestral.engine.comparison import Events
from ancestral.engine.runner import Runner
from ancestral.engine.session import Array, Binding
from ancestral.sampling import SETTINGS, UNFILTERED
from ancestral.step_tensors import LABEL, OFFSETS, POSITION, VALUES, U, X, fills_caches


def steps(
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
    if step_graph.takes_blocks(runner.session(graph).signature):
        binding = _stepped(runner, graph, answers, every, x, prefill=True)
        forced.append(step_loop.read_log_p(binding)[:, :t])
        entry = runner.bundle.manifest.graphs.get("prefill")
        if entry is not None and fills_caches(entry.signature):
            half = max(t // 2, runner.first_position + 1)
            cache = _prefilled(runner, x, half, answers.get(LABEL))
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
    prefill: bool,
) -> Binding:
    """Return a loop that has run all positions of the known answers with these indices."""
    start = start_of(runner, graph, answers, rows, observed)
    binding = runner.session(graph).bind({"b": len(rows), "s": 1})
    done = step_loop.begin(binding, replace(start, prefill=prefill))
    step_loop.advance(binding, observed.shape[1] - done)
    return binding


def start_of(
    runner: Runner, graph: str, answers: dict[str, Array], rows: Array, observed: Array
) -> step_loop.Start:
    """Return the inputs of a loop over the known answers with these indices, without settings."""
    # The answers may have only the first positions of events: the others are never reached.
    beyond = ((0, 0), (0, runner.data.length - observed.shape[1]))
    given = {U: np.pad(answers[U][rows], beyond, constant_values=0.5)}
    given |= step_graph.labelled(answers[LABEL][rows] if LABEL in answers else None)
    signature = runner.session(graph).signature
    given |= step_graph.settings(signature, UNFILTERED, len(rows), runner.data.levels)
    events = np.pad(observed, beyond, constant_values=-1)
    return step_loop.Start(events, given, runner.first_position, prefill=False)


def with_settings(runner: Runner, graph: str, answers: dict[str, Array]) -> list[tuple[str, Array]]:
    """Draw at each position given the events, with each event's temperature and filters.

    After each step the drawn values are replaced by the events', so that the pasts are those of the
    known answers.

    Returns:
        The name of their answers and the values, [n, t]; nothing if the graph takes no settings.
    """
    x, first = answers[X], runner.first_position
    observed = np.full_like(x, -1)
    observed[:, :first] = x[:, :first]
    start = start_of(runner, graph, answers, np.arange(len(x)), observed)
    taken = {name: answers[name] for name in SETTINGS if name in start.given}
    if not taken:
        return []
    binding = runner.session(graph).bind({"b": len(x), "s": 1})
    step_loop.begin(binding, replace(start, given={**start.given, **taken}))
    found, events = x.copy(), np.maximum(start.observed, 0)
    events[:, : x.shape[1]] = x
    for position in range(first, x.shape[1]):
        step_loop.advance(binding, 1)
        found[:, position] = step_loop.read_values(binding)[:, position]
        step_loop.set_values(binding, events)
    return [("tempered" if len(taken) == 1 else "filtered", found)]


def _prefilled(runner: Runner, x: Array, end: int, label: Array | None) -> dict[str, Array]:
    """Return the cache, by name, that prefill leaves after the positions of x before `end`."""
    session, first = runner.session("prefill"), runner.first_position
    inputs = {
        VALUES: np.pad(x, ((0, 0), (0, runner.data.length - x.shape[1]))),
        POSITION: np.full(len(x), first),
        OFFSETS: np.arange(end - first),
    } | step_graph.labelled(label)
    for pair in session.signature.carried:
        spec = session.signature.input(pair.input)
        inputs[pair.input] = np.full(spec.shape({"b": len(x)}), pair.initial, spec.host)
    cache = session.run(inputs)
    return {pair.input: cache[pair.output] for pair in session.signature.carried}
