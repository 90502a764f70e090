"""Properties of each family: its receptive field, the cost of a step, refused configurations."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from ancestral.dataspec import DataSpec
from ancestral.errors import InvalidInput
from ancestral.train.models.autoregressive import AutoregressiveModel
from ancestral.train.models.families import build_model, config_from_json, family_of, model_config
from ancestral.train.models.pixelcnn import PixelCNN, PixelCNNConfig
from ancestral.train.models.recurrent import RecurrentConfig
from ancestral.train.models.step import Step
from ancestral.train.models.table import Table, TableConfig
from ancestral.train.models.wavenet import WaveNet, WaveNetConfig
from tests.toys import TOYS, make

IMAGES = DataSpec(name="images", event_shape=(5, 7), levels=3)


def seen(model: AutoregressiveModel, position: int) -> set[int]:
    """Return the positions whose values change the prediction at a position."""
    x = torch.randint(model.data.levels, (4, model.data.length), generator=torch.manual_seed(0))
    found = set()
    with torch.no_grad():
        before = model.double().predict(x, None)[:, position]
        for s in range(model.data.length):
            changed = x.clone()
            changed[:, s] = (changed[:, s] + 1) % model.data.levels
            if not torch.equal(model.predict(changed, None)[:, position], before):
                found.add(s)
    return found


def test_no_blind_spot() -> None:
    """A PixelCNN that is deep enough sees exactly the earlier pixels."""
    torch.manual_seed(0)
    model = PixelCNN(PixelCNNConfig(width=8, layers=6, first_kernel=3, hidden=8), IMAGES)
    for position in (0, 3, 6, 7, 17, 24, 34):
        assert seen(model, position) == set(range(position)), position


def test_receptive_field_of_a_wavenet() -> None:
    """A WaveNet sees the last 1 + sum(dilations) of the consumed values."""
    torch.manual_seed(0)
    data = DataSpec(name="s", event_shape=(24,), levels=3)
    model = WaveNet(WaveNetConfig(width=8, dilations=(1, 2, 4, 2), skip=8), data)
    for position in (3, 23):
        assert seen(model, position) == set(range(max(0, position - 10), position))


def matrix_operations(call: Callable[[], object]) -> int:
    """Return the number of multiplications and additions of products and convolutions."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        call()
    return counter.get_total_flops()


@pytest.mark.parametrize("channels", [1, 3])
def test_step_of_a_pixelcnn_costs_one_position(channels: int) -> None:
    """A step takes at most 1.5 times the network's operations per position."""
    data = DataSpec(name="images", event_shape=(12, 12, channels), levels=16)
    model = PixelCNN(PixelCNNConfig(width=16, layers=4, first_kernel=5), data).eval()
    x = torch.zeros(2, data.length, dtype=torch.int64)
    whole = matrix_operations(lambda: model.predict(x, None))
    step = Step(model)
    state = [torch.full((2,), 40), x, *torch.zeros(2, 2, data.length)]
    given = [torch.full((2, data.length), 0.5), x - 1, torch.ones(2)]
    tensors = (*given, *state, *model.initial_cache(2).values())
    once = matrix_operations(lambda: step(*tensors))
    assert once <= 1.5 * whole / data.length


def test_too_narrow_for_a_pixelcnn() -> None:
    """The vertical stack must see less than a row to the right; narrower images are refused."""
    data = DataSpec(name="images", event_shape=(5, 4), levels=3)
    PixelCNN(PixelCNNConfig(width=4, layers=3, first_kernel=3), data)
    with pytest.raises(
        InvalidInput, match=r"fewer than 4 pixels, the width of a row, to the right, got 4"
    ):
        PixelCNN(PixelCNNConfig(width=4, layers=4, first_kernel=3), data)
    with pytest.raises(InvalidInput, match=r"expected images .* in raster order"):
        PixelCNN(PixelCNNConfig(), data.model_copy(update={"ordering": "column"}))


@pytest.mark.parametrize("name", TOYS)
def test_configurations_survive_json(name: str) -> None:
    """A model built from a configuration in a manifest has the same weights."""
    model = make(name)
    again = build_model(config_from_json(family_of(model), model_config(model)), model.data)
    again.load_state_dict(model.state_dict())
    assert type(again) is type(model)


