"""Tiny models, initialised wide: attention and next-value distributions are far from uniform.

A fault in a mask, a shift or a scale changes little where everything is near uniform, so weights of
the size that training leaves would hide what the laws are there to catch.
"""

import torch
from torch import nn

from ancestral.dataspec import DataSpec
from ancestral.train.models.graphs import GraphName
from ancestral.train.models.transformer import Transformer
from ancestral.train.models.transformer_config import TransformerConfig

TOYS = ("tiny", "llama", "startless")
"""Images with an upper neighbour and labels; Llama's parts with a start token; one without a start.

Their event spaces can be enumerated: 2 x 3^9, 4^6 and 4^6 events.
"""
BACKENDS = ("torch", "onnxruntime")

GRAPHS: dict[str, tuple[GraphName, ...]] = {
    "tiny": ("log_prob", "logits", "redraw", "prefill", "step", "step_filtered"),
    "llama": ("log_prob", "logits", "redraw", "step"),
    "startless": ("log_prob", "logits", "redraw", "prefill", "step"),
}


def make(name: str) -> Transformer:
    """The toy of that name, always with the same weights."""
    match name:
        case "tiny":
            config = TransformerConfig(width=16, layers=2, heads=2, hidden=24, above=True)
            data = DataSpec(name="tiny", event_shape=(3, 3), levels=3, num_classes=2)
        case "llama":
            config = TransformerConfig(
                width=24,
                layers=2,
                heads=4,
                kv_heads=2,
                head_width=8,
                hidden=20,
                positions="rotary",
                norm="rms",
                norm_epsilon=1e-5,
                activation="swiglu",
                bias=False,
                tied=True,
                start=2,
            )
            data = DataSpec(name="llama", event_shape=(6,), levels=4)
        case "startless":
            config = TransformerConfig(
                width=16, layers=1, heads=2, start=None, activation="gelu_tanh"
            )
            data = DataSpec(name="startless", event_shape=(6,), levels=4)
        case _:
            raise ValueError(f"toy: expected one of {TOYS}, got {name!r}")
    torch.manual_seed(7)
    return widen(Transformer(config, data)).eval()


@torch.no_grad()
def widen(model: Transformer) -> Transformer:
    """Larger weights, and norms and biases that differ from one and zero."""
    for module in model.modules():
        if isinstance(module, nn.Embedding):
            module.weight.mul_(module.embedding_dim**0.5)
    for name, parameter in model.named_parameters():
        if name.endswith(("norm.weight", "bias")):
            parameter.add_(0.3 * torch.randn_like(parameter))
        elif "qkv" in name:
            parameter.mul_(2.0)
        elif ".out." in name or ".down." in name:
            parameter.mul_(1.5)
    if model.config.tied:
        model.norm.weight.mul_(0.5)
    elif model.head is not None:
        model.head.weight.mul_(1.3)
    return model
