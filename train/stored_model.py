"""Build models from stored weights, checking the header of the weights first.

A configuration is a few bytes of JSON, but may describe 2^31 layers. The header of the weights is
therefore read first, and building stops as soon as the model has more tensors, or larger ones, than
that header could fill. The check counts the tensors that are made, so it works for every family.
"""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_model
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ancestral.bundles.bundle import Bundle
from ancestral.dataspec import DataSpec
from ancestral.errors import BundleError, CheckpointError, InvalidInput
from ancestral.excerpts import cut, report
from ancestral.train.hugging_face.stored_tensors import DTYPES, FLOATS, Header, differences
from ancestral.train.hugging_face.tensor_files import SafetensorsFile
from ancestral.train.models.configuration import ModelConfig
from ancestral.train.models.families import Model, build_model, config_from_json
from ancestral.train.quantisation.quantise import hollow

_FACTORIES = frozenset({torch.empty, torch.zeros, torch.ones, torch.full, torch.randn})
"""Functions that make the tensors which become parameters; each takes the shape."""
_SPARE_TENSORS, _SPARE_NUMBERS = 64, 2**16
"""Allowance beyond twice the stored size, so that small mismatches are reported by tensor."""
_LONGEST_EVENT = 2**24
"""Event length, in values, that is allowed for weights of any size."""
M = TypeVar("M", bound=nn.Module)


class _Budget(TorchFunctionMode):
    """Limits the number of tensors made within it, and the size of each."""

    def __init__(self, headers: Mapping[str, Header]) -> None:
        super().__init__()
        self.stored = len(headers)
        # A byte of codes may hold two numbers.
        packs = {name: 1 + (header.dtype == "U8") for name, header in headers.items()}
        self.numbers = sum(math.prod(h.shape) * packs[name] for name, h in headers.items())
        self.left = 2 * self.stored + _SPARE_TENSORS

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Collection[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        made = func(*args, **(kwargs or {}))
        if func in _FACTORIES:
            self._count(made)
        return made

    def _count(self, made: Tensor) -> None:
        self.left -= 1
        if self.left < 0:
            raise InvalidInput(
                f"config: expected layers for the {self.stored} tensors of the weights, got far "
                f"more"
            )
        if made.numel() > 2 * self.numbers + _SPARE_NUMBERS:
            raise InvalidInput(
                f"config: expected tensors for the {self.numbers} numbers of the weights, got one "
                f"of shape {list(made.shape)}"
            )


def skeleton(config: ModelConfig, data: DataSpec, headers: Mapping[str, Header]) -> Model:
    """Build a model on the meta device; `load_state_dict(..., assign=True)` then fills it.

    Args:
        config: configuration of the model.
        data: space of the events.
        headers: headers of the stored weights, by name; small differences in shape are allowed.

    Returns:
        The model, in evaluation mode.

    Raises:
        InvalidInput: the configuration does not fit the data, or the model would be far larger than
            the weights.
    """
    budget = _Budget(headers)
    if data.length > max(budget.numbers, _LONGEST_EVENT):
        raise InvalidInput(
            f"events: expected at most {max(budget.numbers, _LONGEST_EVENT)} values for weights of "
            f"{budget.numbers} numbers, got {data.length}"
        )
    try:
        with torch.device("meta"), budget:
            return build_model(config, data).eval()
    except InvalidInput:
        raise
    except (RuntimeError, ValueError) as error:
        raise InvalidInput(
            f"config: expected a configuration from which PyTorch can build a model "
            f"({cut(str(error))})"
        ) from error


def check_weights(model: Model, headers: Mapping[str, Header], *, narrow: bool = False) -> None:
    """Check that stored weights are those of a model: names, shapes and types.

    Args:
        model: model on any device.
        headers: headers of the stored weights, by name.
        narrow: whether floats may be stored in any floating-point type.

    Raises:
        InvalidInput: tensors do not fit; the message lists the first ones and the number of all.
    """
    state: dict[str, Tensor] = dict(model.state_dict())
    shapes = {name: (tuple(tensor.shape),) for name, tensor in state.items()}
    types: dict[str, Collection[str]] = {
        name: FLOATS if narrow and tensor.is_floating_point() else (DTYPES[tensor.dtype],)
        for name, tensor in state.items()
    }
    problems = differences(headers, shapes, types)
    if problems:
        raise InvalidInput(report("weights: expected the tensors of the configuration", problems))


def bundled_model(bundle: Bundle) -> Model:
    """Load the model of a bundle, in float32 and evaluation mode.

    The header of the weights is compared with the configuration before the model is built.

    Raises:
        BundleError: the model is of a custom family, this version cannot read its configuration, or
            the weights do not fit it.
    """
    component = bundle.manifest.components["model"]
    with bundle.reading(bundle.manifest.weights):
        try:
            file = SafetensorsFile(bundle.weights_file)
            config = config_from_json(component.family, component.config)
            model = skeleton(config, bundle.manifest.data, file.headers)
            if bundle.manifest.quantisation is not None:
                hollow(model, bundle.manifest.quantisation)
            check_weights(model, file.headers, narrow=True)
            state = {}
            for name in file.headers:
                stored = file.read(name)
                # Copies: a mapped tensor would change with the file.
                kind = torch.float32 if stored.is_floating_point() else stored.dtype
                state[name] = stored.to(kind, copy=True)
            model.load_state_dict(state, assign=True)
        except (InvalidInput, CheckpointError, RuntimeError) as error:
            raise BundleError(
                f"{bundle.path}: the weights do not fit the model; export the model again: {error}"
            ) from error
    return model


def read_weights(model: M, bundle: Bundle) -> M:
    """Load a bundle's weights into a custom model, converted to float32.

    Raises:
        BundleError: the weights do not fit the model.
    """
    try:
        # A tensor that the model shares under two names is stored once.
        with bundle.reading(bundle.manifest.weights):
            load_model(model, bundle.weights_file)
    except (RuntimeError, SafetensorError, OSError) as error:
        raise BundleError(
            f"{bundle.path}: the weights do not fit the model; pass the model that was exported: "
            f"{cut(str(error), 1000)}"
        ) from error
    return model.float()
