"""Recipes for two CPU cores: at most a quarter of an hour each, with the test part evaluated."""

from ancestral.train.config import ElboConfig, TrainingConfig
from ancestral.train.models.pixelcnn import PixelCNNConfig
from ancestral.train.models.transformer_config import TransformerConfig
from ancestral.train.models.vae import VAEConfig
from ancestral.train.recipe import Recipe

IMAGES_28_SMALL = Recipe(
    name="images-28-small",
    source="idx",
    model=TransformerConfig(
        width=64,
        layers=3,
        heads=2,
        above=True,
        dropout=0.1,
        attention_dropout=0.0,
        smoothness=2.0,
    ),
    training=TrainingConfig(
        steps=1000, batch_size=16, average_decay=0.99, evaluate_every=200, patience=3
    ),
)
"""MNIST and its like: 784 positions, so that most of a step is attention."""

IMAGES_28_SMALL_PIXELCNN = Recipe(
    name="images-28-small-pixelcnn",
    source="idx",
    model=PixelCNNConfig(width=32, layers=5, first_kernel=7, hidden=64, dropout=0.1),
    training=TrainingConfig(
        steps=2500, batch_size=16, average_decay=0.995, evaluate_every=250, patience=4
    ),
)

IMAGES_28_SMALL_VAE = Recipe(
    name="images-28-small-vae",
    source="idx",
    model=VAEConfig(
        body="conv",
        widths=(16, 32, 64),
        latent=24,
        dropout=0.1,
        likelihood="logistic_mixture",
    ),
    training=TrainingConfig(
        steps=2000,
        average_decay=0.995,
        evaluate_every=250,
        patience=4,
        elbo=ElboConfig(samples=2, warmup=300),
    ),
)
"""Convolutions at three scales, trained on the importance-weighted bound of 2 samples."""

TEXT_SMALL = Recipe(
    name="text-small",
    source="text",
    model=TransformerConfig(
        width=128,
        layers=4,
        heads=4,
        positions="rotary",
        norm="rms",
        activation="swiglu",
        hidden=352,
        bias=False,
        dropout=0.1,
        attention_dropout=0.0,
    ),
    training=TrainingConfig(
        steps=1500, batch_size=16, average_decay=0.99, evaluate_every=150, patience=4
    ),
)
"""Bytes of a text in windows."""

SMALL_RECIPES = (
    IMAGES_28_SMALL,
    IMAGES_28_SMALL_PIXELCNN,
    IMAGES_28_SMALL_VAE,
    TEXT_SMALL,
)
