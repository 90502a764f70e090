"""The model families by name: how a manifest, a checkpoint or a recipe finds its class again.

A family is a file, which has a model and its configuration (NameConfig), and a line in `FAMILIES`.
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
    """A configuration and the model that is built of it and of a space of events."""

    config: type[ModelConfig]
    model: Callable[[Any, DataSpec], Model]


def _family(name: str, model: str) -> Family:
    """The family of a file: a model of that name, and its configuration."""
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
    """A model with fresh weights, of the family that the configuration is of.

    Raises:
        InvalidInput: configuration and data do not fit together, or it is of no family.
    """
    for family in FAMILIES.values():
        if type(config) is family.config:
            return family.model(config, data)
    raise InvalidInput(f"config: expected that of one of {tuple(FAMILIES)}, got {shown(config)}")


def config_from_json(family: str, values: Mapping[str, Any]) -> ModelConfig:
    """The configuration of a manifest or a checkpoint.

    Types are strict: true is not an integer, and "3" is not one either.

    Raises:
        InvalidInput: an unknown family, or a field that is unknown, ill-typed or out of range.
    """
    if family not in FAMILIES:
        raise InvalidInput(f"family: expected one of {tuple(FAMILIES)}, got {shown(family)}")
    try:
        # As JSON: strict Python values would have tuples, which JSON has not.
        return TypeAdapter(FAMILIES[family].config).validate_json(json.dumps(dict(values)))
    except ValidationError as error:
        raise refusal(f"{family} config", error) from error


def is_house_model(model: Model) -> bool:
    """Whether a model's class is one of these, and not a subclass or one of the user's own."""
    return any(type(model) is family.model for family in FAMILIES.values())


def family_of(model: Model) -> str:
    """The name of a model's family; of a class that is not one of these, the name of the class."""
    names = (name for name, family in FAMILIES.items() if type(model) is family.model)
    return next(names, type(model).__qualname__)


def model_config(model: Model) -> dict[str, Any]:
    """The configuration of a model as JSON has it: its dataclass `config`, or nothing."""
    config = getattr(model, "config", None)
    if not is_dataclass(config) or isinstance(config, type):
        return {}
    values: dict[str, Any] = json.loads(json.dumps(asdict(config)))
    return values
