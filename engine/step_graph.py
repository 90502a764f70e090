"""What a step graph can do and what it is given, by its signature."""

from collections.abc import Mapping

import numpy as np

from ancestral import step_tensors as names
from ancestral.bundles.manifest import GraphEntry
from ancestral.engine.session import Array
from ancestral.errors import InvalidInput
from ancestral.sampling import Sampling
from ancestral.signature import GraphSignature, Update


def graph_of(
    sampling: Sampling, graphs: Mapping[str, GraphEntry], logprobs: int = 0
) -> names.StepGraph:
    """Return the name of the step graph for these sampling settings.

    Args:
        sampling: temperature, filters, bias and penalties.
        graphs: graphs of the bundle. A step without temperature draws at temperature 1.
        logprobs: number of most probable values that are asked for.

    Raises:
        InvalidInput: the settings need logits, and the likelihood of the model has none.
    """
    tempered = "step" in graphs and names.takes_temperature(graphs["step"].signature)
    if sampling.adjusted or logprobs:
        if "step" in graphs and not tempered:
            what = "sampling" if sampling.adjusted else "logprobs"
            raise InvalidInput(
                f"{what}: bias, penalties and logprobs need a model with a categorical likelihood; "
                f"leave them out"
            )
        return "step_full"
    plain = sampling.only_temperature if tempered else sampling.unfiltered
    return "step" if plain else "step_filtered"


def wider(graph: names.StepGraph, other: names.StepGraph) -> names.StepGraph:
    """Return the one of two step graphs that draws all that the other one draws."""
    return max(graph, other, key=names.STEP_GRAPHS.index)


def takes_blocks(signature: GraphSignature) -> bool:
    """Return whether a step graph can run several positions in one call."""
    return any(spec.name == names.OFFSETS for spec in signature.inputs)


def rewinds(signature: GraphSignature, t: int) -> bool:
    """Return whether rows may go back after a block: the whole cache is appended to t slots."""
    cache = [pair for pair in signature.carried if pair.input not in names.STATE]
    return takes_blocks(signature) and all(
        pair.update is Update.APPEND and t in signature.input(pair.input).axes for pair in cache
    )


def prefills(signature: GraphSignature, t: int) -> bool:
    """Return whether one row may run a block, and be parked at the end while others step.

    A step of a parked row keeps a state, and writes the last slot, which the row writes again
    before it reads it. In a ring the slot of the last position is also one of an earlier one.
    """
    cache = [pair for pair in signature.carried if pair.input not in names.STATE]
    return takes_blocks(signature) and all(
        pair.update is Update.REPLACE or t in signature.input(pair.input).axes for pair in cache
    )


def labelled(label: Array | None) -> dict[str, Array]:
    """Return the label input of a graph, [b]; an empty dict without classes."""
    return {} if label is None else {names.LABEL: np.ascontiguousarray(label)}


def settings(
    signature: GraphSignature, sampling: Sampling, rows: int, levels: int
) -> dict[str, Array]:
    """Return the settings that a step graph takes, [rows, ..] each, the same for each row."""
    every = sampling.settings(levels)
    taken = [spec for spec in signature.inputs if spec.name in every]
    return {
        spec.name: np.full((rows, *np.shape(every[spec.name])), every[spec.name], spec.host)
        for spec in taken
    }
