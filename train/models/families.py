"""The model families by name, as manifests, checkpoints and recipes refer to them.

A family is a module with a model `Name` and its configuration `NameConfig`, and a line in
`FAMILIES`.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, is_dataclass
from importlib import import_module
from typing import Any, NamedTuple, overload

from pydantic import TypeAdapter, ValidationError

from ancestral.arrays import shown
from ancestral.dataspec import DataSpec
from ancestral.errors import InvalidInput
from ancestral.train.models.autoregressive import AutoregressiveModel
from ancestral.train.models.configuration import (
    AutoregressiveConfig,
    LatentConfig,
    ModelConfig,
    refusal,
)
from ancestral.train.models.latent_variable import LatentVariableModel

Model = AutoregressiveModel | LatentVariableModel


class Family(NamedTuple):
    """The configuration of a family, and the class of its models."""

    config: type[ModelConfig]
    model: Callable[[Any, DataSpec], Model]


def _family(name: str, model: str) -> Family:
    """Import the family of a module: the model of this name, and its configuration."""
    module = import_module(f"{__package__}.{name}")
    return Family(getattr(module, f"{model}Config"), getattr(module, model))


FAMILIES = {
    name: _family(name, model)
    for name, model in {
        "transformer": "Transformer",
        "recurrent": "Recurrent",
        "wavenet": "WaveNet",
        "pixelcnn": "PixelCNN",
        "table": "Table",
        "vae": "VAE",
        "vqvae": "VQVAE",
        "autoencoder_kl": "AutoencoderKL",
    }.items()
}


@overload
def build_model(config: AutoregressiveConfig, data: DataSpec) -> AutoregressiveModel: ...
@overload
def build_model(config: LatentConfig, data: DataSpec) -> LatentVariableModel: ...
@overload
def build_model(config: ModelConfig, data: DataSpec) -> Model: ...
def build_model(config: ModelConfig, data: DataSpec) -> Model:
    """Build a model with fresh weights, of the family of its configuration.

    Args:
        config: configuration of the model.
        data: space of the events.

    Raises:
        InvalidInput: the configuration does not fit the data, or is not of a known family.
    """
    for family in FAMILIES.values():
        if type(config) is family.config:
            return family.model(config, data)
    raise InvalidInput(
        f"config: expected the configuration of one of {list(FAMILIES)}, got {shown(config)}"
    )


def config_from_json(family: str, values: Mapping[str, Any]) -> ModelConfig:
    """Return the configuration that a manifest or a checkpoint stores.

    Types are strict: neither true nor "3" is an integer.

    Raises:
        InvalidInput: the family is unknown, or a field is unknown, of the wrong type or out of
            range.
    """
    if family not in FAMILIES:
        raise InvalidInput(f"family: expected one of {list(FAMILIES)}, got {shown(family)}")
    try:
        # As JSON, because strict validation of Python values needs tuples, which JSON does not
        # have.
        return TypeAdapter(FAMILIES[family].config).validate_json(json.dumps(dict(values)))
    except ValidationError as error:
        raise refusal(f"{family} config", error) from error


def is_house_model(model: Model) -> bool:
    """Return whether a model is of one of these families, not of a subclass or a custom class."""
    return any(type(model) is family.model for family in FAMILIES.values())


def family_of(model: Model) -> str:
    """Return the name of a model's family; for a custom class, the name of the class."""
    names = (name for name, family in FAMILIES.items() if type(model) is family.model)
    return next(names, type(model).__qualname__)


def model_config(model: Model) -> dict[str, Any]:
    """Return the configuration of a model as JSON values; empty if it has no dataclass `config`."""
    config = getattr(model, "config", None)
    if not is_dataclass(config) or isinstance(config, type):
        return {}
    values: dict[str, Any] = json.loads(json.dumps(asdict(config)))
    return values
