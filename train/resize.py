"""Change the width or the number of layers of a model's configuration."""

from dataclasses import replace

from ancestral.errors import InvalidInput
from ancestral.train.models.autoencoder_kl_config import AutoencoderKLConfig
from ancestral.train.models.configuration import ModelConfig
from ancestral.train.models.table import TableConfig
from ancestral.train.models.transformer_config import TransformerConfig
from ancestral.train.models.vae import VAEConfig
from ancestral.train.models.vqvae import VQVAEConfig
from ancestral.train.models.wavenet import WaveNetConfig

LARGEST_WIDTH, MOST_LAYERS, MOST_DILATIONS = 2**14, 512, 20


def with_width(config: ModelConfig, width: int) -> ModelConfig:
    """Return the configuration with another width.

    The inner width of a Transformer's feed-forward part stays in proportion. For convolutions, the
    width is that of the first scale, and for perceptrons that of the first hidden layer; the other
    widths stay in proportion. Widths after the last layer (skip, hidden) do not change.

    Args:
        config: configuration of the network.
        width: number of features at each position.

    Raises:
        InvalidInput: the width is out of range or not a multiple of the number of heads, or the
            family has no width.
    """
    _check("width", width, LARGEST_WIDTH)
    match config:
        case TransformerConfig():
            return _wide_transformer(config, width)
        case VAEConfig() | VQVAEConfig() if config.widths:
            first = config.widths[0]
            return replace(config, widths=tuple(max(1, w * width // first) for w in config.widths))
        case TableConfig() | AutoencoderKLConfig() | VAEConfig() | VQVAEConfig():
            raise InvalidInput(f"width: {_name(config)} has no width; leave it out")
        case _:
            return replace(config, width=width)


def with_layers(config: ModelConfig, layers: int) -> ModelConfig:
    """Return the configuration with another number of layers.

    The dilations of a WaveNet double from layer to layer: 1, 2, 4 and so on. A perceptron gets this
    many hidden layers, all as wide as its first.

    Args:
        config: configuration of the network.
        layers: number of layers.

    Raises:
        InvalidInput: the number is out of range, or the family has no layers to count.
    """
    _check("layers", layers, MOST_LAYERS)
    match config:
        case WaveNetConfig():
            _check("layers", layers, MOST_DILATIONS, " for a WaveNet, whose dilations double")
            return replace(config, dilations=tuple(2**i for i in range(layers)))
        case VAEConfig() if config.body == "mlp" and config.widths:
            return replace(config, widths=config.widths[:1] * layers)
        case VAEConfig() | VQVAEConfig() | AutoencoderKLConfig():
            raise InvalidInput(
                f"layers: {_name(config)} has scales instead of layers, each at half the height "
                f"and width; leave it out"
            )
        case TableConfig():
            raise InvalidInput(f"layers: {_name(config)} has no layers; leave it out")
        case TransformerConfig():
            return replace(config, layers=layers, windowed=None)
        case _:
            return replace(config, layers=layers)


def _wide_transformer(config: TransformerConfig, width: int) -> TransformerConfig:
    pairs = 2 if config.positions == "rotary" else 1
    if config.head_width is None and width % (pairs * config.heads):
        what = "pairs of features" if pairs == 2 else "features"
        raise InvalidInput(
            f"width: expected a multiple of {pairs * config.heads} ({config.heads} attention heads "
            f"of {what}), got {width}"
        )
    hidden = None if config.hidden is None else max(1, config.hidden * width // config.width)
    return replace(config, width=width, hidden=hidden)


def _check(name: str, value: int, most: int, which: str = "") -> None:
    if not 1 <= value <= most:
        raise InvalidInput(f"{name}: expected an integer in 1 .. {most}{which}, got {value}")


def _name(config: ModelConfig) -> str:
    """Return the name of a family, for messages."""
    match config:
        case TableConfig():
            return "a table"
        case VAEConfig():
            return "a VAE of convolutions" if config.body == "conv" else "a VAE of linear maps"
        case VQVAEConfig():
            return "a VQ-VAE"
        case _:
            return "this model"
