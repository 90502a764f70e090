"""Recipes, as constants and by name."""

from dataclasses import replace

from ancestral.errors import InvalidInput
from ancestral.train.config import ElboConfig, Recipe, TrainingConfig
from ancestral.train.models.configuration import ModelConfig
from ancestral.train.models.pixelcnn import PixelCNNConfig
from ancestral.train.models.recurrent import RecurrentConfig
from ancestral.train.models.table import TableConfig
from ancestral.train.models.transformer_config import TransformerConfig
from ancestral.train.models.vae import VAEConfig
from ancestral.train.models.vqvae import VQVAEConfig
from ancestral.train.models.wavenet import WaveNetConfig

_LEVELS = replace(TransformerConfig.pixels(), width=96, dropout=0.25)
"""Transformer for small images whose levels are amounts."""
_BYTES = replace(
    TransformerConfig.llama(), width=128, hidden=352, dropout=0.1, attention_dropout=0.0
)
"""Transformer for text, with the components of Llama."""
_SCALES = VAEConfig(body="conv", widths=(24, 48), latent=12, dropout=0.1)
"""Variational autoencoder for images, with two scales."""
_CONVOLUTIONS = VAEConfig(
    body="conv", widths=(32, 64, 128), latent=40, dropout=0.1, likelihood="logistic_mixture"
)
"""Variational autoencoder for images, with three scales."""
_DOUBLING = tuple(2**i for i in range(10))
"""Dilations of a WaveNet."""
_TINY_TRANSFORMER = TransformerConfig(width=16, layers=1, heads=2, above=True, dropout=0.1)
_LONG = TrainingConfig(
    steps=50_000,
    learning_rate=1e-3,
    warmup=1000,
    average_decay=0.999,
    evaluate_every=1000,
    patience=10,
)
_SHORT = TrainingConfig(steps=400, noise=0.1, evaluate_every=100)
_QUARTER_HOUR = TrainingConfig(
    steps=2500, batch_size=16, average_decay=0.995, evaluate_every=250, patience=4
)
"""Training for two CPU cores."""
_COUNT = TrainingConfig(steps=1)
"""Training of a table, which has a closed form."""


def _variants(base: Recipe, **models: ModelConfig) -> list[Recipe]:
    """Return recipes for other models with the same data and training, named after the base."""
    return [
        replace(base, name=f"{base.name}-{name}", model=model) for name, model in models.items()
    ]


def _over_codes(base: Recipe, model: VQVAEConfig, prior: Recipe) -> Recipe:
    """Return a recipe for a VQ-VAE with the same data and training, and the prior of its codes."""
    name = f"{base.name}-vq"
    return replace(base, name=name, model=model, prior=replace(prior, name=f"{name}-prior"))


DEMO = Recipe("demo", "digits", replace(_LEVELS, dropout=0.1), _SHORT)
"""Transformer on the digits; takes little more than a minute on two CPU cores."""

DEMO_VAE = Recipe(
    "demo-vae", "digits", _SCALES, replace(_SHORT, elbo=ElboConfig(samples=2, warmup=100))
)
"""Variational autoencoder on the digits; takes about 15 seconds on two CPU cores."""

DIGITS = Recipe(
    "digits",
    "digits",
    _LEVELS,
    TrainingConfig(steps=2200, average_decay=0.995, noise=0.25, noise_levels=3, evaluate_every=200),
)
"""Transformer on the digits, tuned for their 1,293 training images."""
_DIGITS_SHORTER = replace(DIGITS, training=replace(DIGITS.training, steps=1500))
_DIGITS_LATENT = TrainingConfig(
    steps=2000, average_decay=0.99, shift=0.4, noise=0.15, evaluate_every=200
)

_DIGITS_VAE = replace(
    _DIGITS_LATENT, steps=2400, average_decay=0.995, elbo=ElboConfig(samples=4, warmup=300)
)

IMAGES_28 = Recipe(
    "images-28", "idx", TransformerConfig(width=128, layers=6, above=True, dropout=0.1), _LONG
)
"""Transformer on MNIST and similar images, for a GPU; not tuned."""

TEXT = Recipe(
    "text",
    "text",
    replace(_BYTES, width=256, layers=6, heads=8, hidden=704, attention_dropout=None),
    replace(_LONG, steps=20_000, warmup=500, evaluate_every=500),
)
"""Transformer on windows of the bytes of a text, for a GPU; not tuned."""

TINY = Recipe(
    "tiny",
    "digits",
    _TINY_TRANSFORMER,
    TrainingConfig(steps=30, warmup=5, average_decay=0.9, evaluate_every=10),
)
"""Transformer that learns a little in a second, for tests."""

SMALL_RECIPES = (
    # With 784 positions, attention takes most of a step.
    Recipe(
        "images-28-small",
        "idx",
        replace(_LEVELS, width=64, layers=3, heads=2, dropout=0.1),
        TrainingConfig(steps=1000, batch_size=16, evaluate_every=200, patience=3),
    ),
    Recipe(
        "images-28-small-pixelcnn",
        "idx",
        PixelCNNConfig(width=32, layers=5, first_kernel=7, hidden=64, dropout=0.1),
        _QUARTER_HOUR,
    ),
    # Trained on the importance-weighted bound of 2 samples.
    Recipe(
        "images-28-small-vae",
        "idx",
        replace(_CONVOLUTIONS, widths=(16, 32, 64), latent=24),
        replace(_QUARTER_HOUR, steps=2000, batch_size=32, elbo=ElboConfig(samples=2, warmup=300)),
    ),
    Recipe(
        "text-small",
        "text",
        _BYTES,
        TrainingConfig(steps=1500, batch_size=16, evaluate_every=150, patience=4),
    ),
)
"""Recipes for two CPU cores: at most 15 minutes each, including evaluation on the test part."""

