"""The evaluation on the test part: bounded in time, reported, skipped with `--no-evaluate`."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from ancestral.cli.held_out import affordable_draws, affordable_events
from ancestral.cli.present.evaluation import evaluation_table
from ancestral.train.data.dataset import Dataset
from ancestral.train.models.families import build_model
from ancestral.train.models.vae import VAE, VAEConfig
from ancestral.train.recipes import TINY
from tests.train.test_training import stripes

from .conftest import Cli, training


class Slow:
    """A clock that counts events: each event that a model computes takes `seconds`."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self.now = seconds, 0.0

    def __call__(self) -> float:
        return self.now

    def counted(self, function: Callable[..., object], events: int) -> Callable[..., object]:
        def call(*arguments: object, **options: object) -> object:
            self.now += self.seconds * len(arguments[events])  # type: ignore[arg-type]
            return function(*arguments, **options)

        return call


@pytest.fixture(scope="module")
def data() -> Dataset:
    return stripes(2000)


def slow_model(data: Dataset, clock: Slow, monkeypatch: pytest.MonkeyPatch) -> object:
    torch.manual_seed(0)
    model = build_model(TINY.model, data.spec)
    monkeypatch.setattr(model, "log_prob", clock.counted(model.log_prob, 0))
    return model


@pytest.mark.parametrize(("seconds", "expected"), [(20.0, None), (4.0, 128), (1.0, 32), (0.01, 1)])
def test_fewer_events_if_all_take_too_long(
    data: Dataset,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    seconds: float,
    expected: int | None,
) -> None:
    """Events are drawn at random if all would take too long, at 1/64 s per event and class."""
    clock = Slow(2**-6)
    model = slow_model(data, clock, monkeypatch)
    count = len(data.test)
    assert count == 400
    some = affordable_events(model, data, seconds, clock)
    printed = capsys.readouterr().err
    if expected is None:
        assert some is data
        assert printed == ""
        return
    assert len(some.test) == expected
    assert some.test.label is not None
    assert f"evaluating {expected} of the {count} test events, drawn at random" in printed
    rows = {tuple(x) for x in data.test.x.tolist()}
    assert all(tuple(x) in rows for x in some.test.x.tolist())
    again = affordable_events(model, data, seconds, clock)
    np.testing.assert_array_equal(some.test.x, again.test.x)


@pytest.mark.parametrize(
    ("seconds", "draws", "share"), [(1e4, 100, 1.0), (20.0, 10, 1.0), (1.0, 1, 0.5)]
)
def test_fewer_draws_and_then_fewer_events(
    data: Dataset,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    seconds: float,
    draws: int,
    share: float,
) -> None:
    """A smaller time limit reduces first the draws, then the events; all would take 200 s."""
    plain = data.without_labels()
    count = len(plain.test)
    clock = Slow(200.0 / count)
    model = VAE(VAEConfig(widths=(4,), latent=2), plain.spec)
    from ancestral.cli import held_out

    monkeypatch.setattr(held_out, "bound", clock.counted(held_out.bound, 1))
    some, k = affordable_draws(model, plain, 100, seconds, clock)
    assert k == draws
    assert len(some.test) == pytest.approx(share * count, abs=1)
    printed = capsys.readouterr().err
    assert ("k = " in printed) == (draws < 100)
    assert ("drawn at random" in printed) == (share < 1)


def test_progress_of_the_evaluation(data: Dataset) -> None:
    """Progress counts each class of each event, up to the last."""
    reported: list[tuple[int, int]] = []
    model = build_model(TINY.model, data.spec)
    evaluation_table(model, data, lambda done, total: reported.append((done, total)))
    total = 2 * len(data.test)
    assert reported[-1] == (total, total)
    assert reported == sorted(reported)


def test_no_evaluate(cli: Cli, images: Path, tmp_path: Path) -> None:
    result = cli(*training(images, "transformer", tmp_path / "run", steps=1), "--no-evaluate")
    assert (result.code, result.out) == (0, "")
    assert "step 1" in result.err
