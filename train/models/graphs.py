"""The programs of an autoregressive model: what is exported, and what the torch backend runs.

A program is a module with a signature; its forward takes and returns tensors in that order. `step`
and `step_filtered` do a whole sampling step, so that nothing returns to the host between two steps.
"""

from abc import ABC, abstractmethod
from typing import Literal, final, get_args

import torch
from torch import Tensor, nn

from ancestral.signature import Carried, Dtype, GraphSignature, TensorSpec, Update
from ancestral.train.likelihoods import categorical
from ancestral.train.likelihoods.filters import Filters, filtered
from ancestral.train.models.autoregressive import AutoregressiveModel
from ancestral.triton_kernels.append import append

GraphName = Literal["log_prob", "logits", "redraw", "prefill", "step", "step_filtered"]
GRAPH_NAMES: tuple[GraphName, ...] = get_args(GraphName)
PARALLEL: tuple[GraphName, ...] = ("log_prob", "logits", "redraw")
"""Graphs that share one pass over whole events."""


class Program(nn.Module, ABC):
    """A function of tensors over a model's weights."""

    def __init__(self, model: AutoregressiveModel) -> None:
        super().__init__()
        self.model = model
        self.has_label = model.data.num_classes is not None
        self.cache_names = tuple(entry.name for entry in model.cache_spec)

    @property
    @abstractmethod
    def signature(self) -> GraphSignature:
        """Names, types and axes of what forward takes and returns, in order."""

    def _label(self) -> tuple[TensorSpec, ...]:
        return (_spec("label", "int64", "b"),) if self.has_label else ()

    def _split(self, tensors: tuple[Tensor, ...]) -> tuple[Tensor | None, tuple[Tensor, ...]]:
        return (tensors[0], tensors[1:]) if self.has_label else (None, tensors)

    def _cache_pairs(self) -> tuple[Carried, ...]:
        return tuple(
            Carried(input=e.name, output=f"{e.name}_next", update=e.update, initial=e.initial)
            for e in self.model.cache_spec
        )

    def _cache_inputs(self) -> tuple[TensorSpec, ...]:
        return tuple(_spec(e.name, e.dtype, *e.axes) for e in self.model.cache_spec)


