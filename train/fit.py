"""Recipes that fit: to the data, without what only images have; to another width or depth."""

from dataclasses import replace

from ancestral.dataspec import DataSpec
from ancestral.errors import InvalidInput
from ancestral.ordering import neighbours
from ancestral.train.config import Recipe
from ancestral.train.models.autoencoder_kl_config import AutoencoderKLConfig
from ancestral.train.models.configuration import ModelConfig
from ancestral.train.models.recurrent import RecurrentConfig
from ancestral.train.models.table import TableConfig
from ancestral.train.models.transformer_config import TransformerConfig
from ancestral.train.models.vae import VAEConfig
from ancestral.train.models.vqvae import VQVAEConfig
from ancestral.train.models.wavenet import WaveNetConfig

LARGEST_WIDTH, MOST_LAYERS, MOST_DILATIONS = 2**14, 512, 20


def fitted(recipe: Recipe, data: DataSpec) -> tuple[Recipe, list[str]]:
    """A recipe with only those of its parts that mean something for these events.

    Sequences have no value above and are not moved by a pixel; a table's neighbours get the number
    of axes of the events, and those that no position has are left out; values of a text are no
    amounts, so that neighbouring ones are not alike and no noise is added to them.

    Args:
        recipe: as it was written.
        data: the space of events.

    Returns:
        The recipe, and for each part that was changed what was done, in a few words.
    """
    model, training, told = recipe.model, recipe.training, []
    match model:
        case TableConfig():
            found = fitted_neighbours(model.neighbours, data)
            if found != model.neighbours:
                model = replace(model, neighbours=found)
                told.append(f"the neighbours are {', '.join(map(str, found)) or 'none'}")
        case TransformerConfig() | RecurrentConfig() | WaveNetConfig():
            if model.above and len(data.event_shape) == 1:
                model = replace(model, above=False)
                told.append("the value above is not read")
    if isinstance(model, TransformerConfig) and model.smoothness and data.tokenizer is not None:
        model = replace(model, smoothness=0.0)
        told.append("fresh embeddings of neighbouring values are not alike")
    if training.shift and len(data.event_shape) != 2:
        training = replace(training, shift=0.0)
        told.append("events are not moved by a pixel")
    if data.tokenizer is not None and training.noise:
        training = replace(training, noise=0.0)
        told.append("no noise is added to what is read")
    return (replace(recipe, model=model, training=training) if told else recipe), told


def fitted_neighbours(
    offsets: tuple[tuple[int, ...], ...], data: DataSpec
) -> tuple[tuple[int, ...], ...]:
    """Displacements with as many axes as the events have, without those that no position has.

    Args:
        offsets: displacements of earlier values, as in the configuration of a table.
        data: the space of events.
    """
    axes = len(data.event_shape)
    same = dict.fromkeys(found for each in offsets if (found := _offset(each, axes)) is not None)
    places = neighbours(data.order, data.event_shape, list(same))
    return tuple(each for n, each in enumerate(same) if (places[:, n] >= 0).any())


def _offset(offset: tuple[int, ...], axes: int) -> tuple[int, ...] | None:
    """A displacement along a number of axes; None where sequences have none like it.

    The last axis of a sequence is that of the columns of an image, whose channels come after it.
    """
    if len(offset) == axes:
        return offset
    if axes == 1:
        return offset[1:2] if offset[0] == 0 and not any(offset[2:]) else None
    if len(offset) == 1:
        offset = (0, *offset)
    return (*offset, *[0] * (axes - len(offset)))[:axes]


def with_width(config: ModelConfig, width: int) -> ModelConfig:
    """The same network with features of another width.

    The width inside a Transformer's feed-forward part stays in proportion. For convolutions the
    width is that of the first scale, for perceptrons that of the first hidden layer; the others
    stay in proportion. Widths after the last layer (skip, hidden) stay as they are.

    Args:
        config: of the network.
        width: of the features at each position.

    Raises:
        InvalidInput: the width is out of range or no multiple of the number of heads, or the family
            has none.
    """
    _check("width", width, LARGEST_WIDTH)
    match config:
        case TransformerConfig():
            return _wide_transformer(config, width)
        case VAEConfig() | VQVAEConfig() if config.widths:
            first = config.widths[0]
            return replace(config, widths=tuple(max(1, w * width // first) for w in config.widths))
        case TableConfig() | AutoencoderKLConfig() | VAEConfig() | VQVAEConfig():
            raise InvalidInput(f"width: {_name(config)} has no width: leave it out")
        case _:
            return replace(config, width=width)


def with_layers(config: ModelConfig, layers: int) -> ModelConfig:
    """The same network with another number of layers.

    The dilations of a WaveNet double from layer to layer: 1, 2, 4 and so on. A perceptron gets so
    many hidden layers, each as wide as its first.

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
                f"layers: {_name(config)} has scales, each of half the height and width, in place "
                f"of layers: leave it out"
            )
        case TableConfig():
            raise InvalidInput(f"layers: {_name(config)} has no layers: leave it out")
        case TransformerConfig():
            return replace(config, layers=layers, windowed=None)
        case _:
            return replace(config, layers=layers)


def _wide_transformer(config: TransformerConfig, width: int) -> TransformerConfig:
    pairs = 2 if config.positions == "rotary" else 1
    if config.head_width is None and width % (pairs * config.heads):
        what = "pairs of features" if pairs == 2 else "features"
        raise InvalidInput(
            f"width: expected a multiple of {pairs * config.heads}, {what} in each of "
            f"{config.heads} attention heads, got {width}"
        )
    hidden = None if config.hidden is None else max(1, config.hidden * width // config.width)
    return replace(config, width=width, hidden=hidden)


def _check(name: str, value: int, most: int, which: str = "") -> None:
    if not 1 <= value <= most:
        raise InvalidInput(f"{name}: expected an integer in 1 .. {most}{which}, got {value}")


def _name(config: ModelConfig) -> str:
    """A family in words."""
    match config:
        case TableConfig():
            return "a table"
        case VAEConfig():
            return "a VAE of convolutions" if config.body == "conv" else "a VAE of linear maps"
        case VQVAEConfig():
            return "a VQ-VAE"
        case _:
            return "this model"
