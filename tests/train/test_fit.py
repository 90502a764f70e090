"""Recipes are fitted to their data, or refused with a reason."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from ancestral.dataspec import DataSpec
from ancestral.errors import InvalidInput
from ancestral.train import training
from ancestral.train.config import Recipe
from ancestral.train.data.dataset import Dataset, cut, fractional_split
from ancestral.train.evaluation import fit_table
from ancestral.train.fit import fitted, fitted_neighbours
from ancestral.train.models.configuration import LatentConfig
from ancestral.train.models.table import TableConfig
from ancestral.train.models.transformer_config import TransformerConfig
from ancestral.train.recipes import DEMO, RECIPES, TEXT, recipe
from ancestral.train.state import begin

KINDS = {
    "text": DataSpec(name="text", event_shape=(8,), levels=256, tokenizer="bytes"),
    "sequences": DataSpec(name="sequences", event_shape=(5,), levels=3, num_classes=2),
    "colours": DataSpec(name="colours", event_shape=(4, 4, 3), levels=3),
    "planes": DataSpec(name="planes", event_shape=(3, 4, 4), levels=3),
    "one": DataSpec(name="one", event_shape=(1, 1), levels=3, num_classes=2),
    "row": DataSpec(name="row", event_shape=(1, 6), levels=3),
    "column": DataSpec(name="column", event_shape=(6, 1), levels=3),
}
TINIES = [recipe for recipe in RECIPES if recipe.name.startswith("tiny")]
REFUSED = {
    "tiny-pixelcnn": {"text", "sequences", "one", "column"},
    "tiny-vq": {"text", "sequences", "one", "row", "column"},
}
"""Kinds of data that convolutions cannot take."""


def events(spec: DataSpec) -> Dataset:
    random = np.random.default_rng(0)
    x = random.integers(0, spec.levels, (20, spec.length))
    label = None if spec.num_classes is None else np.arange(20) % spec.num_classes
    return cut(spec, x, label, fractional_split(20))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("recipe", TINIES, ids=lambda recipe: recipe.name)
def test_each_tiny_recipe_learns_from_each_kind_of_data_or_is_refused(
    recipe: Recipe, kind: str
) -> None:
    data = events(KINDS[kind])
    if isinstance(recipe.model, LatentConfig):
        data = data.without_labels()
    chosen, _ = fitted(recipe, data.spec)
    if isinstance(chosen.model, TableConfig):
        small = replace(chosen.model, cells=2)
        assert fit_table(small, data).data == data.spec
        return
    if kind in REFUSED.get(recipe.name, set()):
        with pytest.raises(InvalidInput, match=r"expected|fewer"):
            begin(chosen, data, 0, torch.device("cpu"))
        return
    state = begin(chosen, data, 0, torch.device("cpu"))
    training._step(state, chosen)
    assert np.isfinite(state.loss.item())


def test_settings_for_images_are_left_out_for_text() -> None:
    chosen, notes = fitted(DEMO, KINDS["text"])
    assert isinstance(chosen.model, TransformerConfig)
    assert (chosen.model.above, chosen.model.smoothness, chosen.training.noise) == (False, 0.0, 0.0)
    assert len(notes) == 3
    digits_vae = recipe("digits-vae")
    chosen, notes = fitted(digits_vae, KINDS["sequences"])
    assert (chosen.training.shift, chosen.training.noise) == (0.0, digits_vae.training.noise)
    assert notes == ["events are not shifted by a pixel"]


@pytest.mark.parametrize("name", ["tiny", "demo", "images-28", "digits-vae"])
def test_a_recipe_for_images_is_unchanged_for_images(name: str) -> None:
    spec = DataSpec(name="images", event_shape=(8, 8), levels=17)
    assert fitted(recipe(name), spec) == (recipe(name), [])
    assert fitted(TEXT, KINDS["text"]) == (TEXT, [])
    assert fitted(recipe("text-table"), KINDS["text"]) == (recipe("text-table"), [])


def test_neighbours_have_as_many_axes_as_the_events() -> None:
    offsets = ((-1, 0), (0, -1))
    assert fitted_neighbours(offsets, KINDS["text"]) == ((-1,),)
    assert fitted_neighbours(offsets, KINDS["colours"]) == ((-1, 0, 0), (0, -1, 0))
    assert fitted_neighbours(offsets, KINDS["row"]) == ((0, -1),)
    assert fitted_neighbours(offsets, KINDS["column"]) == ((-1, 0),)
    assert fitted_neighbours(offsets, KINDS["one"]) == ()
    assert fitted_neighbours(((-1,), (-2,)), KINDS["row"]) == ((0, -1), (0, -2))
