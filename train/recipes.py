"""Recipes: a model and how it is trained, as constants."""

from dataclasses import replace

from ancestral.errors import InvalidInput
from ancestral.train.config import ElboConfig, TrainingConfig
from ancestral.train.models.pixelcnn import PixelCNNConfig
from ancestral.train.models.recurrent import RecurrentConfig
from ancestral.train.models.table import TableConfig
from ancestral.train.models.transformer_config import TransformerConfig
from ancestral.train.models.vae import VAEConfig
from ancestral.train.models.vqvae import VQVAEConfig
from ancestral.train.models.wavenet import WaveNetConfig
from ancestral.train.recipe import Recipe
from ancestral.train.small_recipes import SMALL_RECIPES

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

_DIGITS_TRANSFORMER = TransformerConfig(
    width=96,
    layers=4,
    heads=4,
    above=True,
    dropout=0.25,
    attention_dropout=0.0,
    smoothness=2.0,
)

DIGITS = Recipe(
    name="digits",
    source="digits",
    model=_DIGITS_TRANSFORMER,
    training=TrainingConfig(
        steps=2200,
        average_decay=0.995,
        noise=0.25,
        noise_levels=3,
        evaluate_every=200,
    ),
)
"""The digits, as good as this model becomes with 1,293 training images."""

_DIGITS_TRAINING = replace(DIGITS.training, steps=1500)

DIGITS_GRU = Recipe(
    name="digits-gru",
    source="digits",
    model=RecurrentConfig(cell="gru", width=160, layers=2, above=True, dropout=0.25),
    training=_DIGITS_TRAINING,
)
DIGITS_LSTM = Recipe(
    name="digits-lstm",
    source="digits",
    model=RecurrentConfig(cell="lstm", width=160, layers=2, above=True, dropout=0.25),
    training=_DIGITS_TRAINING,
)
DIGITS_WAVENET = Recipe(
    name="digits-wavenet",
    source="digits",
    model=WaveNetConfig(
        width=96, skip=128, dilations=(1, 2, 4, 8, 16, 32), above=True, dropout=0.15
    ),
    training=_DIGITS_TRAINING,
)
DIGITS_PIXELCNN = Recipe(
    name="digits-pixelcnn",
    source="digits",
    model=PixelCNNConfig(width=64, layers=5, first_kernel=7, hidden=128, dropout=0.2),
    training=_DIGITS_TRAINING,
)
DIGITS_MIXTURE = Recipe(
    name="digits-mixture",
    source="digits",
    model=replace(_DIGITS_TRANSFORMER, likelihood="logistic_mixture", components=5),
    training=_DIGITS_TRAINING,
)
"""The Transformer of `digits` with a mixture of logistic distributions over the levels."""

DIGITS_TABLE = Recipe(
    name="digits-table",
    source="digits",
    model=TableConfig(neighbours=((-1, 0), (0, -1)), cells=4, per_position=True),
    training=TrainingConfig(steps=1),
)
"""Counts given position, label and the cells of the upper and the left neighbour."""

DIGITS_VAE = Recipe(
    name="digits-vae",
    source="digits",
    model=VAEConfig(
        body="conv", widths=(32, 64), latent=16, dropout=0.15, prior="vamp", prior_components=100
    ),
    training=TrainingConfig(
        steps=2400,
        average_decay=0.995,
        shift=0.4,
        noise=0.15,
        evaluate_every=200,
        elbo=ElboConfig(samples=4, warmup=300),
    ),
)
"""A VampPrior, trained on the importance-weighted bound of 4 samples."""

DIGITS_VQ = Recipe(
    name="digits-vq",
    source="digits",
    model=VQVAEConfig(widths=(32, 64), codes=16, code_width=4, dropout=0.1),
    training=TrainingConfig(
        steps=2000, average_decay=0.99, shift=0.4, noise=0.15, evaluate_every=200
    ),
    prior=Recipe(
        name="digits-vq-prior",
        source="digits",
        model=replace(_DIGITS_TRANSFORMER, dropout=0.3, smoothness=0.0),
        training=replace(_DIGITS_TRAINING, noise=0.1, evaluate_every=100),
    ),
)

DEMO_VAE = Recipe(
    name="demo-vae",
    source="digits",
    model=VAEConfig(body="conv", widths=(24, 48), latent=12, dropout=0.1),
    training=TrainingConfig(
        steps=400, noise=0.1, evaluate_every=100, elbo=ElboConfig(samples=2, warmup=100)
    ),
)
"""A variational autoencoder of the digits in a quarter of a minute."""

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