@pytest.mark.parametrize(
    ("family", "values", "message"),
    [
        ("recurrent", {"layers": 0}, "recurrent config: layers: expected a number >= 1, got 0"),
        (
            "wavenet",
            {"dilations": []},
            r"dilations: expected at least 1 item, got \[\]",
        ),
        ("wavenet", {"dilations": [1, 0]}, "dilations: expected a number >= 1, got 0"),
        ("pixelcnn", {"kernel": 4}, "kernel: expected an odd number, got 4"),
        ("pixelcnn", {"dropout": 1.0}, "dropout: expected a number < 1, got 1.0"),
        ("table", {"cells": 0}, "cells: expected a number >= 1, got 0"),
        ("wavenet", {"dilations": [2**20 + 1]}, "dilations: expected a number <= 1048576"),
        ("wavenet", {"depth": 3}, "wavenet config: depth: Unexpected keyword argument, got 3"),
        ("recurrent", {"cell": "rnn"}, "cell: expected 'gru' or 'lstm', got 'rnn'"),
        ("recurrent", {"width": 2.5, "layers": True}, "width: .* got 2.5; layers: .* got True"),
        ("boltzmann", {}, "family: expected one of"),
    ],
)
def test_refused(family: str, values: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        config_from_json(family, values)


def test_label_is_required() -> None:
    for name in ("tiny", "pixelcnn", "lstm"):
        model = make(name)
        with pytest.raises(InvalidInput, match="label"):
            model.predict(torch.zeros(1, model.data.length, dtype=torch.int64), None)


def test_no_label_is_a_label() -> None:
    """If the label is optional, "no label" has a vector of its own."""
    data = DataSpec(name="images", event_shape=(3, 3), levels=3, num_classes=2)
    torch.manual_seed(0)
    model = build_model(RecurrentConfig(width=8, label_optional=True), data)
    x = torch.zeros(3, 9, dtype=torch.int64)
    predicted = model.predict(x, torch.arange(3))
    assert not torch.equal(predicted[0], predicted[2])
    with pytest.raises(
        InvalidInput, match="label_optional: expected False for data without labels"
    ):
        build_model(RecurrentConfig(label_optional=True), IMAGES)


def test_table_is_the_posterior_mean() -> None:
    """A table of position, label and left neighbour has the values computed by hand."""
    data = DataSpec(name="pairs", event_shape=(2,), levels=2, num_classes=2)
    table = Table(TableConfig(neighbours=((-1,),), per_position=True), data)
    x, label = np.array([[0, 1], [0, 1], [1, 0]]), np.array([0, 0, 1])
    table.smooth(table.counts(x, label), (1.0, 2.0, 4.0))
    p = table.predict(torch.tensor([[0, 0]]), torch.tensor([0])).exp()[0]
    at_0 = (2 + 0.5) / 4  # value 0 at position 0, by position only
    at_0 = (2 + 2 * at_0) / 4  # also by label: two events with label 0
    at_0 = (2 + 4 * at_0) / 6  # also by left neighbour: there is none
    assert abs(float(p[0, 0]) - at_0) < 1e-6
    at_1 = (1 + 0.5) / 4
    at_1 = (0 + 2 * at_1) / 4
    at_1 = (0 + 4 * at_1) / 6
    assert abs(float(p[1, 0]) - at_1) < 1e-6


def test_table_without_label() -> None:
    """With optional labels, "no label" is the table that was counted without labels."""
    data = DataSpec(name="x", event_shape=(4,), levels=3, num_classes=2)
    plain = DataSpec(name="x", event_shape=(4,), levels=3)
    config = {"neighbours": ((-1,),)}
    rng = np.random.default_rng(0)
    x, label = rng.integers(0, 3, (30, 4)), rng.integers(0, 2, 30)
    both = Table(TableConfig(**config, label_optional=True), data)
    both.smooth(both.counts(x, label), (1.0, 7.0, 2.0))
    unlabelled = Table(TableConfig(**config), plain)
    unlabelled.smooth(unlabelled.counts(x, None), (1.0, 2.0))
    y = torch.full((30,), 2)
    got = both.predict(torch.from_numpy(x), y)
    assert (got - unlabelled.predict(torch.from_numpy(x), None)).abs().max() < 1e-6
