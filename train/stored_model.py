"""A model built from stored weights: without storage at first, no further than the weights reach.

A configuration is a few bytes of JSON which may ask for 2^31 layers. So the header of the weights
is read first, and a model is refused as soon as it makes more or larger tensors than that header
could fill. Nothing here knows the fields of a family: what is counted are the tensors made.
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

_FACTORIES = frozenset({torch.empty, torch.zeros, torch.ones, torch.full, torch.randn})
"""What makes the tensors that become parameters; each takes its shape."""
_SPARE_TENSORS, _SPARE_NUMBERS = 64, 2**16
"""Beyond twice what the weights hold: a small mistake is then reported tensor by tensor."""
_LONGEST_EVENT = 2**24
"""Values of an event that a model without learned positions may have in any case."""
M = TypeVar("M", bound=nn.Module)


class _Budget(TorchFunctionMode):
    """Within it only so many tensors are made, and none of more than so many numbers."""

    def __init__(self, headers: Mapping[str, Header]) -> None:
        super().__init__()
        self.stored = len(headers)
        self.numbers = sum(math.prod(header.shape) for header in headers.values())
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
                f"the configuration asks for far more layers than the weights are for, which are "
                f"{self.stored} tensors"
            )
        if made.numel() > 2 * self.numbers + _SPARE_NUMBERS:
            raise InvalidInput(
                f"the configuration asks for a tensor of shape {list(made.shape)}, and the weights "
                f"hold {self.numbers} numbers in all"
            )


def skeleton(config: ModelConfig, data: DataSpec, headers: Mapping[str, Header]) -> Model:
    """A model on the meta device, in evaluation mode: `load_state_dict(..., assign=True)` fills it.

    Args:
        config: of the model.
        data: the space of events.
        headers: of the weights, by name; shapes may differ from the model's a little.

    Raises:
        InvalidInput: configuration and data do not fit together, or ask for a model that is far
            larger than the weights.
    """
    budget = _Budget(headers)
    if data.length > max(budget.numbers, _LONGEST_EVENT):
        raise InvalidInput(
            f"expected events of at most {max(budget.numbers, _LONGEST_EVENT)} values beside "
            f"weights of {budget.numbers} numbers, got {data.length}"
        )
    try:
        with torch.device("meta"), budget:
            return build_model(config, data).eval()
    except InvalidInput:
        raise
    except (RuntimeError, ValueError) as error:
        raise InvalidInput(
            f"the configuration asks for what PyTorch refuses: {cut(str(error))}"
        ) from error


def check_weights(model: Model, headers: Mapping[str, Header], *, narrow: bool = False) -> None:
    """Refuse weights that are not those of a model: missing, foreign, of other shapes or types.

    Args:
        model: on any device.
        headers: of the weights, by name.
        narrow: whether floats may be stored in any type of floats.

    Raises:
        InvalidInput: the first tensors that do not fit, and how many there are in all.
    """
    state: dict[str, Tensor] = dict(model.state_dict())
    shapes = {name: (tuple(tensor.shape),) for name, tensor in state.items()}
    types: dict[str, Collection[str]] = {
        name: FLOATS if narrow and tensor.is_floating_point() else (DTYPES[tensor.dtype],)
        for name, tensor in state.items()
    }
    problems = differences(headers, shapes, types)
    if problems:
        raise InvalidInput(report("the tensors are not those of the configuration", problems))


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
        # A tensor that the model shares under two names is in the file once.
        with bundle.reading(bundle.manifest.weights):
            load_model(model, bundle.weights_file)
    except (RuntimeError, SafetensorError, OSError) as error:
        raise BundleError(
            f"{bundle.path}: the weights do not fit the model: {cut(str(error), 1000)}"
        ) from error
    return model.float()
