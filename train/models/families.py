"""The model families by name: how a manifest, a checkpoint or a recipe finds its class again.

A family is a file with a configuration and a model, and its line in `FAMILIES`.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, is_dataclass
from typing import Any, NamedTuple, overload

from pydantic import TypeAdapter, ValidationError

from ancestral.arrays import shown
from ancestral.dataspec import DataSpec
from ancestral.errors import InvalidInput
from ancestral.train.models.autoencoder_kl import AutoencoderKL
from ancestral.train.models.autoencoder_kl_config import AutoencoderKLConfig
from ancestral.train.models.autoregressive import AutoregressiveModel
from ancestral.train.models.configuration import (
    AutoregressiveConfig,
    LatentConfig,
    ModelConfig,
    refusal,
)
from ancestral.train.models.latent_variable import LatentVariableModel
from ancestral.train.models.pixelcnn import PixelCNN, PixelCNNConfig
from ancestral.train.models.recurrent import Recurrent, RecurrentConfig
from ancestral.train.models.table import Table, TableConfig
from ancestral.train.models.transformer import Transformer
from ancestral.train.models.transformer_config import TransformerConfig
from ancestral.train.models.vae import VAE, VAEConfig
from ancestral.train.models.vqvae import VQVAE, VQVAEConfig
from ancestral.train.models.wavenet import WaveNet, WaveNetConfig

Model = AutoregressiveModel | LatentVariableModel


class Family(NamedTuple):
    """A configuration and the model that is built of it and of a space of events."""

    config: type[ModelConfig]
    model: Callable[[Any, DataSpec], Model]


FAMILIES = {
    "transformer": Family(TransformerConfig, Transformer),
    "recurrent": Family(RecurrentConfig, Recurrent),
    "wavenet": Family(WaveNetConfig, WaveNet),
    "pixelcnn": Family(PixelCNNConfig, PixelCNN),
    "table": Family(TableConfig, Table),
    "vae": Family(VAEConfig, VAE),
    "vqvae": Family(VQVAEConfig, VQVAE),
    "autoencoder_kl": Family(AutoencoderKLConfig, AutoencoderKL),
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