@final
class Parallel(Program):
    """Everything that one pass over whole events gives: any of three outputs.

    log_prob [b, t], log p(x_t | x_<t) in nats; logits [b, t, v], unnormalised, the shift inside;
    values [b, t], what u [b, t] draws at each position given x before it: a sample that u drew is
    a fixed point (Song et al. 2020, arXiv:2002.03629, section 3).
    """

    def __init__(self, model: AutoregressiveModel, outputs: tuple[str, ...]) -> None:
        super().__init__(model)
        self.outputs = outputs

    @property
    def signature(self) -> GraphSignature:
        """x, u where values are drawn, label -> the outputs."""
        specs = {
            "log_prob": _spec("log_prob", "float32", "b", "t"),
            "logits": _spec("logits", "float32", "b", "t", self.model.data.levels),
            "values": _spec("values", "int64", "b", "t"),
        }
        u = (_spec("u", "float32", "b", "t"),) if "values" in self.outputs else ()
        return GraphSignature(
            inputs=(_spec("x", "int64", "b", "t"), *u, *self._label()),
            outputs=tuple(specs[name] for name in self.outputs),
        )

    def forward(self, x: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        """One pass; where there is no start symbol, x_0 has log-prob 0 and is not drawn."""
        draws = "values" in self.outputs
        u, rest = (rest[0], rest[1:]) if draws else (None, rest)
        logits = self.model.logits(x, self._split(rest)[0])
        results = {"logits": logits, "log_prob": self.model.gathered_log_prob(logits, x)}
        if u is not None:
            values = categorical.draw(logits, u)
            if self.model.first_position:
                # By `where`: a slice of t - 1 positions would bind the exported graph to t > 2.
                first = torch.arange(x.shape[1], device=x.device) == 0
                values = torch.where(first, x, values)
            results["values"] = values
        return tuple(results[name] for name in self.outputs)


@final
class Prefill(Program):
    """x_0 .. x_(s-1) and a fresh cache -> the cache with which a step at position s goes on."""

    @property
    def signature(self) -> GraphSignature:
        """x, label, cache -> cache."""
        cache = self._cache_inputs()
        return GraphSignature(
            inputs=(_spec("x", "int64", "b", "s"), *self._label(), *cache),
            outputs=tuple(_next(spec) for spec in cache),
            carried=self._cache_pairs(),
        )

    def forward(self, x: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        """Consume the start symbol and x_0 .. x_(s-2); no head is computed.

        Without a start symbol x_(s-1) is consumed too; the step writes the same slot once more.
        """
        label, cache = self._split(rest)
        first = self.model.first_position
        tokens = x if first else torch.nn.functional.pad(x, (1, 0))[:, :-1]
        position = torch.full_like(x[:, 0], first)
        named = dict(zip(self.cache_names, cache, strict=True))
        _, new = self.model.extend(tokens, position, named, label)
        return tuple(new[name] for name in self.cache_names)


@final
class Step(Program):
    """One sampling step; or a block of s of them, all observed but perhaps the last.

    The next value is drawn by inverse CDF from u at its position; an observed value (>= 0) wins.
    Positions are per row and end at T - 1, where a step repeats itself: same inputs, same value.
    """

    def __init__(self, model: AutoregressiveModel, *, filters: bool) -> None:
        super().__init__(model)
        self.filters = filters

    @property
    def signature(self) -> GraphSignature:
        """offsets (0 .. s - 1), u, observed, label, filters; position, values, log-probs, cache."""
        t = self.model.data.length
        given = [
            _spec("offsets", "int64", "s"),
            _spec("u", "float32", "b", t),
            _spec("observed", "int64", "b", t),
            *self._label(),
        ]
        state = [
            _spec("position", "int64", "b"),
            _spec("values", "int64", "b", t),
            _spec("log_p", "float32", "b", t),
        ]
        if self.filters:
            given += [
                _spec("temperature", "float32", "b"),
                _spec("top_k", "int64", "b"),
                _spec("top_p", "float32", "b"),
                _spec("min_p", "float32", "b"),
            ]
            state.append(_spec("log_q", "float32", "b", t))
        carried = [*state, *self._cache_inputs()]
        updates = [Update.REPLACE] + [Update.APPEND] * (len(state) - 1)
        pairs = [
            Carried(input=spec.name, output=_next(spec).name, update=update)
            for spec, update in zip(state, updates, strict=True)
        ]
        return GraphSignature(
            inputs=(*given, *carried),
            outputs=tuple(_next(spec) for spec in carried),
            carried=(*pairs, *self._cache_pairs()),
        )

    def forward(
        self, offsets: Tensor, u: Tensor, observed: Tensor, *rest: Tensor
    ) -> tuple[Tensor, ...]:
        """Consume the value before each position of the block, draw or take the one at it."""
        label, rest = self._split(rest)
        filters, rest = (Filters(*rest[:4]), rest[4:]) if self.filters else (None, rest)
        position, values, log_p, *cache = rest
        log_q = cache.pop(0) if self.filters else None
        at = position[:, None] + offsets
        tokens = values.gather(1, (at - 1).clamp_min(0))
        named = dict(zip(self.cache_names, cache, strict=True))
        logits, new = self.model.extend(tokens, position, named, label)
        u, forced = u.gather(1, at), observed.gather(1, at)
        shifted, w = categorical.unnormalised(logits)
        if filters is None:
            drawn, total = categorical.inverse_cdf(w, u)
        else:
            kept = filtered(shifted, filters)
            drawn, mass = categorical.inverse_cdf(kept.exp(), u)
            total = w.sum(dim=-1)
        value = torch.where(forced >= 0, forced, drawn)
        index = value[..., None]
        log_p = append(log_p, position, (shifted.gather(-1, index)[..., 0] - total.log()).float())
        state = [append(values, position, value), log_p]
        if log_q is not None:
            drawn_q = kept.gather(-1, index)[..., 0] - mass.log()
            state.append(append(log_q, position, torch.where(forced >= 0, 0.0, drawn_q).float()))
        following = (position + at.shape[1]).clamp_max(self.model.data.length - 1)
        return following, *state, *(new[name] for name in self.cache_names)


def build(name: GraphName, model: AutoregressiveModel) -> Program:
    """The program of that name over a model."""
    match name:
        case "log_prob" | "logits":
            return Parallel(model, (name,))
        case "redraw":
            return Parallel(model, ("values",))
        case "prefill":
            return Prefill(model)
        case "step":
            return Step(model, filters=False)
        case "step_filtered":
            return Step(model, filters=True)


def _spec(name: str, dtype: Dtype, *axes: str | int) -> TensorSpec:
    return TensorSpec(name=name, dtype=dtype, axes=axes)


def _next(spec: TensorSpec) -> TensorSpec:
    return _spec(f"{spec.name}_next", spec.dtype, *spec.axes)
