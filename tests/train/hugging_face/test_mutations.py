"""Each mistake that a reader of folders could make moves log p by 20 tolerances or more.

So test_oracle would notice it. The mistakes are in configurations and in the layout of weights.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from ancestral.train.models.transformer import Transformer
from tests.train.hugging_face.conftest import Pair
from tests.train.hugging_face.oracle import LIMIT

Weights = dict[str, Tensor]
TIMES = 20


@dataclass(frozen=True, slots=True)
class Mutation:
    """A model, the changed fields of its configuration, and a change of its weights."""

    model: str
    fields: Mapping[str, Any]
    weights: Callable[[Weights, Transformer], None] | None = None


def each(ending: str, change: Callable[[Tensor, Transformer], Tensor]) -> Any:
    """Return a mutation that changes the weights with this ending of the name."""

    def mutate(weights: Weights, model: Transformer) -> None:
        names = [name for name in weights if name.endswith(ending)]
        assert names
        for name in names:
            weights[name] = change(weights[name].clone(), model)

    return mutate


def dropped(*endings: str) -> Any:
    """Return a mutation that leaves out the weights with these endings of the name."""

    def mutate(weights: Weights, model: Transformer) -> None:
        for name in [name for name in weights if name.endswith(endings)]:
            del weights[name]

    return mutate


def queries(factor: float) -> Any:
    """Return a mutation that multiplies all queries by a factor."""

    def change(qkv: Tensor, model: Transformer) -> Tensor:
        qkv[..., : model.config.heads * model.config.head_size] *= factor
        return qkv

    return each("qkv.weight", change)


def unscaled(weights: Weights, model: Transformer) -> None:
    """Undo the scaling by layer."""
    width = model.config.width
    for layer in range(model.config.layers):
        for name in ("weight", "bias"):
            qkv = weights[f"blocks.{layer}.qkv.{name}"].clone()
            qkv[..., :width] *= layer + 1
            weights[f"blocks.{layer}.qkv.{name}"] = qkv


def by_heads(qkv: Tensor, model: Transformer) -> Tensor:
    """Lay q, k and v out as GPT-NeoX stores them: one head after the other."""
    c = model.config
    return qkv.unflatten(-1, (3, c.heads, c.head_size)).transpose(-3, -2).flatten(-3)


def query_heads_turned(qkv: Tensor, model: Transformer) -> Tensor:
    """Give query heads to the groups alternately, not in runs."""
    c = model.config
    width = c.heads * c.head_size
    heads = qkv[..., :width].unflatten(-1, (c.group_heads, -1, c.head_size))
    qkv[..., :width] = heads.transpose(-3, -2).flatten(-3)
    return qkv


def swapped(up: Tensor, model: Transformer) -> Tensor:
    """Put the value before the gate."""
    return torch.cat(up.chunk(2, dim=-1)[::-1], dim=-1)


def neighbours(qkv: Tensor, model: Transformer) -> Tensor:
    """Rotate neighbouring features in pairs, not features half a head apart."""
    c = model.config
    turned = (c.heads + c.group_heads) * c.head_size
    heads = qkv[..., :turned].unflatten(-1, (-1, c.head_size // 2, 2))
    qkv[..., :turned] = heads.transpose(-2, -1).flatten(-3)
    return qkv


def norms_swapped(weights: Weights, model: Transformer) -> None:
    """Normalise queries as keys, and keys as queries."""
    for layer in range(model.config.layers):
        q, k = (f"blocks.{layer}.{name}_norm.weight" for name in "qk")
        weights[q], weights[k] = weights[k], weights[q]


LLAMA3 = (8.0, 1.0, 4.0, 16.0)
MUTATIONS: dict[str, Mutation] = {
    "rope base": Mutation("llama", {"rotary_base": 10_500.0}),
    "rope base of a part": Mutation("gpt_neox", {"rotary_base": 10_500.0}),
    "rope pairs": Mutation("llama", {}, each("qkv.weight", neighbours)),
    "wider rotation": Mutation("gpt_neox", {"rotary_width": 8}),
    "narrower rotation": Mutation("gpt_neox", {"rotary_width": 4}),
    "whole rotation": Mutation("gpt_neox-serial", {"rotary_width": None}),
    "linear factor": Mutation("llama-linear", {"rotary_scaling": (3.1,)}),
    "linear off": Mutation("llama-linear", {"rotary_scaling": ()}),
    "llama3 off": Mutation("llama-one-group", {"rotary_scaling": ()}),
    "llama3 linear": Mutation("llama-one-group", {"rotary_scaling": (8.0,)}),
    "llama3 factor": Mutation("llama-one-group", {"rotary_scaling": (7.0, *LLAMA3[1:])}),
    "llama3 low": Mutation("llama-one-group", {"rotary_scaling": (8.0, 1.2, 4.0, 16.0)}),
    "llama3 high": Mutation("llama-one-group", {"rotary_scaling": (8.0, 1.0, 3.8, 16.0)}),
    "llama3 length": Mutation("llama-one-group", {"rotary_scaling": (8.0, 1.0, 4.0, 17.0)}),
    "attention scale": Mutation("llama", {}, queries(1.01)),
    "scale by layer": Mutation("gpt2-scaled", {}, unscaled),
    "window - 1": Mutation("mistral", {"window": 4}),
    "window + 1": Mutation("mistral", {"window": 6}),
    "no window": Mutation("mistral", {"window": None}),
    "window of some - 1": Mutation("qwen3-windows", {"window": 5}),
    "window of some + 1": Mutation("qwen3-windows", {"window": 7}),
    "window of all": Mutation("qwen3-windows", {"windowed": None}),
    "window of others": Mutation("qwen2-windows", {"windowed": (0, 1)}),
    "RMSNorm epsilon": Mutation("qwen3", {"norm_epsilon": 0.011}),
    "LayerNorm epsilon": Mutation("gpt2-scaled", {"norm_epsilon": 0.022}),
    "mean subtracted": Mutation("imagegpt", {"norm": "layer"}),
    "tanh GELU as exact": Mutation("gpt2", {"activation": "gelu"}),
    "exact GELU as tanh": Mutation("gpt_neox", {"activation": "gelu_tanh"}),
    "quick GELU as exact": Mutation("imagegpt", {"activation": "gelu"}),
    "no head norms": Mutation(
        "qwen3", {"head_norms": False}, dropped("q_norm.weight", "k_norm.weight")
    ),
    "head norms without weights": Mutation(
        "qwen3", {}, each("q_norm.weight", lambda weight, _: torch.ones_like(weight))
    ),
    "q and k norms swapped": Mutation("qwen3", {}, norms_swapped),
    "heads fused": Mutation("gpt_neox", {}, each("qkv.weight", by_heads)),
    "biases of heads fused": Mutation("gpt_neox", {}, each("qkv.bias", by_heads)),
    "groups alternate": Mutation("llama", {}, each("qkv.weight", query_heads_turned)),
    "gate and value swapped": Mutation("llama", {}, each("up.weight", swapped)),
    "serial": Mutation("gpt_neox", {"parallel": False}),
    "parallel": Mutation("gpt_neox-serial", {"parallel": True}),
    "no query biases": Mutation(
        "qwen2", {}, each("qkv.bias", lambda bias, _: torch.zeros_like(bias))
    ),
    "no output biases": Mutation(
        "llama-one-group", {}, each("out.bias", lambda bias, _: torch.zeros_like(bias))
    ),
    "positions late": Mutation(
        "gpt2", {}, each("position.weight", lambda weight, _: weight.roll(1, 0))
    ),
    "another start": Mutation("llama", {"start": 6}),
}


@pytest.mark.parametrize("name", MUTATIONS)
@torch.no_grad()
def test_a_mutation_shows(pair: Callable[[str], Pair], name: str) -> None:
    mutation = MUTATIONS[name]
    case = pair(mutation.model)
    model = case.loaded.model
    made = Transformer(replace(model.config, **mutation.fields), model.data).eval()
    kept = made.state_dict()
    weights = dict(model.state_dict())
    if mutation.weights is not None:
        mutation.weights(weights, model)
    # The tables of rotary positions follow the configuration.
    tables = {name: kept[name] for name in ("cosine", "sine") if name in kept}
    if mutation.fields.get("norm") == "layer":
        weights = {name: torch.zeros_like(value) for name, value in kept.items()} | weights
    made.load_state_dict(weights | tables)
    moved = (made.position_log_prob(case.x, None) - case.expected).abs().max()
    assert moved >= TIMES * LIMIT, f"moved by {moved:.1e} nats"
