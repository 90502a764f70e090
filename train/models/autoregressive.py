"""The contract of an autoregressive model: p(x | y) = prod_t p(x_t | x_<t, y)."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import final

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from ancestral.dataspec import DataSpec
from ancestral.signature import CacheEntry
from ancestral.train.likelihoods.categorical import Categorical
from ancestral.train.likelihoods.likelihood import Likelihood

Cache = Mapping[str, Tensor]
Events = Int64[Tensor, "b t"]
"""Values of whole events, or of their first t positions."""
Tokens = Int64[Tensor, "b s"]
"""Values that are consumed."""
Positions = Int64[Tensor, " b"]
"""A position of each row."""
Label = Int64[Tensor, " b"] | None
"""A class of each row, where the model is one of p(x | y)."""
Extended = tuple[Float[Tensor, "b s p"], dict[str, Tensor]]
"""Parameters of the likelihood at the positions of a block, and the new cache."""
Features = Float[Tensor, "b s d"]
"""Features at each position of a block."""


class AutoregressiveModel(nn.Module, ABC):
    """A distribution over events of discrete values, one conditional at a time.

    Subclasses are final and give `predict` (parallel), `extend` (cached) and `cache_spec`. All
    state is an argument and a return value. Positions are those of the data's ordering.

    Attributes:
        data: the space of events; its length is the number of positions T.
        first_position: 0 where the model has a start symbol; 1 where it has none, and then x_0
            must be observed and contributes log-prob 0 by definition.
        label_optional: whether the label num_classes stands for "no label": p(x) itself.
        takes_blocks: whether `extend` takes s > 1; else a prefix is consumed step by step.
        takes_prefixes: whether `predict` takes t < T; else whole events alone.
    """

    data: DataSpec
    first_position: int = 0
    label_optional: bool = False
    takes_blocks: bool = True
    takes_prefixes: bool = True

    @property
    def likelihood(self) -> Likelihood:
        """p(x_t | what the network predicts for position t)."""
        return Categorical(self.data.levels)

    @property
    @abstractmethod
    def cache_spec(self) -> tuple[CacheEntry, ...]:
        """Everything that is carried from step to step."""

    @abstractmethod
    def predict(self, x: Events, label: Label) -> Float[Tensor, "b t p"]:
        """Parameters of all conditionals: [:, i] is for p(x_i | x_<i), the shift is inside.

        For the categorical likelihood they are logits. Where first_position is 1, [:, 0] is zero
        and means nothing.
        """

    @abstractmethod
    def extend(self, tokens: Tokens, position: Positions, cache: Cache, label: Label) -> Extended:
        """Consume x_(p-1) .. x_(p+s-2) at position p of each row; [:, i] is for p(x_(p+i) | ..).

        At position 0 the first consumed is the start symbol, whatever tokens[:, 0] holds.
        """

    @final
    def logits(self, x: Events, label: Label) -> Float[Tensor, "b t v"]:
        """Log-probabilities of all levels at each position, up to a constant."""
        return self.likelihood.logits(self.predict(x, label))

    @final
    def position_log_prob(self, x: Events, label: Label) -> Float[Tensor, "b t"]:
        """log p(x_t | x_<t, y) of each position, in nats."""
        return self.log_prob_given(self.predict(x, label), x)

    @final
    def log_prob_given(self, parameters: Float[Tensor, "b t p"], x: Events) -> Float[Tensor, "b t"]:
        """log p(x_t | x_<t) from parameters that were predicted before, in nats."""
        log_prob = self.likelihood.log_prob(parameters, x)
        if self.first_position == 0:
            return log_prob
        # By `where`: a slice of t - 1 positions would bind an exported graph to t > 2.
        return torch.where(torch.arange(x.shape[1], device=x.device) == 0, 0.0, log_prob)

    @final
    def log_prob(self, x: Events, label: Label) -> Float[Tensor, " b"]:
        """log p(x | y) in nats, summed over the event."""
        return self.position_log_prob(x, label).sum(dim=1)

    @final
    def initial_cache(self, b: int) -> dict[str, Tensor]:
        """The cache of b rows before the first step, in the model's dtype and on its device."""
        like, cache = next(self.parameters()), {}
        for entry in self.cache_spec:
            dtype = like.dtype if entry.dtype == "float32" else getattr(torch, entry.dtype)
            shape = entry.shape({"b": b})
            cache[entry.name] = torch.full(shape, entry.initial, dtype=dtype, device=like.device)
        return cache
