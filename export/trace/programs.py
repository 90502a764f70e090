"""The programs of a bundle's model in PyTorch: whole, as they were traced, and run."""

from collections.abc import Mapping
from typing import Any, cast

import ml_dtypes
import numpy as np
import torch
from torch import Tensor

from ancestral.bundles.bundle import Bundle
from ancestral.errors import InvalidInput
from ancestral.export.trace.graph import Array
from ancestral.latent_tensors import LatentGraphName
from ancestral.signature import TensorSpec
from ancestral.step_tensors import LOG_PROB, LOGITS, REDRAWN
from ancestral.train.bundled import bundled_model
from ancestral.train.models.autoregressive import AutoregressiveModel
from ancestral.train.models.families import FAMILIES, Model
from ancestral.train.models.graphs import PARALLEL, GraphName, Parallel, build
from ancestral.train.models.latent_graphs import Every, build_latent, latent_graphs_of
from ancestral.train.models.program import Program


def load(bundle: Bundle) -> Model:
    """The model of a bundle with its weights, in float32.

    Raises:
        InvalidInput: it is of a class of the user's own.
        BundleError: the weights do not fit.
    """
    family = bundle.manifest.components["model"].family
    if family not in FAMILIES:
        raise InvalidInput(
            f"{bundle.path}: expected a model of {tuple(FAMILIES)}, which a trace can build anew, "
            f"got {family!r}: give a saved run as --against"
        )
    return bundled_model(bundle)


def program_of(graph: str, model: Model) -> Program:
    """The program of a graph."""
    if isinstance(model, AutoregressiveModel):
        return build(cast(GraphName, graph), model).eval()
    return build_latent(cast(LatentGraphName, graph), model).eval()


def whole_program_of(graph: str, model: Model) -> tuple[Program, str]:
    """The program that was traced for a graph, and what stands before the graph's names in it.

    Graphs that share a pass were cut from one trace, and their values are named after it.
    """
    if not isinstance(model, AutoregressiveModel):
        return Every(model, latent_graphs_of(model)).eval(), f"{graph}."
    if graph in PARALLEL:
        return Parallel(model, (LOG_PROB, LOGITS, REDRAWN)).eval(), ""
    return program_of(graph, model), ""


def run_program(program: Program, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """What a program gives, by the names of its signature."""
    signature = program.signature
    given = [as_given(inputs[spec.name], spec) for spec in signature.inputs]
    with torch.no_grad():
        outputs = program(*given)
    names = [spec.name for spec in signature.outputs]
    return {name: to_array(each) for name, each in zip(names, outputs, strict=True)}


def as_given(array: Array, spec: TensorSpec) -> Tensor:
    """An input of a program: the cache of a 16-bit bundle is float32 there."""
    return to_tensor(array).to(getattr(torch, spec.dtype))


def to_array(value: Any) -> Array:
    """A tensor or a number in NumPy, bfloat16 too."""
    if not isinstance(value, Tensor):
        return np.asarray(value)
    value = value.detach().cpu()
    narrow = value.dtype is torch.bfloat16
    array: Array = (value.float() if narrow else value).numpy()
    return array.astype(ml_dtypes.bfloat16) if narrow else array


def to_tensor(array: Array) -> Tensor:
    """The other way round; nothing is shared."""
    if array.dtype == ml_dtypes.bfloat16:
        return torch.tensor(array.astype(np.float32)).bfloat16()
    return torch.tensor(array)
