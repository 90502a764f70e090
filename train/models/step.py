"""The step programs: each does a whole sampling step, so nothing returns to the host in between."""

from typing import final

import torch
from torch import Tensor

from ancestral import step_tensors as names
from ancestral.signature import GraphSignature, Update
from ancestral.step_tensors import StepGraph, next_of, tensor
from ancestral.train.likelihoods.categorical import Categorical
from ancestral.train.likelihoods.likelihood import draw_or_take
from ancestral.train.models.autoregressive import AutoregressiveModel
from ancestral.train.models.program import AutoregressiveProgram, carried_pair
from ancestral.triton_kernels.embed import consume
from ancestral.triton_kernels.sample_token import Drawn, record, sample_token
from ancestral.triton_kernels.sample_token.adjustments import Adjusted, Adjustments
from ancestral.triton_kernels.sample_token.alternatives import TopValues, sample_adjusted
from ancestral.triton_kernels.sample_token.filters import Filters, Temperature


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
        replaced = [carried_pair(state[0], Update.REPLACE)]
        pairs = replaced + [carried_pair(each, Update.APPEND) for each in state[1:]]
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
