"""A program: what is exported, and what the torch backend runs."""

from abc import ABC, abstractmethod
from collections.abc import Mapping

from torch import nn

from ancestral.signature import GraphSignature


class Program(nn.Module, ABC):
    """A function of tensors over a model's weights; forward takes and returns them in order."""

    model: nn.Module

    @property
    @abstractmethod
    def signature(self) -> GraphSignature:
        """Names, types and axes of what forward takes and returns, in order."""

    @property
    @abstractmethod
    def longest(self) -> Mapping[str, int]:
        """The largest size of each named axis."""
