"""The interface of programs, which are exported, and run by the torch backend.

A program is a module with a signature; its forward takes and returns tensors in that order.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping

from torch import Tensor, nn

from ancestral import step_tensors as names
from ancestral.signature import Carried, GraphSignature, TensorSpec, Update
from ancestral.step_tensors import next_of, tensor
from ancestral.train.models.autoregressive import AutoregressiveModel


class Program(nn.Module, ABC):
    """A function of tensors over a model's weights."""

    model: nn.Module

    @property
    @abstractmethod
    def signature(self) -> GraphSignature:
        """Names, types and axes of the inputs and outputs of forward, in order."""

    @property
    @abstractmethod
    def longest(self) -> Mapping[str, int]:
        """The largest size of each named axis."""


class AutoregressiveProgram(Program):
    """Base class of the programs of an autoregressive model."""

    def __init__(self, model: AutoregressiveModel) -> None:
        super().__init__()
        self.model: AutoregressiveModel = model
        self.has_label = model.data.num_classes is not None
        self.label = (tensor(names.LABEL, "b"),) if self.has_label else ()
        entries = model.cache_spec
        self.cache = tuple(TensorSpec(name=e.name, dtype=e.dtype, axes=e.axes) for e in entries)
        self.cache_names = tuple(entry.name for entry in entries)
        self.cache_pairs = tuple(carried_pair(e, e.update, e.initial) for e in entries)

    @property
    def longest(self) -> Mapping[str, int]:
        """The largest size of each named axis: for events and blocks, the length of the data."""
        return {"b": 2**20, "s": self.model.data.length, "t": self.model.data.length}

    def _split(self, tensors: tuple[Tensor, ...]) -> tuple[Tensor | None, tuple[Tensor, ...]]:
        return (tensors[0], tensors[1:]) if self.has_label else (None, tensors)


def carried_pair(tensor: TensorSpec, update: Update, initial: float = 0.0) -> Carried:
    """Return the pair of an input and the output that replaces it in the next step."""
    output = next_of(tensor).name
    return Carried(input=tensor.name, output=output, update=update, initial=initial)
