"""The programs of a bundle's model with its weights, for the backends that run PyTorch."""

import copy

from ancestral.arrays import shown
from ancestral.bundles.bundle import Bundle
from ancestral.errors import BundleError, InvalidInput
from ancestral.latent_tensors import LATENT_GRAPH_NAMES
from ancestral.signature import GraphSignature
from ancestral.train.models.autoregressive import AutoregressiveModel
from ancestral.train.models.families import FAMILIES, Model, model_config
from ancestral.train.models.graphs import GRAPH_NAMES, build
from ancestral.train.models.latent_graphs import LatentProgram
from ancestral.train.models.latent_variable import LatentVariableModel
from ancestral.train.models.program import Program
from ancestral.train.stored_model import bundled_model, read_weights


def program_of(graph: str, bundle: Bundle, model: Model) -> tuple[Program, GraphSignature]:
    """Return the program of a graph of the bundle over its model, and the bundle's signature.

    Raises:
        BundleError: the bundle has no such graph.
    """
    found = _program(graph, model) if graph in bundle.manifest.graphs else None
    if found is None:
        raise BundleError(
            f"{bundle.path}: no graph {graph!r}, only {sorted(bundle.manifest.graphs)}; "
            f"export the model again with it"
        )
    signature = bundle.manifest.graphs[graph].signature
    expected, got = ([spec.name for spec in each.inputs] for each in (found.signature, signature))
    if got != expected:
        raise BundleError(
            f"{bundle.path}: graph {graph!r}: expected inputs {expected}, got {shown(got)}; "
            f"export the model again"
        )
    return found.eval(), signature


def load_weights(bundle: Bundle, model: Model | None) -> Model:
    """Return the bundle's model, or a copy of the user's, with the bundle's weights, in float32.

    Raises:
        BundleError: the model family is unknown here, or the weights do not fit the model.
        InvalidInput: the user's model is of another kind, or for other events.
    """
    family = bundle.manifest.components["model"].family
    if model is not None:
        _check_own(model, bundle)
        # A copy: the caller may go on to train it, or pass it to another engine.
        return read_weights(copy.deepcopy(model), bundle)
    if family in FAMILIES:
        return bundled_model(bundle)
    raise BundleError(
        f"{bundle.path}: this version of ancestral has no model family {shown(family)}; "
        f"pass the model: Engine.load(..., backend='torch', model=...)"
    )


def _program(graph: str, model: Model) -> Program | None:
    """Return the program of that name; None if the kind of model has none."""
    if isinstance(model, AutoregressiveModel):
        return build(graph, model) if graph in GRAPH_NAMES else None
    return LatentProgram(model, graph) if graph in LATENT_GRAPH_NAMES else None


def _check_own(model: Model, bundle: Bundle) -> None:
    """Check that a user's model matches the bundle.

    Raises:
        InvalidInput: its kind, events, caches or configuration differ.
    """
    manifest = bundle.manifest
    kind = AutoregressiveModel if manifest.latent is None else LatentVariableModel
    if not isinstance(model, kind):
        raise InvalidInput(f"model: expected {kind.__name__}, got {type(model).__name__}")
    first = model.first_position if isinstance(model, AutoregressiveModel) else 0
    pairs: dict[str, tuple[object, object]] = {
        "data": (manifest.data, model.data),
        "first_position": (manifest.first_position, first),
        "config": (manifest.components["model"].config, model_config(model)),
    }
    caches = (
        [entry.name for entry in model.cache_spec] if isinstance(model, AutoregressiveModel) else []
    )
    for name, entry in manifest.graphs.items():
        program = _program(name, model)
        if program is not None:
            signature = program.signature.with_dtype(caches, manifest.dtype)
            pairs[f"signature of {name}"] = (entry.signature, signature)
    for what, (expected, got) in pairs.items():
        if expected != got:
            raise InvalidInput(f"model: expected {what} {expected}, got {got}")
