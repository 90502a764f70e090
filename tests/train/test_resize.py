"""The width and the number of layers are changed in each family that has them."""

import pytest

from ancestral.errors import InvalidInput
from ancestral.train.models.configuration import ModelConfig
from ancestral.train.models.pixelcnn import PixelCNNConfig
from ancestral.train.models.recurrent import RecurrentConfig
from ancestral.train.models.table import TableConfig
from ancestral.train.models.transformer_config import TransformerConfig
from ancestral.train.models.vae import VAEConfig
from ancestral.train.models.vqvae import VQVAEConfig
from ancestral.train.models.wavenet import WaveNetConfig
from ancestral.train.resize import with_layers, with_width


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (TransformerConfig(width=64, hidden=96), TransformerConfig(width=32, hidden=48)),
        (RecurrentConfig(width=64), RecurrentConfig(width=32)),
        (WaveNetConfig(width=64), WaveNetConfig(width=32)),
        (PixelCNNConfig(width=64), PixelCNNConfig(width=32)),
        (VAEConfig(widths=(64, 128)), VAEConfig(widths=(32, 64))),
        (VQVAEConfig(widths=(64, 96)), VQVAEConfig(widths=(32, 48))),
    ],
)
def test_width(before: ModelConfig, after: ModelConfig) -> None:
    assert with_width(before, 32) == after


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (
            TransformerConfig(layers=4, window=2, windowed=(3,)),
            TransformerConfig(layers=3, window=2),
        ),
        (RecurrentConfig(layers=1), RecurrentConfig(layers=3)),
        (WaveNetConfig(dilations=(5,)), WaveNetConfig(dilations=(1, 2, 4))),
        (PixelCNNConfig(layers=7), PixelCNNConfig(layers=3)),
        (VAEConfig(widths=(64,)), VAEConfig(widths=(64, 64, 64))),
    ],
)
def test_layers(before: ModelConfig, after: ModelConfig) -> None:
    assert with_layers(before, 3) == after


@pytest.mark.parametrize(
    ("config", "width", "word"),
    [
        (TransformerConfig(heads=4), 30, r"a multiple of 4 \(4 attention heads of features\)"),
        (
            TransformerConfig(heads=4, positions="rotary"),
            12,
            r"a multiple of 8 \(4 attention heads of pairs of features\)",
        ),
        (RecurrentConfig(), 0, "an integer in 1 .. 16384, got 0"),
        (RecurrentConfig(), 10**9, "an integer in 1 .. 16384"),
        (TableConfig(), 8, "a table has no width"),
        (VAEConfig(widths=()), 8, "a VAE of linear maps has no width"),
    ],
)
def test_width_refuses(config: ModelConfig, width: int, word: str) -> None:
    with pytest.raises(InvalidInput, match=word):
        with_width(config, width)


@pytest.mark.parametrize(
    ("config", "layers", "word"),
    [
        (RecurrentConfig(), 0, "an integer in 1 .. 512, got 0"),
        (WaveNetConfig(), 64, r"1 \.\. 20 for a WaveNet"),
        (TableConfig(), 2, "a table has no layers"),
        (VAEConfig(body="conv"), 2, "a VAE of convolutions has scales"),
        (VQVAEConfig(), 2, "a VQ-VAE has scales"),
    ],
)
def test_layers_refuses(config: ModelConfig, layers: int, word: str) -> None:
    with pytest.raises(InvalidInput, match=word):
        with_layers(config, layers)
