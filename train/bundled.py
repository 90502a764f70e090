"""The model of a bundle in PyTorch, built again."""

from typing import TypeVar

from safetensors import SafetensorError
from safetensors.torch import load_model
from torch import nn

from ancestral.bundle import Bundle
from ancestral.errors import BundleError
from ancestral.train.models.families import Model, build_model, config_from_json

M = TypeVar("M", bound=nn.Module)


def fresh_model(bundle: Bundle) -> Model:
    """A model of the bundle's family and configuration, with fresh weights.

    Raises:
        InvalidInput: a family of a user's own, or a configuration that this version has not.
    """
    component = bundle.manifest.components["model"]
    return build_model(config_from_json(component.family, component.config), bundle.manifest.data)


def read_weights(model: M, bundle: Bundle) -> M:
    """The model with the bundle's weights, in float32, whatever type they have in the bundle.

    Raises:
        BundleError: they do not fit the model.
    """
    try:
        # A tensor that the model shares under two names stands in the file once.
        with bundle.reading(bundle.manifest.weights):
            load_model(model, bundle.weights_file)
    except (RuntimeError, SafetensorError, OSError) as error:
        raise BundleError(f"{bundle.path}: the weights do not fit the model: {error}") from error
    return model.float()
