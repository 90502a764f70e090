"""The inputs on which a graph is traced: a few known events, in the middle of their steps."""

from collections.abc import Mapping
from dataclasses import replace
from typing import cast

import numpy as np

from ancestral import step_tensors as names
from ancestral.bundles.bundle import Bundle
from ancestral.errors import BundleError
from ancestral.export.programs import programs
from ancestral.export.trace.graph import Array
from ancestral.export.trace.torch import run_program
from ancestral.sampling import Sampling
from ancestral.signature import GraphSignature
from ancestral.train.models.autoregressive import AutoregressiveModel
from ancestral.train.models.families import Model
from ancestral.train.models.latent_variable import LatentVariableModel
from ancestral.train.models.step import Step

_EVENTS = 3
_LATENTS = 2
"""Latents of each event."""
_NUMBERS = 2**22
"""Most logits of all events together. Longer events are cut if the graph takes shorter ones."""
_STEPS = 64
"""Most steps from the first position to a traced one: PyTorch has to compute them all."""


def known_inputs(bundle: Bundle, model: Model, graph: str) -> dict[str, Array]:
    """Return the inputs of a graph by name, the same for the same bundle except for rounding.

    A graph of whole events gets whole events. A step graph gets rows at different positions, the
    first at its start: their past is from the known answers, and their cache from PyTorch. Every
    second row draws its next value, the others observe the known one.

    Args:
        bundle: bundle with the known answers.
        model: model of the bundle.
        graph: name of the graph.

    Raises:
        BundleError: the known answers cannot be read, or lack an input of the graph.
    """
    signature = bundle.manifest.graphs[graph].signature
    answers = bundle.known_answers()
    if isinstance(model, AutoregressiveModel):
        found = _autoregressive(graph, model, signature, answers)
    else:
        found = _latent(graph, model, answers)
    missing = [spec.name for spec in signature.inputs if spec.name not in found]
    if missing:
        raise BundleError(
            f"{bundle.path}: the known answers have no inputs {missing} for graph {graph!r}; "
            f"export the model again"
        )
    return {
        spec.name: np.ascontiguousarray(found[spec.name], dtype=spec.dtype)
        for spec in signature.inputs
    }


def _autoregressive(
    graph: str, model: AutoregressiveModel, signature: GraphSignature, answers: Mapping[str, Array]
) -> dict[str, Array]:
    rows = _far_from_ties(answers)
    events = {
        name: answers[name][rows] for name in (names.X, names.U, names.LABEL) if name in answers
    }
    # Known answers may have the first positions of events only.
    rest = ((0, 0), (0, model.data.length - events[names.X].shape[1]))
    events[names.X] = np.pad(events[names.X], rest)
    events[names.U] = np.pad(events[names.U], rest, constant_values=0.5)
    if graph.startswith("step"):
        return _mid_event(Step(model, cast(names.StepGraph, graph)).eval(), events)
    t = length = model.data.length
    if {"t", "s"} & {axis for spec in signature.inputs for axis in spec.axes}:
        length = min(t, max(3, _NUMBERS // (len(rows) * model.data.levels)))
    if signature.carried:
        length = min(length, max(model.first_position + 1, t // 2))
    cut = {name: events[name][:, :length] for name in (names.X, names.U)}
    # A prefill runs the first positions of whole events.
    start = np.full(len(rows), model.first_position)
    block = {
        names.VALUES: events[names.X],
        names.POSITION: start,
        names.OFFSETS: np.arange(length - model.first_position),
    }
    return events | cut | block | _initial_cache(model, len(rows))


def _far_from_ties(answers: Mapping[str, Array]) -> list[int]:
    """Return the indices of the samples and the noise whose uniforms are farthest from an edge."""
    order = np.argsort(-answers["margin"].min(axis=1), kind="stable")
    samples = answers["is_sample"].astype(bool)[order]
    first, *others = order[samples][: _EVENTS - 1]
    return [int(row) for row in (first, *order[~samples][:1], *others)]


def _mid_event(program: Step, events: Mapping[str, Array]) -> dict[str, Array]:
    """Return the inputs of a step graph with each row at another position, from PyTorch's steps."""
    model, (n, t) = program.model, events[names.X].shape
    first, levels = model.first_position, model.data.levels
    places = first + (min(_STEPS, t - 1 - first) * np.arange(n)) // max(1, n - 1)
    given = {**events, names.OBSERVED: events[names.X], names.OFFSETS: np.arange(1)}
    warm = Sampling(1.3, max(1, levels // 2), 0.8, 0.05)
    warm = replace(warm, logit_bias={0: 0.5}, repetition_penalty=1.2)
    warm = replace(warm, presence_penalty=0.3, frequency_penalty=0.1)
    every = [each.settings(levels) for each in (Sampling(), Sampling(0.8, None, 0.9, 0.02), warm)]
    chosen = [every[i % len(every)] for i in range(n)]
    given |= {spec.name: np.stack([row[spec.name] for row in chosen]) for spec in program.settings}
    state: dict[str, Array] = {
        names.POSITION: np.full(n, first),
        names.VALUES: events[names.X].copy(),
        **{name: np.zeros((n, t), np.float32) for name in (names.LOG_P, names.LOG_Q)},
        **{
            spec.name: np.zeros(spec.shape({"b": n}), spec.host)
            for spec in names.alternatives(t, levels)
        },
        **{name: array.copy() for name, array in _initial_cache(model, n).items()},
    }
    for place in range(first, places.max()):
        after, moving = run_program(program, given | state), places > place
        for pair in program.signature.carried:
            state[pair.input][moving] = after[pair.output][moving]
    observed = events[names.X].copy()
    observed[1::2, first:] = -1
    return given | state | {names.OBSERVED: observed}


def _initial_cache(model: AutoregressiveModel, rows: int) -> dict[str, Array]:
    return {name: tensor.numpy() for name, tensor in model.initial_cache(rows).items()}


def _latent(
    graph: str, model: LatentVariableModel, answers: Mapping[str, Array]
) -> dict[str, Array]:
    n = min(_EVENTS, len(answers["z"]))
    events = np.array([0, -1, 1])[:n]  # a sample, noise, a sample
    found: dict[str, Array] = {"x": answers["x"][events], "z": answers["z"][:n]}
    match graph:
        case "draw":
            found |= dict.fromkeys(("noise", "u"), answers["draw_noise"][:n])
        case "prior":
            given = {"noise": "prior_noise", "u": "prior_u"}
            found |= {name: answers[each][:n] for name, each in given.items() if each in answers}
            found["temperature"] = np.ones(n)
        case "log_likelihood":
            each = np.arange(n)[:, None] + np.arange(_LATENTS)
            found["z"] = answers["z"][each % len(answers["z"])]
        case "log_weights":
            ((_, parts),) = programs(model, ["encode"])
            found |= run_program(parts["encode"], {"x": found["x"]})
            found["noise"] = answers["noise"][events, :_LATENTS]
    return found
