"""A model whose weights are large enough to be quantised; 4 bits ruin only its head."""

import torch

from ancestral.dataspec import DataSpec
from ancestral.train.models.families import build_model
from ancestral.train.models.graphs import GraphName
from ancestral.train.models.transformer import Transformer
from ancestral.train.models.transformer_config import TransformerConfig

SHARP = "sharp"
"""Name of the toy in the fixture `bundles`."""
SHARP_GRAPHS: tuple[GraphName, ...] = ("log_prob", "logits", "redraw", "step")


@torch.no_grad()
def make_sharp() -> Transformer:
    """Return the toy, always with the same weights.

    Its block adds little to the residual stream, so what 4 bits change in it is small. The head is
    large: 4 bits change the logits by much.
    """
    torch.manual_seed(5)
    data = DataSpec(name=SHARP, event_shape=(6,), levels=64)
    config = TransformerConfig(width=64, layers=1, heads=2, hidden=64)
    model = build_model(config, data)
    assert isinstance(model, Transformer)
    for name, parameter in model.blocks.named_parameters():
        if name.endswith(("out.weight", "down.weight")):
            parameter.mul_(0.02)
    assert model.head is not None
    model.head.weight.mul_(3.0)
    return model.eval()
