"""The model families by name: how a manifest, a checkpoint or a recipe finds its class again."""

import json
from collections.abc import Mapping
from dataclasses import asdict, fields, is_dataclass
from typing import Any, overload

from pydantic import TypeAdapter, ValidationError

from ancestral.arrays import shown
from ancestral.dataspec import DataSpec
from ancestral.errors import InvalidInput
from ancestral.excerpts import cut
from ancestral.train.models.autoencoder_kl import AutoencoderKL, AutoencoderKLConfig
from ancestral.train.models.autoregressive import AutoregressiveModel
from ancestral.train.models.latent_variable import LatentVariableModel
from ancestral.train.models.pixelcnn import PixelCNN, PixelCNNConfig
from ancestral.train.models.recurrent import Recurrent, RecurrentConfig
from ancestral.train.models.table import Table, TableConfig
from ancestral.train.models.transformer import Transformer
from ancestral.train.models.transformer_config import TransformerConfig
from ancestral.train.models.vae import VAE, VAEConfig
from ancestral.train.models.vqvae import VQVAE, VQVAEConfig
from ancestral.train.models.wavenet import WaveNet, WaveNetConfig

AutoregressiveConfig = (
    TransformerConfig | RecurrentConfig | WaveNetConfig | PixelCNNConfig | TableConfig
)
LatentConfig = VAEConfig | VQVAEConfig | AutoencoderKLConfig
ModelConfig = AutoregressiveConfig | LatentConfig
Model = AutoregressiveModel | LatentVariableModel

_CLASSES: Mapping[type[Model], str] = {
    Transformer: "transformer",
    Recurrent: "recurrent",
    WaveNet: "wavenet",
    PixelCNN: "pixelcnn",
    Table: "table",
    VAE: "vae",
    VQVAE: "vqvae",
    AutoencoderKL: "autoencoder_kl",
}
FAMILIES = tuple(_CLASSES.values())
LARGEST = 2**31 - 1
"""Whole numbers of a configuration are at most so large: products of two of them fit in 64 bits."""
_LONGEST_REASON = 400


@overload
def build_model(config: AutoregressiveConfig, data: DataSpec) -> AutoregressiveModel: ...
@overload
def build_model(config: LatentConfig, data: DataSpec) -> LatentVariableModel: ...
def build_model(config: ModelConfig, data: DataSpec) -> Model:
    """A model with fresh weights, of the family that the configuration is of.

    Raises:
        InvalidInput: configuration and data do not fit together.
    """
    match config:
        case TransformerConfig():
            return Transformer(config, data)
        case RecurrentConfig():
            return Recurrent(config, data)
        case WaveNetConfig():
            return WaveNet(config, data)
        case PixelCNNConfig():
            return PixelCNN(config, data)
        case TableConfig():
            return Table(config, data)
        case VAEConfig():
            return VAE(config, data)
        case VQVAEConfig():
            return VQVAE(config, data)
        case AutoencoderKLConfig():
            return AutoencoderKL(config, data)


def config_from_json(family: str, values: Mapping[str, Any]) -> ModelConfig:
    """The configuration of a manifest or a checkpoint.

    Types are strict: true is not an integer, and "3" is not one either.

    Raises:
        InvalidInput: an unknown family, or a field that is unknown, ill-typed or out of range.
    """
    kind = _config_class(family)
    unknown = sorted(values.keys() - {field.name for field in fields(kind)})
    if unknown:
        raise InvalidInput(
            f"{family} config: expected fields of {kind.__name__}, got unknown ones: "
            f"{shown(unknown)}"
        )
    largest = _largest(list(values.values()))
    if largest > LARGEST:
        raise InvalidInput(
            f"{family} config: expected whole numbers up to {LARGEST}, got {shown(largest)}"
        )
    try:
        # As JSON: strict Python values would have tuples, which JSON has not.
        return TypeAdapter(kind).validate_json(json.dumps(dict(values)), strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        said = f"{where}: {first['msg']}, got {shown(first['input'])}" if where else first["msg"]
        said = said.removeprefix("Value error, ")
        raise InvalidInput(f"{family} config: {cut(said, _LONGEST_REASON)}") from error


def is_house_model(model: Model) -> bool:
    """Whether a model's class is one of these, and not a subclass or one of the user's own."""
    return type(model) in _CLASSES


def family_of(model: Model) -> str:
    """The name of a model's family; of a class that is not one of these, the name of the class."""
    return _CLASSES.get(type(model), type(model).__qualname__)


def model_config(model: Model) -> dict[str, Any]:
    """The configuration of a model as JSON has it: its dataclass `config`, or nothing."""
    config = getattr(model, "config", None)
    if not is_dataclass(config) or isinstance(config, type):
        return {}
    values: dict[str, Any] = json.loads(json.dumps(asdict(config)))
    return values


def _config_class(family: str) -> type[ModelConfig]:
    match family:
        case "transformer":
            return TransformerConfig
        case "recurrent":
            return RecurrentConfig
        case "wavenet":
            return WaveNetConfig
        case "pixelcnn":
            return PixelCNNConfig
        case "table":
            return TableConfig
        case "vae":
            return VAEConfig
        case "vqvae":
            return VQVAEConfig
        case "autoencoder_kl":
            return AutoencoderKLConfig
        case _:
            raise InvalidInput(f"family: expected one of {FAMILIES}, got {shown(family)}")


def _largest(value: Any) -> int:
    """The largest magnitude of the whole numbers in lists of lists; 0 where there are none."""
    if isinstance(value, list):
        return max(map(_largest, value), default=0)
    return abs(value) if isinstance(value, int) else 0
