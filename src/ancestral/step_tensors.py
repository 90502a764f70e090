"""Names and dtypes of the tensors in an autoregressive model's graphs.

`train.models.graphs` declares its programs with them, `bundles.graph_contract` compares the
signatures of a bundle with them, and `engine.step_loop` writes and reads them. Axes: b batch,
t position, s block, v vocabulary.
"""

from typing import Literal, get_args

from ancestral.sampling import ADJUSTMENTS, LOGIT_BIAS, SETTINGS
from ancestral.signature import Dtype, GraphSignature, TensorSpec

StepGraph = Literal["step", "step_filtered", "step_full"]
STEP_GRAPHS: tuple[StepGraph, ...] = get_args(StepGraph)
"""Step graphs; each draws all that the ones before it draw."""

X = "x"
"""Events, [b, t]."""
LABEL = "label"
"""Class of each row, [b]."""
LOG_PROB = "log_prob"
"""log p(x_t | x_<t) of whole events in nats, [b, t]."""
LOGITS = "logits"
"""Unnormalised log-probabilities of whole events, [b, t, v]."""
REDRAWN = "redrawn"
"""Value drawn with u at each position, given the values of x before it, [b, t]."""
TOP_IDS = "top_ids"
"""The most probable values of each position, the most probable first, [b, t, k]."""
TOP_LOG_PROB = "top_log_prob"
"""Log-probabilities of the most probable values in nats, [b, t, k]."""
TOP = 20
"""Largest k of `TOP_IDS`."""
OFFSETS = "offsets"
"""Offsets 0 .. s - 1 of the positions of a block from its first one, [s]."""
U = "u"
"""Uniform for each position, [b, t]."""
OBSERVED = "observed"
"""Observed value at each position, or -1 where the position is free, [b, t]."""
TEMPERATURE = "temperature"
"""Temperature of each row, [b]."""
POSITION = "position"
"""Next position of each row, [b]; in a finished row, the number of positions."""
VALUES = "values"
"""Observed and drawn values, [b, t]."""
LOG_P = "log_p"
"""Log-probability of each value under the model in nats, [b, t]."""
LOG_Q = "log_q"
"""Log-probability of each drawn value at its temperature and filters in nats, [b, t]."""
# Not `TOP_IDS`: a node of the graph has that name, which no other input may have.
TOP_VALUES = "top_values"
"""The most probable values of each position of a loop, [b, t, k]."""
TOP_LOG_P = "top_log_p"
"""Their log-probabilities in nats, [b, t, k]."""
TOP_FILTERED = "top_filtered"
"""The most probable values of each distribution that a step draws from, [b, t, k]."""
TOP_LOG_Q = "top_log_q"
"""Their log-probabilities under it in nats, [b, t, k]."""
ALTERNATIVES = (TOP_VALUES, TOP_LOG_P, TOP_FILTERED, TOP_LOG_Q)
"""What `step_full` keeps of the most probable values of each position."""

STATE = frozenset({POSITION, VALUES, LOG_P, LOG_Q, *ALTERNATIVES})
"""Tensors that a loop carries in addition to the cache of a model."""

_DTYPES: dict[str, Dtype] = {
    **dict.fromkeys((X, LABEL, REDRAWN, OFFSETS, OBSERVED, POSITION, VALUES, TOP_IDS), "int64"),
    **dict.fromkeys((TOP_VALUES, TOP_FILTERED), "int64"),
    **dict.fromkeys((LOG_PROB, LOGITS, TOP_LOG_PROB, U, LOG_P, LOG_Q), "float32"),
    **dict.fromkeys((TOP_LOG_P, TOP_LOG_Q), "float32"),
    **SETTINGS,
    **ADJUSTMENTS,
}
TAKEN = frozenset(_DTYPES) - {LOG_PROB, LOGITS, REDRAWN, TOP_IDS, TOP_LOG_PROB}
"""Names of inputs, which cache entries must not have."""


def settings(graph: StepGraph, levels: int) -> tuple[TensorSpec, ...]:
    """Return the settings that a step graph takes for each row.

    Args:
        graph: name of the graph.
        levels: number of levels, the length of a row's bias.
    """
    taken = {
        "step": (TEMPERATURE,),
        "step_filtered": tuple(SETTINGS),
        "step_full": (*SETTINGS, *ADJUSTMENTS),
    }[graph]
    axes: dict[str, tuple[str | int, ...]] = {LOGIT_BIAS: ("b", levels)}
    return tuple(tensor(name, *axes.get(name, ("b",))) for name in taken)


def alternatives(length: int, levels: int) -> tuple[TensorSpec, ...]:
    """Return the tensors of the most probable values of each position, [b, t, k] each."""
    return tuple(tensor(name, "b", length, most_of(levels)) for name in ALTERNATIVES)


def takes_temperature(step: GraphSignature) -> bool:
    """Return whether a step graph draws at a temperature."""
    return any(spec.name == TEMPERATURE for spec in step.inputs)


def fills_caches(prefill: GraphSignature) -> bool:
    """Return whether a prefill graph runs a block at any position of a loop."""
    return any(spec.name == POSITION for spec in prefill.inputs)


def tensor(name: str, *axes: str | int) -> TensorSpec:
    """Return the tensor of that name, with these axes."""
    return TensorSpec(name=name, dtype=_DTYPES[name], axes=axes)


def most_of(levels: int) -> int:
    """Return how many of the most probable values a graph returns at each position."""
    return min(TOP, levels)


def next_of(tensor: TensorSpec) -> TensorSpec:
    """Return the output that becomes this input in the next step."""
    return tensor.model_copy(update={"name": f"{tensor.name}_next"})
