"""What a graph is traced on: a few of the bundle's known events, in the middle of their steps."""

from collections.abc import Mapping
from typing import Any

import ml_dtypes
import numpy as np

from ancestral.bundles.bundle import Bundle
from ancestral.errors import BundleError
from ancestral.export.trace.graph import Array
from ancestral.export.trace.programs import program_of, run_program
from ancestral.signature import GraphSignature
from ancestral.train.models.autoregressive import AutoregressiveModel
from ancestral.train.models.families import Model
from ancestral.train.models.graphs import Step
from ancestral.train.models.latent_variable import LatentVariableModel

_EVENTS = 3
_LATENTS = 2
"""Of each event."""
_NUMBERS = 2**22
"""Logits of the events together: longer events are cut where the graph takes shorter ones."""
_STEPS = 64
"""Steps are traced so far from the start at most: PyTorch has to walk there."""
_TEMPERATURES, _TOP_P, _MIN_P = (1.0, 0.8, 1.3), (1.0, 0.9, 0.8), (0.0, 0.02, 0.05)
"""Of the rows of a filtered step; the first row is unfiltered."""


def known_inputs(bundle: Bundle, model: Model, graph: str) -> dict[str, Array]:
    """Inputs of a graph by name; the same for the same bundle, but for rounding in PyTorch.

    Events are whole for a graph that reads whole ones. Those of a step graph stand at different
    positions, the first at its start; their past is what the known answers hold, and the cache what
    PyTorch made of it. Every second row draws its next value, the others are forced to the known.

    Raises:
        BundleError: the bundle has no such graph, or its answers are not whole.
    """
    if graph not in bundle.manifest.graphs:
        raise BundleError(
            f"{bundle.path}: expected a graph {graph!r}, got {sorted(bundle.manifest.graphs)}"
        )
    signature = bundle.manifest.graphs[graph].signature
    answers = bundle.known_answers()
    if isinstance(model, AutoregressiveModel):
        found = _autoregressive(graph, model, signature, answers)
    else:
        found = _latent(graph, model, answers)
    missing = [spec.name for spec in signature.inputs if spec.name not in found]
    if missing:
        raise BundleError(f"{bundle.path}: no known inputs {missing} of graph {graph}")
    return {
        spec.name: np.ascontiguousarray(found[spec.name], dtype=_numpy(spec.dtype))
        for spec in signature.inputs
    }


def _autoregressive(
    graph: str,
    model: AutoregressiveModel,
    signature: GraphSignature,
    answers: Mapping[str, Array],
) -> dict[str, Array]:
    rows = _far_from_ties(answers)
    events = {name: answers[name][rows] for name in ("x", "u", "label") if name in answers}
    # Known answers may be of the first positions of events alone.
    rest = ((0, 0), (0, model.data.length - events["x"].shape[1]))
    events |= {"x": np.pad(events["x"], rest), "u": np.pad(events["u"], rest, constant_values=0.5)}
    if any(spec.name == "position" for spec in signature.inputs):
        return _mid_event(Step(model, filters=graph == "step_filtered").eval(), events)
    t, levels = model.data.length, model.data.levels
    length = t
    if any("t" in spec.axes or "s" in spec.axes for spec in signature.inputs):
        length = min(t, max(3, _NUMBERS // (len(rows) * levels)))
    if signature.carried:
        length = min(length, max(model.first_position + 1, t // 2))
    cache = model.initial_cache(len(rows))
    return (
        events
        | {name: events[name][:, :length] for name in ("x", "u")}
        | {name: tensor.numpy() for name, tensor in cache.items()}
    )


def _far_from_ties(answers: Mapping[str, Array]) -> Array:
    """The samples and the noisy event whose uniforms lie farthest from an edge."""
    margin = answers["margin"].min(axis=1)
    samples = answers["is_sample"].astype(bool)
    order = np.argsort(-margin, kind="stable")
    first, *others = order[samples[order]][: _EVENTS - 1]
    return np.array([first, *order[~samples[order]][:1], *others])


def _mid_event(program: Step, events: Mapping[str, Array]) -> dict[str, Array]:
    """Each row of a step graph at a place of its own, after steps that PyTorch did."""
    model, (n, t) = program.model, events["x"].shape
    first = model.first_position
    last = min(t - 1, first + _STEPS)
    places = [first + (last - first) * row // max(1, n - 1) for row in range(n)]
    given: dict[str, Array] = {**events, "observed": events["x"], "offsets": np.arange(1)}
    given |= _filters(n, model.data.levels)
    state: dict[str, Array] = {
        "position": np.full(n, first),
        "values": events["x"],
        "log_p": np.zeros((n, t), np.float32),
        "log_q": np.zeros((n, t), np.float32),
        **{name: tensor.numpy() for name, tensor in model.initial_cache(n).items()},
    }
    pairs = program.signature.carried
    reached = {pair.input: state[pair.input].copy() for pair in pairs}
    for place in range(first, max(places) + 1):
        for row in (row for row in range(n) if places[row] == place):
            for name, array in reached.items():
                array[row] = state[name][row]
        after = run_program(program, given | state)
        state |= {pair.input: after[pair.output] for pair in pairs}
    observed = events["x"].copy()
    observed[1::2, first:] = -1
    return given | reached | {"observed": observed}


def _filters(rows: int, levels: int) -> dict[str, Array]:
    at = np.arange(rows) % len(_TOP_P)
    return {
        "temperature": np.array(_TEMPERATURES, np.float32)[at],
        "top_k": np.array([levels, levels, max(1, levels // 2)])[at],
        "top_p": np.array(_TOP_P, np.float32)[at],
        "min_p": np.array(_MIN_P, np.float32)[at],
    }


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
            found |= {"noise": answers["prior_noise"][:n], "temperature": np.ones(n)}
            if "prior_u" in answers:
                found["u"] = answers["prior_u"][:n]
        case "log_likelihood":
            each = np.arange(n)[:, None] + np.arange(_LATENTS)
            found["z"] = answers["z"][each % len(answers["z"])]
        case "log_weights":
            found |= run_program(program_of("encode", model), {"x": found["x"]})
            found["noise"] = answers["noise"][events, :_LATENTS]
    return found


def _numpy(dtype: str) -> np.dtype[Any]:
    return np.dtype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)
