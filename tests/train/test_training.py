"""Training learns and stops early; a killed run ends in the same bits as an unbroken one."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from ancestral.dataspec import DataSpec
from ancestral.errors import CheckpointError, InvalidInput, TrainingError
from ancestral.train.checkpoint import load_checkpoint
from ancestral.train.config import TrainingConfig
from ancestral.train.data import load_idx, load_text
from ancestral.train.data.dataset import Dataset, Part, cut, fractional_split
from ancestral.train.evaluation import evaluate, evaluate_model, independent_values
from ancestral.train.models.layers import dropout
from ancestral.train.models.transformer import Transformer
from ancestral.train.models.transformer_config import TransformerConfig
from ancestral.train.optimisation import average_rate, learning_rate, update_average
from ancestral.train.progress import training_bar
from ancestral.train.recipes import DEMO, DIGITS, IMAGES_28, TEXT, TINY, recipe
from ancestral.train.state import Batches, Evaluation, optimiser
from ancestral.train.training import TrainingResult, train

from .states import read_state, write_state
from .test_data import write_mnist


def stripes(n: int = 240) -> Dataset:
    """Return images [4, 4] of two classes: one level for each row, or one for each column."""
    rng = np.random.default_rng(2)
    y = np.arange(n) % 2
    line = rng.integers(0, 3, (n, 4))
    rows = np.repeat(line[:, :, None], 4, axis=2)
    x = np.where(y[:, None, None] == 0, rows, rows.transpose(0, 2, 1))
    spec = DataSpec(name="stripes", event_shape=(4, 4), levels=3, num_classes=2)
    return cut(spec, x.reshape(n, 16), y, fractional_split(n))


SHORT = replace(
    TINY,
    training=TrainingConfig(
        steps=12,
        batch_size=16,
        warmup=2,
        average_decay=0.8,
        evaluate_every=4,
        shift=0.5,
        noise=0.2,
    ),
)


class Killed(Exception):
    pass


def kill_at(step: int):
    def progress(now: int, evaluation: Evaluation | None) -> None:
        if now == step:
            raise Killed

    return progress


@pytest.fixture(scope="module")
def data() -> Dataset:
    return stripes()


@pytest.fixture(scope="module")
def learned(data: Dataset, tmp_path_factory: pytest.TempPathFactory) -> TrainingResult:
    config = TrainingConfig(
        steps=150,
        batch_size=32,
        learning_rate=1e-2,
        warmup=10,
        average_decay=0.9,
        evaluate_every=25,
    )
    tiny = replace(TINY, training=config)
    return train(tiny, data, tmp_path_factory.mktemp("learned"))


def test_training_beats_independent_pixels_by_far(learned: TrainingResult, data: Dataset) -> None:
    prior = data.label_log_prior()
    pixels = evaluate(independent_values(data), data.test, data.spec, prior)
    model = evaluate_model(learned.model, data.test, prior)
    assert pixels.marginal.bits_per_dim > 1.5
    # log2(3) bits for 4 free values of 16.
    assert model.conditional is not None
    assert model.conditional.bits_per_dim < 1.5 * math.log2(3) / 4
    assert model.marginal.bits_per_dim < 0.5 * pixels.marginal.bits_per_dim


def test_checkpoint_is_the_best_evaluation_and_the_split_goes_with_it(
    learned: TrainingResult, data: Dataset
) -> None:
    model, checkpoint = load_checkpoint(learned.path)
    best = min(learned.history, key=lambda each: each.validation_bits)
    assert learned.summary.best_step == best.step
    result = evaluate_model(model, data.validation, data.label_log_prior())
    assert result.conditional is not None
    assert result.conditional.bits_per_dim == pytest.approx(best.validation_bits, abs=1e-6)
    assert checkpoint.split is not None
    assert np.array_equal(checkpoint.split.test, data.split.test)
    prior = data.label_log_prior()
    assert prior is not None
    assert checkpoint.config.log_prior == tuple(prior.tolist())


def test_curves_and_history_are_written(learned: TrainingResult) -> None:
    assert (learned.path / "curves.png").read_bytes().startswith(b"\x89PNG")
    rows = json.loads((learned.path / "history.json").read_text())
    assert [row["step"] for row in rows] == [25, 50, 75, 100, 125, 150]
    assert rows[-1]["train_bits"] < rows[0]["train_bits"]


@pytest.mark.parametrize("step", [2, 4, 7, 12], ids=lambda step: f"killed-at-{step}")
def test_a_killed_run_ends_in_the_bits_of_an_unbroken_one(
    data: Dataset, tmp_path: Path, step: int
) -> None:
    whole = train(SHORT, data, tmp_path / "whole", seed=3)
    with pytest.raises(Killed):
        train(SHORT, data, tmp_path / "broken", seed=3, progress=kill_at(step))
    torch.manual_seed(99)
    broken = train(SHORT, data, tmp_path / "broken", seed=3, resume=True)
    states = [read_state(tmp_path / name / "state.pt") for name in ("whole", "broken")]
    for part in ("model", "average", "best"):
        for name, expected in states[0][part].items():
            assert torch.equal(states[1][part][name], expected), f"{part}: {name}"
    moments = [state["optimiser"]["state"] for state in states]
    for index, expected in moments[0].items():
        assert torch.equal(moments[1][index]["exp_avg_sq"], expected["exp_avg_sq"])
    assert torch.equal(states[0]["random"], states[1]["random"])
    bits = [[each.validation_bits for each in run.history] for run in (whole, broken)]
    assert bits[0] == bits[1]
    files = [(tmp_path / n / "weights.safetensors").read_bytes() for n in ("whole", "broken")]
    assert files[0] == files[1]


def test_seeds_differ_and_the_callers_random_state_is_put_back(
    data: Dataset, tmp_path: Path
) -> None:
    short = replace(SHORT, training=replace(SHORT.training, steps=2))
    before = torch.get_rng_state()
    runs = [train(short, data, tmp_path / str(seed), seed=seed).model for seed in (0, 1)]
    assert torch.equal(before, torch.get_rng_state())
    assert not torch.equal(runs[0].inputs.token.weight, runs[1].inputs.token.weight)


def test_state_of_another_run_or_a_damaged_one_is_refused(data: Dataset, tmp_path: Path) -> None:
    with pytest.raises(Killed):
        train(SHORT, data, tmp_path, progress=kill_at(5))
    with pytest.raises(CheckpointError, match="seed: this run has 1, the file has 0"):
        train(SHORT, data, tmp_path, seed=1, resume=True)
    with pytest.raises(CheckpointError, match="data: this run has"):
        train(SHORT, stripes(230), tmp_path, resume=True)
    longer = replace(SHORT, training=replace(SHORT.training, steps=13))
    with pytest.raises(CheckpointError, match="training"):
        train(longer, data, tmp_path, resume=True)
    path = tmp_path / "state.pt"
    whole = path.read_bytes()
    for damaged in (whole[:-100], b"no state", b""):
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match="not a valid training state"):
            train(SHORT, data, tmp_path, resume=True)


def test_state_that_would_run_code_is_refused(data: Dataset, tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "touched",))

    write_state(tmp_path / "state.pt", {"identity": Evil()})
    with pytest.raises(CheckpointError):
        train(SHORT, data, tmp_path, resume=True)
    assert not (tmp_path / "touched").exists()


def test_early_stopping_after_patience_evaluations_without_a_better_one(
    data: Dataset, tmp_path: Path
) -> None:
    # At this rate the network leaves what it has learned and does not come back.
    config = TrainingConfig(
        steps=400, batch_size=16, learning_rate=3.0, warmup=0, average_decay=0.0, evaluate_every=2
    )
    run = train(replace(TINY, training=replace(config, patience=3)), data, tmp_path / "patient")
    best = min(run.history, key=lambda each: each.validation_bits)
    assert run.summary.steps == best.step + 6 < 400
    assert run.summary.best_step == best.step


def test_average_follows_the_closed_form() -> None:
    slow, fast = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
    nn.init.constant_(slow.weight, 1.0)
    for value in (2.0, 4.0, 8.0):
        nn.init.constant_(fast.weight, value)
        update_average(slow, fast, 0.25)
    expected = 0.75**3 * 1 + 0.25 * (0.75**2 * 2 + 0.75 * 4 + 8)
    assert slow.weight.item() == pytest.approx(expected)
    assert fast.weight.item() == 8.0


def test_rates_of_schedule_and_average() -> None:
    config = TrainingConfig(
        steps=110, warmup=10, learning_rate=2.0, final_fraction=0.1, average_decay=0.99
    )
    assert learning_rate(config, 0) == pytest.approx(0.2)
    assert learning_rate(config, 9) == pytest.approx(2.0)
    assert learning_rate(config, 60) == pytest.approx(1.1)
    assert learning_rate(config, 110) == pytest.approx(0.2)
    assert average_rate(config, 0) == pytest.approx(0.9)
    assert average_rate(config, 100_000) == pytest.approx(0.01)
    assert average_rate(replace(config, average_decay=0.0), 50) == 1.0


def test_decay_is_only_on_matrices() -> None:
    groups = optimiser(nn.Linear(3, 2), TrainingConfig(steps=1, weight_decay=0.5)).param_groups
    assert [[tuple(p.shape) for p in group["params"]] for group in groups] == [[(2, 3)], [(2,)]]
    assert [group["weight_decay"] for group in groups] == [0.5, 0.0]


def test_an_epoch_shows_every_event_once_and_orders_differ() -> None:
    part = Part(np.arange(12)[:, None], None)
    spec = DataSpec(name="toy", event_shape=(1,), levels=12)
    batches = Batches(part, spec, TrainingConfig(steps=1, batch_size=4), seed=1)
    epochs = [torch.cat([batches.draw().x for _ in range(3)])[:, 0].tolist() for _ in range(2)]
    assert sorted(epochs[0]) == sorted(epochs[1]) == list(range(12))
    assert epochs[0] != epochs[1]


def test_moves_are_the_eight_by_one_pixel_at_the_given_rate() -> None:
    image = np.zeros((3, 3), np.int64)
    image[1, 1] = 1
    part = Part(np.repeat(image.reshape(1, 9), 4000, axis=0), None)
    spec = DataSpec(name="toy", event_shape=(3, 3), levels=2)
    config = TrainingConfig(steps=1, batch_size=4000, shift=0.4)
    read, x, _ = Batches(part, spec, config, seed=0).draw()
    assert read is x
    assert torch.equal(x.sum(dim=1), torch.ones(4000, dtype=torch.int64))
    frequency = x.double().mean(dim=0)
    assert frequency[4] == pytest.approx(0.6, abs=0.04)
    others = torch.cat([frequency[:4], frequency[5:]])
    assert (others - 0.05).abs().max() < 0.02


def test_noise_moves_only_the_inputs_by_at_most_its_reach() -> None:
    values = np.repeat(np.arange(10)[None], 5000, axis=0)
    spec = DataSpec(name="toy", event_shape=(10,), levels=10)
    config = TrainingConfig(steps=1, batch_size=5000, noise=0.3, noise_levels=2)
    read, x, _ = Batches(Part(values, None), spec, config, seed=0).draw()
    assert torch.equal(x, torch.from_numpy(values))
    move = read - x
    inner = move[:, 2:8].double()
    for size, frequency in ((-2, 0.06), (-1, 0.06), (0, 0.76), (1, 0.06), (2, 0.06)):
        assert (inner == size).double().mean().item() == pytest.approx(frequency, abs=0.01)
    assert int(read.min()) == 0
    assert int(read.max()) == 9


def test_smoothness_makes_neighbouring_levels_alike_and_keeps_their_size() -> None:
    torch.manual_seed(0)
    spec = DataSpec(name="toy", event_shape=(2, 2), levels=12)
    model = Transformer(TransformerConfig(width=400, heads=1, above=True, smoothness=2.0), spec)
    tables = (model.inputs.token.weight, model.inputs.above.weight[:-1], model.head.weight.T)
    for table in tables:
        for distance in (0, 1, 2, 4, 8):
            a, b = table[: 12 - distance], table[distance:]
            got = (a * b).sum(dim=1).mean().item()
            assert got == pytest.approx(math.exp(-(distance**2) / 8), abs=0.2)


def test_dropout_keeps_the_mean_and_drops_at_its_rate() -> None:
    torch.manual_seed(0)
    x = torch.ones(999, 1001)
    y = dropout(x, 0.25, training=True)
    assert (y == 0).double().mean().item() == pytest.approx(0.25, abs=0.003)
    assert y.mean().item() == pytest.approx(1, abs=0.004)
    assert torch.equal(y[y != 0], torch.full_like(y[y != 0], 4 / 3))
    # Neighbours share a random word: their decisions must still be independent.
    dropped = (y == 0).double().flatten()
    for lag in (1, 2, 7, 8, 64):
        both = (dropped[:-lag] * dropped[lag:]).mean().item()
        assert both == pytest.approx(0.0625, abs=0.003)
    assert dropout(x, 0.25, training=False) is x


def test_config_refuses_values_outside_their_range() -> None:
    for changes in (
        {"steps": 0},
        {"batch_size": 0},
        {"evaluate_every": 0},
        {"warmup": -1},
        {"patience": 0},
        {"learning_rate": 0.0},
        {"learning_rate": math.nan},
        {"clip": math.inf},
        {"weight_decay": -0.1},
        {"beta_2": 1.0},
        {"average_decay": 1.0},
        {"shift": 1.1},
        {"noise": -0.1},
        {"noise_levels": 0},
        {"final_fraction": -0.1},
    ):
        with pytest.raises(InvalidInput, match=next(iter(changes))):
            TrainingConfig(**({"steps": 1} | changes))


def test_device_and_recipe_names(data: Dataset, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="expected cpu, cuda"):
        train(SHORT, data, tmp_path, device="abacus")
    if not torch.cuda.is_available():
        with pytest.raises(InvalidInput, match="no CUDA GPU"):
            train(SHORT, data, tmp_path, device="cuda")
    assert [recipe(known.name) for known in (DEMO, DIGITS, TINY)] == [DEMO, DIGITS, TINY]
    with pytest.raises(InvalidInput, match="got 'mnist'"):
        recipe("mnist")


def test_other_recipes_run_on_their_sources(tmp_path: Path) -> None:
    write_mnist(tmp_path, packed=True)
    (tmp_path / "a.txt").write_bytes(b"to be or not to be, " * 40)
    for full, data in (
        (IMAGES_28, load_idx(tmp_path, validation=2)),
        (TEXT, load_text(tmp_path / "a.txt", length=20)),
    ):
        model = replace(full.model, width=16, layers=1, heads=2, hidden=None)
        assert isinstance(model, TransformerConfig)
        training = replace(full.training, steps=3, batch_size=4)
        small = replace(full, model=model, training=training)
        with training_bar(full.name, 3) as bar:
            run = train(small, data, tmp_path / full.name, progress=bar)
        assert math.isfinite(run.summary.validation_bits)
        assert load_checkpoint(run.path)[0].data == data.spec


def test_training_that_diverges_is_an_error(data: Dataset, tmp_path: Path) -> None:
    hot = replace(TINY, training=replace(TINY.training, learning_rate=1e30, warmup=0))
    with pytest.raises(TrainingError, match="step 2: gradients are infinite or NaN"):
        train(hot, data, tmp_path)
