"""The model of a bundle in PyTorch, built again."""

from typing import TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_model
from torch import nn

from ancestral.bundles.bundle import Bundle
from ancestral.errors import BundleError, CheckpointError, InvalidInput
from ancestral.excerpts import cut
from ancestral.train.hugging_face.safetensors_file import SafetensorsFile
from ancestral.train.models.families import Model, config_from_json
from ancestral.train.skeleton import check_weights, skeleton

M = TypeVar("M", bound=nn.Module)


def bundled_model(bundle: Bundle) -> Model:
    """The model that a bundle describes, with its weights, in float32, in evaluation mode.

    The header of the weights is compared with the configuration before the model is built.

    Raises:
        BundleError: a family of a user's own, a configuration that this version does not have, or
            weights that do not fit it.
    """
    component = bundle.manifest.components["model"]
    with bundle.reading(bundle.manifest.weights):
        try:
            file = SafetensorsFile(bundle.weights_file)
            config = config_from_json(component.family, component.config)
            model = skeleton(config, bundle.manifest.data, file.headers)
            check_weights(model, file.headers, narrow=True)
            state = {}
            for name in file.headers:
                stored = file.read(name)
                # Copies: what is only mapped would change with the file.
                kind = torch.float32 if stored.is_floating_point() else stored.dtype
                state[name] = stored.to(kind, copy=True)
            model.load_state_dict(state, assign=True)
        except (InvalidInput, CheckpointError, RuntimeError) as error:
            raise BundleError(
                f"{bundle.path}: the weights do not fit the model: {error}"
            ) from error
    return model


def read_weights(model: M, bundle: Bundle) -> M:
    """A user's own model with the bundle's weights, in float32, whatever type they have there.

    Raises:
        BundleError: they do not fit the model.
    """
    try:
        # A tensor that the model shares under two names stands in the file once.
        with bundle.reading(bundle.manifest.weights):
            load_model(model, bundle.weights_file)
    except (RuntimeError, SafetensorError, OSError) as error:
        raise BundleError(
            f"{bundle.path}: the weights do not fit the model: {cut(str(error), 1000)}"
        ) from error
    return model.float()
