"""Adapt a recipe to data: drop the settings for images if the events are not images."""

from dataclasses import replace

from ancestral.dataspec import DataSpec
from ancestral.ordering import neighbours
from ancestral.train.config import Recipe
from ancestral.train.models.recurrent import RecurrentConfig
from ancestral.train.models.table import TableConfig
from ancestral.train.models.transformer_config import TransformerConfig
from ancestral.train.models.wavenet import WaveNetConfig


def fitted(recipe: Recipe, data: DataSpec) -> tuple[Recipe, list[str]]:
    """Return a recipe with only the settings that make sense for these events.

    In a sequence no value is above another, and nothing is shifted by a pixel. The neighbours of a
    table get as many axes as the events, and a neighbour that lies outside the event at every
    position is dropped. The values of a text are token ids, not amounts: their embeddings start
    independent, and no noise is added to them.

    Args:
        recipe: recipe as written.
        data: space of the events.

    Returns:
        The recipe, and a short note for each setting that was changed.
    """
    model, training, notes = recipe.model, recipe.training, []
    match model:
        case TableConfig():
            found = fitted_neighbours(model.neighbours, data)
            if found != model.neighbours:
                model = replace(model, neighbours=found)
                notes.append(f"the neighbours are {', '.join(map(str, found)) or 'none'}")
        case TransformerConfig() | RecurrentConfig() | WaveNetConfig():
            if model.above and len(data.event_shape) == 1:
                model = replace(model, above=False)
                notes.append("the value above is not read")
    if isinstance(model, TransformerConfig) and model.smoothness and data.tokenizer is not None:
        model = replace(model, smoothness=0.0)
        notes.append("new embeddings of neighbouring values are independent")
    if training.shift and len(data.event_shape) != 2:
        training = replace(training, shift=0.0)
        notes.append("events are not shifted by a pixel")
    if data.tokenizer is not None and training.noise:
        training = replace(training, noise=0.0)
        notes.append("no noise is added to the values read")
    return (replace(recipe, model=model, training=training) if notes else recipe), notes


def fitted_neighbours(
    offsets: tuple[tuple[int, ...], ...], data: DataSpec
) -> tuple[tuple[int, ...], ...]:
    """Return displacements with as many axes as the events; drop those that always lead outside.

    Args:
        offsets: displacements of earlier values, as in `TableConfig.neighbours`.
        data: space of the events.
    """
    axes = len(data.event_shape)
    same = dict.fromkeys(found for each in offsets if (found := _offset(each, axes)) is not None)
    places = neighbours(data.order, data.event_shape, list(same))
    return tuple(each for n, each in enumerate(same) if (places[:, n] >= 0).any())


def _offset(offset: tuple[int, ...], axes: int) -> tuple[int, ...] | None:
    """Return a displacement with the given number of axes; None if a sequence has no match.

    The axis of a sequence corresponds to the columns of an image. Channels come after the columns.
    """
    if len(offset) == axes:
        return offset
    if axes == 1:
        return offset[1:2] if offset[0] == 0 and not any(offset[2:]) else None
    if len(offset) == 1:
        offset = (0, *offset)
    return (*offset, *[0] * (axes - len(offset)))[:axes]
