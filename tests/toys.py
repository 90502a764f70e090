"""Tiny models, initialised wide: attention and next-value distributions are far from uniform.

A fault in a mask, a shift or a scale changes little if everything is near uniform, so weights as
small as training leaves them would hide the faults that the laws have to find.
"""

import numpy as np
import torch
from torch import nn

from ancestral.dataspec import DataSpec
from ancestral.train.models.autoregressive import AutoregressiveModel
from ancestral.train.models.configuration import ModelConfig
from ancestral.train.models.families import build_model
from ancestral.train.models.graphs import GraphName
from ancestral.train.models.pixelcnn import PixelCNNConfig
from ancestral.train.models.recurrent import RecurrentConfig
from ancestral.train.models.table import Table, TableConfig
from ancestral.train.models.transformer import Transformer
from ancestral.train.models.transformer_config import TransformerConfig
from ancestral.train.models.wavenet import WaveNetConfig

TOYS = (
    "tiny",
    "llama",
    "startless",
    "gru",
    "lstm",
    "wavenet",
    "pixelcnn",
    "channels",
    "table",
)
"""tiny: images with an upper neighbour and labels. llama: the parts of Llama and its relatives (a
window in one layer, normalised heads, parallel parts, some features rotary), and a start token.
startless: no start symbol. lstm: p(x) as well as p(x | y). channels: two channels per pixel, and a
logistic mixture. wavenet: columns first. table: a random ordering.

Their event spaces can be enumerated: 2 x 3^9 events at most.
"""
SECOND = ("channels", "colours")
"""Toys whose export is slow, and whose family and graphs another toy has; their tests are slow.

The other toy is pixelcnn for channels, and convolved for colours, which has latents.
"""
BACKENDS = ("torch", "onnxruntime")
LOCAL = {"wavenet", "pixelcnn", "channels", "table"}
"""Toys that see only a part of the past."""

_COMMON: tuple[GraphName, ...] = ("log_prob", "logits", "redraw", "top_log_prob", "step")
GRAPHS: dict[str, tuple[GraphName, ...]] = dict.fromkeys(TOYS, _COMMON) | {
    "tiny": (*_COMMON, "prefill", "step_filtered", "step_full"),
    "startless": (*_COMMON, "prefill"),
    "gru": (*_COMMON, "prefill", "step_filtered", "step_full"),
}


def make(name: str) -> AutoregressiveModel:
    """Return a toy by name, always with the same weights."""
    data = _data(name)
    torch.manual_seed(7)
    if name == "table":
        table = Table(TableConfig(neighbours=((0, -1), (-1, 0), (0, 1)), per_position=True), data)
        x = np.random.default_rng(0).integers(0, data.levels, (40, data.length))
        table.smooth(table.counts(x * x // 2, None), (0.5,) * 4)
        return table.eval()
    return widen(build_model(_config(name), data)).eval()


def _data(name: str) -> DataSpec:
    images = {"event_shape": (3, 3), "levels": 3}
    sequences = {"event_shape": (6,), "levels": 4}
    match name:
        case "tiny" | "pixelcnn" | "lstm":
            return DataSpec(name=name, **images, num_classes=2)
        case "table":
            return DataSpec(name=name, **images, ordering="random:3")
        case "wavenet":
            return DataSpec(name=name, **images, ordering="column")
        case "channels":
            return DataSpec(name=name, event_shape=(2, 2, 2), levels=3)
        case _:
            return DataSpec(name=name, **sequences)


def _config(name: str) -> ModelConfig:
    match name:
        case "tiny":
            return TransformerConfig(width=16, layers=2, heads=2, hidden=24, above=True)
        case "llama":
            return TransformerConfig(
                width=24,
                layers=2,
                heads=4,
                kv_heads=2,
                head_width=8,
                hidden=20,
                positions="rotary",
                rotary_width=6,
                rotary_scaling=(4.0, 0.2, 1.0, 6.0),
                window=3,
                windowed=(0,),
                norm="rms",
                norm_epsilon=1e-5,
                activation="swiglu",
                bias=("qkv",),
                head_norms=True,
                parallel=True,
                tied=True,
                start=2,
            )
        case "startless":
            return TransformerConfig(
                width=16, layers=1, heads=2, start=None, activation="gelu_tanh"
            )
        case "gru":
            return RecurrentConfig(width=12, layers=2)
        case "lstm":
            return RecurrentConfig(width=10, layers=1, cell="lstm", above=True, label_optional=True)
        case "wavenet":
            return WaveNetConfig(width=10, dilations=(1, 2, 1), skip=12, above=True)
        case "pixelcnn":
            return PixelCNNConfig(width=8, layers=2, first_kernel=3, hidden=12)
        case "channels":
            return PixelCNNConfig(
                width=8,
                layers=1,
                first_kernel=3,
                hidden=12,
                likelihood="logistic_mixture",
                components=2,
            )
        case _:
            raise ValueError(f"toy: expected one of {TOYS}, got {name!r}")


def transformer(name: str) -> Transformer:
    """Return a toy that is a Transformer, by name."""
    model = make(name)
    assert isinstance(model, Transformer)
    return model


@torch.no_grad()
def widen(model: AutoregressiveModel) -> AutoregressiveModel:
    """Enlarge the weights, and move norms away from one and biases away from zero."""
    for module in model.modules():
        if isinstance(module, nn.Embedding):
            module.weight.mul_(module.embedding_dim**0.5)
    for name, parameter in model.named_parameters():
        if name.endswith(("norm.weight", "bias")):
            parameter.add_(0.3 * torch.randn_like(parameter))
        elif "qkv" in name or name.endswith((".w", ".r")):
            parameter.mul_(2.0)
        elif ".out." in name or ".down." in name or "gates" in name:
            parameter.mul_(1.5)
    if isinstance(model, Transformer) and model.config.tied:
        model.norm.weight.mul_(0.5)
    elif model.head is not None:
        model.head.weight.mul_(1.3)
    return model
