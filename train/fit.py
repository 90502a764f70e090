"""A recipe that fits its data: what it asks of images is left out where events are none."""

from dataclasses import replace

from ancestral.dataspec import DataSpec
from ancestral.ordering import neighbours
from ancestral.train.config import Recipe
from ancestral.train.models.recurrent import RecurrentConfig
from ancestral.train.models.table import TableConfig
from ancestral.train.models.transformer_config import TransformerConfig
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