IMAGES_28_PIXELCNN = Recipe(
    name="images-28-pixelcnn",
    source="idx",
    model=PixelCNNConfig(width=64, layers=7, first_kernel=7, hidden=256, dropout=0.1),
    training=IMAGES_28.training,
)
IMAGES_28_GRU = Recipe(
    name="images-28-gru",
    source="idx",
    model=RecurrentConfig(width=384, layers=2, above=True, dropout=0.1),
    training=IMAGES_28.training,
)
IMAGES_28_LSTM = Recipe(
    name="images-28-lstm",
    source="idx",
    model=RecurrentConfig(cell="lstm", width=384, layers=2, above=True, dropout=0.1),
    training=IMAGES_28.training,
)
IMAGES_28_WAVENET = Recipe(
    name="images-28-wavenet",
    source="idx",
    model=WaveNetConfig(
        width=96, skip=256, dilations=tuple(2**i for i in range(10)), above=True, dropout=0.1
    ),
    training=IMAGES_28.training,
)
IMAGES_28_VAE = Recipe(
    name="images-28-vae",
    source="idx",
    model=VAEConfig(
        body="conv", widths=(32, 64, 128), latent=40, dropout=0.1, likelihood="logistic_mixture"
    ),
    training=replace(IMAGES_28.training, elbo=ElboConfig(samples=8, warmup=5000)),
)
IMAGES_28_VQ = Recipe(
    name="images-28-vq",
    source="idx",
    model=VQVAEConfig(
        widths=(64, 128, 128), codes=512, code_width=64, likelihood="logistic_mixture"
    ),
    training=IMAGES_28.training,
    prior=replace(IMAGES_28, name="images-28-vq-prior"),
)
TEXT_GRU = Recipe(
    name="text-gru",
    source="text",
    model=RecurrentConfig(width=512, layers=2, positions=False, dropout=0.1),
    training=TEXT.training,
)
TEXT_LSTM = Recipe(
    name="text-lstm",
    source="text",
    model=RecurrentConfig(cell="lstm", width=512, layers=2, positions=False, dropout=0.1),
    training=TEXT.training,
)
TEXT_WAVENET = Recipe(
    name="text-wavenet",
    source="text",
    model=WaveNetConfig(
        width=128, skip=256, dilations=tuple(2**i for i in range(9)), positions=False, dropout=0.1
    ),
    training=TEXT.training,
)
TEXT_TABLE = Recipe(
    name="text-table",
    source="text",
    model=TableConfig(neighbours=((-1,), (-2,))),
    training=TrainingConfig(steps=1),
)
"""Counts of byte triples."""

_TINY_TRANSFORMER = TransformerConfig(width=16, layers=1, heads=2, above=True, dropout=0.1)

TINY = Recipe(
    name="tiny",
    source="digits",
    model=_TINY_TRANSFORMER,
    training=TrainingConfig(steps=30, warmup=5, average_decay=0.9, evaluate_every=10),
)
"""A network that learns a little in a second: for tests."""

TINY_GRU = replace(TINY, name="tiny-gru", model=RecurrentConfig(width=16, layers=1, above=True))
TINY_LSTM = replace(TINY, name="tiny-lstm", model=RecurrentConfig(cell="lstm", width=16, layers=1))
TINY_WAVENET = replace(
    TINY, name="tiny-wavenet", model=WaveNetConfig(width=16, skip=16, dilations=(1, 2, 4))
)
TINY_PIXELCNN = replace(
    TINY, name="tiny-pixelcnn", model=PixelCNNConfig(width=8, layers=1, first_kernel=3, hidden=16)
)
TINY_VAE = replace(TINY, name="tiny-vae", model=VAEConfig(widths=(16,), latent=3))
TINY_VQ = replace(
    TINY,
    name="tiny-vq",
    model=VQVAEConfig(widths=(8, 8), codes=8, code_width=4, blocks=0),
    prior=replace(TINY, name="tiny-vq-prior", model=replace(_TINY_TRANSFORMER, above=False)),
)
TINY_TABLE = replace(
    TINY, name="tiny-table", model=TableConfig(neighbours=((0, -1),), per_position=True)
)


RECIPES = (
    DEMO,
    DIGITS,
    DIGITS_GRU,
    DIGITS_LSTM,
    DIGITS_WAVENET,
    DIGITS_PIXELCNN,
    DIGITS_MIXTURE,
    DIGITS_TABLE,
    DIGITS_VAE,
    DIGITS_VQ,
    DEMO_VAE,
    IMAGES_28,
    IMAGES_28_GRU,
    IMAGES_28_LSTM,
    IMAGES_28_WAVENET,
    IMAGES_28_PIXELCNN,
    IMAGES_28_VAE,
    IMAGES_28_VQ,
    TEXT,
    TEXT_GRU,
    TEXT_LSTM,
    TEXT_WAVENET,
    TEXT_TABLE,
    *SMALL_RECIPES,
    TINY,
    TINY_GRU,
    TINY_LSTM,
    TINY_WAVENET,
    TINY_PIXELCNN,
    TINY_TABLE,
    TINY_VAE,
    TINY_VQ,
)
MODELS = ("transformer", "gru", "lstm", "wavenet", "pixelcnn", "mixture", "table", "vae", "vq")


def recipe(name: str, model: str = "transformer") -> Recipe:
    """A recipe, for the Transformer or for another model.

    Args:
        name: of the Transformer's recipe, or the full name of any.
        model: of MODELS.

    Raises:
        InvalidInput: there is none of that name for that model.
    """
    full = name if model == "transformer" else f"{name}-{model}"
    for known in RECIPES:
        if known.name == full:
            return known
    names = [known.name for known in RECIPES]
    raise InvalidInput(f"recipe: expected one of {names}, got {full!r}")


def for_two_cores(name: str) -> str | None:
    """The recipe for two CPU cores in place of one that was made for a GPU.

    Args:
        name: full name of a recipe.

    Returns:
        Its name; None where the recipe was not made for a GPU.
    """
    small = {recipe.name for recipe in SMALL_RECIPES}
    if name in small or name == TEXT_TABLE.name:
        return None
    for family in (IMAGES_28.name, TEXT.name):
        if name == family or name.startswith(f"{family}-"):
            full = f"{family}-small{name.removeprefix(family)}"
            return full if full in small else f"{family}-small"
    return None
