"""The interface of an autoregressive model: p(x | y) = prod_t p(x_t | x_<t, y)."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, final

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
"""Values that a block of s positions consumes."""
Positions = Int64[Tensor, " b"]
"""A position for each row."""
Label = Int64[Tensor, " b"] | None
"""A class for each row, for a model of p(x | y); None for a model of p(x)."""
Extended = tuple[Float[Tensor, "b s p"], dict[str, Tensor]]
"""Parameters of the likelihood at the positions of a block, and the new cache."""
Features = Float[Tensor, "b s d"]
"""Features at each position of a block."""


class AutoregressiveModel(nn.Module, ABC):
    """A distribution over events of discrete values, as a product of conditionals.

    Subclasses are final and define `predict` (parallel), `extend` (cached) and `cache_spec`. All
    state is passed as arguments and returned. Positions follow the ordering of the data.

    Attributes:
        data: space of the events; its length is the number of positions T.
        first_position: 0 for a model with a start symbol. 1 for a model without one: x_0 must then
            be observed, and its log-probability is 0 by definition.
        label_optional: whether the label num_classes means "no label", so that p(x) is modelled
            too.
        takes_blocks: whether `extend` accepts s > 1; otherwise a prefix is consumed step by step.
        takes_prefixes: whether `predict` accepts t < T; otherwise only whole events.
    """

    data: DataSpec
    first_position: int = 0
    label_optional: bool = False
    takes_blocks: bool = True
    takes_prefixes: bool = True

    def __init_subclass__(cls, **options: Any) -> None:
        """Let a class that overrides only `extend` use it for the cache of a prefill too."""
        super().__init_subclass__(**options)
        if "extend" in vars(cls) and "extend_cache" not in vars(cls):
            cls.extend_cache = AutoregressiveModel.extend_cache  # type: ignore[method-assign]

    @property
    def likelihood(self) -> Likelihood:
        """p(x_t | parameters), where the network predicts the parameters for position t."""
        return Categorical(self.data.levels)

    @property
    @abstractmethod
    def cache_spec(self) -> tuple[CacheEntry, ...]:
        """The tensors that are carried from step to step."""

    @abstractmethod
    def predict(self, x: Events, label: Label) -> Float[Tensor, "b t p"]:
        """Return the parameters of all conditionals: [:, i] is for p(x_i | x_<i, y).

        For the categorical likelihood the parameters are logits. If first_position is 1, [:, 0] is
        zero and has no meaning.

        Args:
            x: values, [b, t]; the model shifts them itself.
            label: class of each event, [b]; None for data without labels.
        """

    @abstractmethod
    def extend(self, tokens: Tokens, position: Positions, cache: Cache, label: Label) -> Extended:
        """Consume a block at position p of each row; result [:, i] is for p(x_(p+i) | x_<(p+i), y).

        Args:
            tokens: x_(p-1) .. x_(p+s-2), [b, s]. At position 0 the start symbol is consumed instead
                of tokens[:, 0].
            position: position p of each row, [b].
            cache: tensors of `cache_spec`, by name.
            label: class of each event, [b]; None for data without labels.

        Returns:
            The parameters [b, s, p], and the new cache.
        """

    def extend_cache(
        self, tokens: Tokens, position: Positions, cache: Cache, label: Label
    ) -> dict[str, Tensor]:
        """Return the new cache of `extend`; a model may skip what only its predictions need."""
        return self.extend(tokens, position, cache, label)[1]

    @final
    def logits(self, x: Events, label: Label) -> Float[Tensor, "b t v"]:
        """Return the log-probabilities of all levels at each position, up to a constant."""
        return self.likelihood.logits(self.predict(x, label))

    @final
    def position_log_prob(self, x: Events, label: Label) -> Float[Tensor, "b t"]:
        """Return log p(x_t | x_<t, y) of each position, in nats."""
        return self.log_prob_given(self.predict(x, label), x)

    @final
    def log_prob_given(self, parameters: Float[Tensor, "b t p"], x: Events) -> Float[Tensor, "b t"]:
        """Return log p(x_t | x_<t, y) of each position from predicted parameters, in nats."""
        log_prob = self.likelihood.log_prob(parameters, x)
        if self.first_position == 0:
            return log_prob
        # torch.where, because a slice of t - 1 positions would restrict an exported graph to t > 2.
        return torch.where(torch.arange(x.shape[1], device=x.device) == 0, 0.0, log_prob)

    @final
    def log_prob(self, x: Events, label: Label) -> Float[Tensor, " b"]:
        """Return log p(x | y) in nats, summed over the event."""
        return self.position_log_prob(x, label).sum(dim=1)

    @final
    def initial_cache(self, b: int) -> dict[str, Tensor]:
        """Return the cache of b rows before the first step, in the model's dtype, on its device."""
        like, cache = next(self.parameters()), {}
        for entry in self.cache_spec:
            dtype = like.dtype if entry.dtype == "float32" else getattr(torch, entry.dtype)
            shape = entry.shape({"b": b})
            cache[entry.name] = torch.full(shape, entry.initial, dtype=dtype, device=like.device)
        return cache
