"""A recipe: a model and how it is trained."""

from dataclasses import dataclass
from typing import Literal

from ancestral.train.config import TrainingConfig
from ancestral.train.models.configuration import ModelConfig

Source = Literal["digits", "idx", "npz", "text"]


@dataclass(frozen=True, slots=True)
class Recipe:
    """What is trained, and how.

    Attributes:
        name: for people and for `--recipe`.
        source: the kind of data that it was made for.
        model: shape of the network.
        training: budget and optimisation.
        prior: of a model over codes: how the autoregressive model of them is trained afterwards.
    """

    name: str
    source: Source
    model: ModelConfig
    training: TrainingConfig
    prior: "Recipe | None" = None