RECIPES = (
    DEMO,
    DIGITS,
    *_variants(
        _DIGITS_SHORTER,
        gru=RecurrentConfig(cell="gru", width=160, layers=2, above=True, dropout=0.25),
        lstm=RecurrentConfig(cell="lstm", width=160, layers=2, above=True, dropout=0.25),
        wavenet=WaveNetConfig(
            width=96, skip=128, dilations=(1, 2, 4, 8, 16, 32), above=True, dropout=0.15
        ),
        pixelcnn=PixelCNNConfig(width=64, layers=5, first_kernel=7, hidden=128, dropout=0.2),
        mixture=replace(_LEVELS, likelihood="logistic_mixture", components=5),
    ),
    # Counts given position, label, and the cells of the upper and left neighbours.
    *_variants(
        replace(DIGITS, training=_COUNT),
        table=TableConfig(neighbours=((-1, 0), (0, -1)), cells=4, per_position=True),
    ),
    # With a VampPrior, trained on the importance-weighted bound of 4 samples.
    *_variants(
        replace(DIGITS, training=_DIGITS_VAE),
        vae=replace(
            _SCALES, widths=(32, 64), latent=16, dropout=0.15, prior="vamp", prior_components=100
        ),
    ),
    _over_codes(
        replace(DIGITS, training=_DIGITS_LATENT),
        VQVAEConfig(widths=(32, 64), codes=16, code_width=4, dropout=0.1),
        replace(
            DIGITS,
            model=replace(_LEVELS, dropout=0.3, smoothness=0.0),
            training=replace(_DIGITS_SHORTER.training, noise=0.1, evaluate_every=100),
        ),
    ),
    DEMO_VAE,
    IMAGES_28,
    *_variants(
        IMAGES_28,
        gru=RecurrentConfig(width=384, layers=2, above=True, dropout=0.1),
        lstm=RecurrentConfig(cell="lstm", width=384, layers=2, above=True, dropout=0.1),
        wavenet=WaveNetConfig(width=96, skip=256, dilations=_DOUBLING, above=True, dropout=0.1),
        pixelcnn=PixelCNNConfig(width=64, layers=7, first_kernel=7, hidden=256, dropout=0.1),
    ),
    *_variants(
        replace(IMAGES_28, training=replace(_LONG, elbo=ElboConfig(samples=8, warmup=5000))),
        vae=_CONVOLUTIONS,
    ),
    _over_codes(
        IMAGES_28,
        VQVAEConfig(widths=(64, 128, 128), codes=512, code_width=64, likelihood="logistic_mixture"),
        IMAGES_28,
    ),
    TEXT,
    *_variants(
        TEXT,
        gru=RecurrentConfig(width=512, layers=2, positions=False, dropout=0.1),
        lstm=RecurrentConfig(cell="lstm", width=512, layers=2, positions=False, dropout=0.1),
        wavenet=WaveNetConfig(
            width=128, skip=256, dilations=_DOUBLING[:9], positions=False, dropout=0.1
        ),
    ),
    # Counts of byte triples.
    Recipe("text-table", "text", TableConfig(neighbours=((-1,), (-2,))), _COUNT),
    *SMALL_RECIPES,
    TINY,
    *_variants(
        TINY,
        gru=RecurrentConfig(width=16, layers=1, above=True),
        lstm=RecurrentConfig(cell="lstm", width=16, layers=1),
        wavenet=WaveNetConfig(width=16, skip=16, dilations=(1, 2, 4)),
        pixelcnn=PixelCNNConfig(width=8, layers=1, first_kernel=3, hidden=16),
        table=TableConfig(neighbours=((0, -1),), per_position=True),
        vae=VAEConfig(widths=(16,), latent=3),
    ),
    _over_codes(
        TINY,
        VQVAEConfig(widths=(8, 8), codes=8, code_width=4, blocks=0),
        replace(TINY, model=replace(_TINY_TRANSFORMER, above=False)),
    ),
)
MODELS = ("transformer", "gru", "lstm", "wavenet", "pixelcnn", "mixture", "table", "vae", "vq")


def recipe(name: str, model: str = "transformer") -> Recipe:
    """Return a recipe by its full name, or by the name of its Transformer recipe and a model.

    Args:
        name: full name of a recipe, for example "digits-vae", if `model` is "transformer";
            otherwise the first part of the name, for example "digits".
        model: one of MODELS.

    Raises:
        InvalidInput: there is no such recipe.
    """
    full = name if model == "transformer" else f"{name}-{model}"
    recipes = {known.name: known for known in RECIPES}
    if full not in recipes:
        raise InvalidInput(f"recipe: expected one of {list(recipes)}, got {full!r}")
    return recipes[full]


def for_two_cores(name: str) -> str | None:
    """Return the recipe for two CPU cores that replaces one for a GPU; None for other recipes."""
    small = {recipe.name for recipe in SMALL_RECIPES}
    if name in small or name == "text-table":
        return None
    for family in (IMAGES_28.name, TEXT.name):
        if f"{name}-".startswith(f"{family}-"):
            full = f"{family}-small{name.removeprefix(family)}"
            return full if full in small else f"{family}-small"
    return None
