"""Recipes by name, and those for two cores."""

import pytest

from ancestral.dataspec import DataSpec
from ancestral.errors import InvalidInput
from ancestral.train.config import Recipe
from ancestral.train.models.configuration import LatentConfig
from ancestral.train.models.families import build_model
from ancestral.train.recipes import RECIPES, SMALL_RECIPES, for_two_cores, recipe


def test_each_name_is_of_one_recipe() -> None:
    names = [each.name for each in RECIPES]
    assert len(set(names)) == len(names)
    assert all(recipe(name).name == name for name in names)
    assert recipe("images-28-small", "pixelcnn").name == "images-28-small-pixelcnn"
    with pytest.raises(InvalidInput, match="expected one of"):
        recipe("images-28-small", "gru")


@pytest.mark.parametrize("small", SMALL_RECIPES, ids=lambda each: each.name)
def test_a_recipe_for_two_cores_takes_the_data_that_it_is_for(small: Recipe) -> None:
    if small.source == "text":
        data = [DataSpec(name="text", event_shape=(256,), levels=256, tokenizer="bytes")]
    else:
        classes = None if isinstance(small.model, LatentConfig) else 10
        data = [
            DataSpec(name="images", event_shape=(28, 28), levels=levels, num_classes=classes)
            for levels in (17, 256)
        ]
    for spec in data:
        count = sum(each.numel() for each in build_model(small.model, spec).parameters())
        assert 10**5 < count < 10**6


def test_recipes_for_a_gpu_have_one_for_two_cores() -> None:
    assert for_two_cores("images-28") == "images-28-small"
    assert for_two_cores("images-28-vae") == "images-28-small-vae"
    assert for_two_cores("images-28-gru") == "images-28-small"
    assert for_two_cores("text") == for_two_cores("text-lstm") == "text-small"
    ours = ("digits", "tiny-vae", "text-table", *(each.name for each in SMALL_RECIPES))
    assert [for_two_cores(name) for name in ours] == [None] * len(ours)
