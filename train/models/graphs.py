"""The graphs of an autoregressive model: their names and programs."""

from collections.abc import Mapping
from typing import Literal, final, get_args

import torch
from torch import Tensor

from ancestral import step_tensors as names
from ancestral.signature import GraphSignature
from ancestral.step_tensors import next_of, tensor
from ancestral.train.likelihoods.categorical import Categorical
from ancestral.train.likelihoods.likelihood import widened
from ancestral.train.models.autoregressive import AutoregressiveModel
from ancestral.train.models.program import AutoregressiveProgram
from ancestral.train.models.step import Step
from ancestral.triton_kernels.embed import consume
from ancestral.triton_kernels.top_ids import top_ids

GraphName = Literal[
    "log_prob", "logits", "redraw", "top_log_prob", "prefill", "step", "step_filtered", "step_full"
]
GRAPH_NAMES: tuple[GraphName, ...] = get_args(GraphName)
PARALLEL: tuple[GraphName, ...] = ("log_prob", "logits", "redraw", "top_log_prob")
"""Graphs that are computed by one pass over whole events."""
PARALLEL_OUTPUTS: Mapping[str, tuple[str, ...]] = {
    "log_prob": (names.LOG_PROB,),
    "logits": (names.LOGITS,),
    "redraw": (names.REDRAWN,),
    "top_log_prob": (names.LOG_PROB, names.TOP_IDS, names.TOP_LOG_PROB),
}
"""Outputs of each of these graphs, in order."""


@final
class Parallel(AutoregressiveProgram):
    """One pass over whole events, with any of five outputs.

    log_prob [b, t] is log p(x_t | x_<t) in nats; logits [b, t, v] are those of p(x_t | x_<t), up to
    a constant; redrawn [b, t] is the value that u [b, t] draws at each position given x before it.
    top_ids [b, t, k] are the k most probable values given x before the position, and top_log_prob
    [b, t, k] their log p in nats.
    A sample that was drawn with u is a fixed point of redrawn (Song et al. 2020, arXiv:2002.03629,
    section 3).
    """

    def __init__(self, model: AutoregressiveModel, outputs: tuple[str, ...]) -> None:
        super().__init__(model)
        self.outputs = outputs

    @property
    def signature(self) -> GraphSignature:
        """x, u if values are drawn, label -> the outputs."""
        t = "t" if self.model.takes_prefixes else self.model.data.length
        u = (tensor(names.U, "b", t),) if names.REDRAWN in self.outputs else ()
        levels = self.model.data.levels
        most = (names.most_of(levels),)
        last = {names.LOGITS: (levels,), names.TOP_IDS: most, names.TOP_LOG_PROB: most}
        return GraphSignature(
            inputs=(tensor(names.X, "b", t), *u, *self.label),
            outputs=tuple(tensor(each, "b", t, *last.get(each, ())) for each in self.outputs),
        )

    def forward(self, x: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        """Run one pass; without a start symbol, x_0 has log-probability 0 and is not drawn."""
        draws = names.REDRAWN in self.outputs
        u, rest = (rest[0], rest[1:]) if draws else (None, rest)
        likelihood = self.model.likelihood
        parameters = self.model.predict(x, self._split(rest)[0])
        results = {names.LOG_PROB: self.model.log_prob_given(parameters, x)}
        if names.LOGITS in self.outputs:
            results[names.LOGITS] = likelihood.logits(parameters)
        if names.TOP_IDS in self.outputs:
            # At least in float32, as log p is.
            logits = widened(likelihood.logits(parameters))
            ids = top_ids(logits, names.most_of(likelihood.levels))
            results[names.TOP_IDS] = ids
            results[names.TOP_LOG_PROB] = logits.log_softmax(dim=-1).gather(-1, ids)
        if u is not None:
            redrawn = likelihood.draw(parameters, u)
            if self.model.first_position:
                # torch.where, because a slice of t - 1 positions would restrict the exported graph
                # to t > 2.
                first = torch.arange(x.shape[1], device=x.device) == 0
                redrawn = torch.where(first, x, redrawn)
            results[names.REDRAWN] = redrawn
        return tuple(results[name] for name in self.outputs)


@final
class Prefill(AutoregressiveProgram):
    """What a step does to the cache over a block of s observed positions, without predictions.

    Its inputs are inputs of the step, which then continues s positions later.
    """

    @property
    def signature(self) -> GraphSignature:
        """offsets, values, position, label, cache -> cache; offsets are 0 .. s - 1."""
        t = self.model.data.length
        given = (
            tensor(names.OFFSETS, "s"),
            tensor(names.VALUES, "b", t),
            tensor(names.POSITION, "b"),
            *self.label,
        )
        return GraphSignature(
            inputs=(*given, *self.cache),
            outputs=tuple(next_of(each) for each in self.cache),
            carried=self.cache_pairs,
        )

    def forward(
        self, offsets: Tensor, values: Tensor, position: Tensor, *rest: Tensor
    ) -> tuple[Tensor, ...]:
        """Consume the value before each position of the block."""
        label, cache = self._split(rest)
        start, _, tokens = consume(values, position, offsets)
        named = dict(zip(self.cache_names, cache, strict=True))
        new = self.model.extend_cache(tokens, start, named, label)
        return tuple(new[name] for name in self.cache_names)


def graphs_of(model: AutoregressiveModel) -> tuple[GraphName, ...]:
    """Return the graphs of a model.

    prefill needs a cache and a model that takes blocks, step_full a categorical likelihood.
    """
    lacks = set() if model.takes_blocks and len(model.cache_spec) > 0 else {"prefill"}
    if not isinstance(model.likelihood, Categorical):
        lacks.add("step_full")
    return tuple(name for name in GRAPH_NAMES if name not in lacks)


def build(name: GraphName, model: AutoregressiveModel) -> AutoregressiveProgram:
    """Return the program of this name over a model."""
    match name:
        case "prefill":
            return Prefill(model)
        case "step" | "step_filtered" | "step_full":
            return Step(model, name)
        case _:
            return Parallel(model, PARALLEL_OUTPUTS[name])
