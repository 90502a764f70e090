"""Recipes: a model and how it is trained, as constants."""

from dataclasses import dataclass
from typing import Literal

from ancestral.errors import InvalidInput
from ancestral.train.config import TrainingConfig
from ancestral.train.models.families import ModelConfig
from ancestral.train.models.transformer_config import TransformerConfig

Source = Literal["digits", "idx", "npz", "text"]


@dataclass(frozen=True, slots=True)
class Recipe:
    """What is trained, and how.

    Attributes:
        name: for people and for `--recipe`.
        source: the kind of data that it was made for.
        model: shape of the network.
        training: budget and optimisation.
    """

    name: str
    source: Source
    model: ModelConfig
    training: TrainingConfig


DEMO = Recipe(
    name="demo",
    source="digits",
    model=TransformerConfig(
        width=96,
        layers=4,
        heads=4,
        above=True,
        dropout=0.1,
        attention_dropout=0.0,
        smoothness=2.0,
    ),
    training=TrainingConfig(steps=400, noise=0.1, evaluate_every=100),
)
"""The digits in little more than a minute on two CPU cores."""

DIGITS = Recipe(
    name="digits",
    source="digits",
    model=TransformerConfig(
        width=96,
        layers=4,
        heads=4,
        above=True,
        dropout=0.25,
        attention_dropout=0.0,
        smoothness=2.0,
    ),
    training=TrainingConfig(
        steps=2200,
        average_decay=0.995,
        noise=0.25,
        noise_levels=3,
        evaluate_every=200,
    ),
)
"""The digits, as good as this model becomes with 1,293 training images."""

IMAGES_28 = Recipe(
    name="images-28",
    source="idx",
    model=TransformerConfig(width=128, layers=6, heads=4, above=True, dropout=0.1),
    training=TrainingConfig(
        steps=50_000,
        learning_rate=1e-3,
        warmup=1000,
        average_decay=0.999,
        evaluate_every=1000,
        patience=10,
    ),
)
"""MNIST and its like, for a GPU: not tuned."""

TEXT = Recipe(
    name="text",
    source="text",
    model=TransformerConfig(
        width=256,
        layers=6,
        heads=8,
        positions="rotary",
        norm="rms",
        activation="swiglu",
        hidden=704,
        bias=False,
        dropout=0.1,
    ),
    training=TrainingConfig(
        steps=20_000,
        learning_rate=1e-3,
        warmup=500,
        average_decay=0.999,
        evaluate_every=500,
        patience=10,
    ),
)
"""Bytes of a text in windows, for a GPU: not tuned."""

TINY = Recipe(
    name="tiny",
    source="digits",
    model=TransformerConfig(width=16, layers=1, heads=2, above=True, dropout=0.1),
    training=TrainingConfig(steps=30, warmup=5, average_decay=0.9, evaluate_every=10),
)
"""A network that learns a little in a second: for tests."""


def recipe(name: str) -> Recipe:
    """The recipe of that name.

    Raises:
        InvalidInput: there is none.
    """
    for known in (DEMO, DIGITS, IMAGES_28, TEXT, TINY):
        if known.name == name:
            return known
    names = [known.name for known in (DEMO, DIGITS, IMAGES_28, TEXT, TINY)]
    raise InvalidInput(f"recipe: expected one of {names}, got {name!r}")
