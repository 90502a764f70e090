"""The programs of an autoregressive model, which are exported, and run by the torch backend.

A program is a module with a signature; its forward takes and returns tensors in that order. The
step graphs do a whole sampling step, so that nothing returns to the host between steps.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Literal, final, get_args

import torch
from torch import Tensor, nn

from ancestral import step_tensors as names
from ancestral.signature import Carried, GraphSignature, TensorSpec, Update
from ancestral.step_tensors import StepGraph, next_of, tensor
from ancestral.train.likelihoods.categorical import Categorical
from ancestral.train.likelihoods.likelihood import draw_or_take, widened
from ancestral.train.models.autoregressive import AutoregressiveModel
from ancestral.triton_kernels.embed import consume
from ancestral.triton_kernels.sample_token import Drawn, record, sample_token
from ancestral.triton_kernels.sample_token.adjustments import Adjusted, Adjustments
from ancestral.triton_kernels.sample_token.alternatives import TopValues, sample_adjusted
from ancestral.triton_kernels.sample_token.filters import Filters, Temperature
from ancestral.triton_kernels.top_ids import top_ids


class Program(nn.Module, ABC):
    """A function of tensors over a model's weights."""

    model: nn.Module

    @property
    @abstractmethod
    def signature(self) -> GraphSignature:
        """Names, types and axes of the inputs and outputs of forward, in order."""

    @property
    @abstractmethod
    def longest(self) -> Mapping[str, int]:
        """The largest size of each named axis."""


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


class AutoregressiveProgram(Program):
    """Base class of the programs of an autoregressive model."""

    def __init__(self, model: AutoregressiveModel) -> None:
        super().__init__()
        self.model: AutoregressiveModel = model
        self.has_label = model.data.num_classes is not None
        self.label = (tensor(names.LABEL, "b"),) if self.has_label else ()
        entries = model.cache_spec
        self.cache = tuple(TensorSpec(name=e.name, dtype=e.dtype, axes=e.axes) for e in entries)
        self.cache_names = tuple(entry.name for entry in entries)
        self.cache_pairs = tuple(_carried(e, e.update, e.initial) for e in entries)

    @property
    def longest(self) -> Mapping[str, int]:
        """The largest size of each named axis: for events and blocks, the length of the data."""
        return {"b": 2**20, "s": self.model.data.length, "t": self.model.data.length}

    def _split(self, tensors: tuple[Tensor, ...]) -> tuple[Tensor | None, tuple[Tensor, ...]]:
        return (tensors[0], tensors[1:]) if self.has_label else (None, tensors)


@final
class Parallel(AutoregressiveProgram):
    """Outputs of one pass over whole events; any of five.

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


@final
class Step(AutoregressiveProgram):
    """One sampling step, or a block of s steps; all but the last must be observed.

    The next value is drawn by inverse CDF from u at its position; an observed value (>= 0) replaces
    it. Positions are per row and end at T. A step does not change a finished row: appended slots
    are written again with the same values, and replaced states are kept.

    Without filters, a step of a categorical likelihood takes a temperature. Other likelihoods draw
    from their own parameters, which are fewer than the logits that a temperature acts on. The full
    step also takes a bias and penalties, and keeps the most probable values of each position.
    """

    def __init__(self, model: AutoregressiveModel, graph: StepGraph = "step") -> None:
        super().__init__(model)
        self.graph = graph
        tempered = graph != "step" or isinstance(model.likelihood, Categorical)
        self.settings = names.settings(graph, model.data.levels) if tempered else ()
        self.keeps = tuple(e.name for e in model.cache_spec if e.update is Update.REPLACE)

    @property
    def signature(self) -> GraphSignature:
        """offsets, u, observed, label, settings, carried tensors -> the new carried tensors.

        position, values, log-probs and the cache are carried; offsets are 0 .. s - 1, for blocks.
        """
        t = self.model.data.length
        offsets = [tensor(names.OFFSETS, "s")] if self.model.takes_blocks else []
        given = [*offsets, *(tensor(name, "b", t) for name in (names.U, names.OBSERVED))]
        given += self.label
        state = [tensor(names.POSITION, "b")]
        state += [tensor(name, "b", t) for name in (names.VALUES, names.LOG_P)]
        if self.settings:
            given += self.settings
            state.append(tensor(names.LOG_Q, "b", t))
        if self.graph == "step_full":
            state += names.alternatives(t, self.model.data.levels)
        carried = [*state, *self.cache]
        replaced = [_carried(state[0], Update.REPLACE)]
        pairs = replaced + [_carried(each, Update.APPEND) for each in state[1:]]
        return GraphSignature(
            inputs=(*given, *carried),
            outputs=tuple(next_of(each) for each in carried),
            carried=(*pairs, *self.cache_pairs),
        )

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Consume the value before each position of the block; draw or take the value at it."""
        offsets = None
        if self.model.takes_blocks:
            offsets, tensors = tensors[0], tensors[1:]
        (u, observed), (label, rest) = tensors[:2], self._split(tensors[2:])
        given, rest = rest[: len(self.settings)], rest[len(self.settings) :]
        cached = len(rest) - len(self.cache_names)
        (position, values, log_p, *more), cache = rest[:cached], rest[cached:]
        state = Drawn(position, values, log_p, more.pop(0) if given else None)
        start, at, tokens = consume(values, position, offsets)
        named = dict(zip(self.cache_names, cache, strict=True))
        parameters, new = self.model.extend(tokens, start, named, label)
        if self.keeps:
            finished = position >= self.model.data.length
            for name in self.keeps:
                # Replaced states change only in rows that are not finished.
                rows = finished.view(-1, *([1] * (new[name].ndim - 1)))
                new[name] = torch.where(rows, named[name], new[name])
        drawn = self._drawn((u, observed, *given), at, parameters, state, more)
        return *(part for part in drawn if part is not None), *(new[n] for n in self.cache_names)

    def _drawn(
        self,
        given: tuple[Tensor, ...],
        at: Tensor,
        parameters: Tensor,
        state: Drawn,
        more: list[Tensor],
    ) -> tuple[Tensor | None, ...]:
        """Return the state after the block, from the parameters of its positions.

        Args:
            given: u, observed and settings.
            at: positions of the block.
            parameters: parameters of the likelihood at each of them.
            state: what was drawn so far.
            more: the most probable values so far, of the full step.
        """
        likelihood, repeats = self.model.likelihood, not self.keeps
        u, observed, *settings = given
        if not settings:
            uniform, forced = u.gather(1, at), observed.gather(1, at)
            value, log_p = draw_or_take(likelihood, parameters, uniform, forced)
            return record(state, at, (value, log_p, None), repeats)
        logits = likelihood.logits(parameters)
        if self.graph == "step":
            return sample_token(logits, at, u, observed, state, Temperature(*settings), repeats)
        filters = Filters(*settings[: len(Filters._fields)])
        if self.graph == "step_filtered":
            return sample_token(logits, at, u, observed, state, filters, repeats)
        adjusted = Adjusted(Adjustments(*settings[len(Filters._fields) :]), filters)
        both = (state, TopValues(*more))
        drawn, rows = sample_adjusted(logits, at, u, observed, both, adjusted, repeats)
        return *drawn, *rows


def _carried(tensor: TensorSpec, update: Update, initial: float = 0.0) -> Carried:
    output = next_of(tensor).name
    return Carried(input=tensor.name, output=output, update=update, initial=initial)


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
