"""Sampled events and events of noise have separate limits."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from ancestral.bundles.bundle import Bundle
from ancestral.cli.present.parity_table import parity_tables
from ancestral.engine import Engine
from ancestral.engine.comparison import Limits
from ancestral.engine.session import Array
from ancestral.errors import BundleError
from ancestral.export.known_answers import known_answers
from ancestral.latent_parity import LatentParityReport
from ancestral.parity import ParityReport, tolerance
from tests.tamper import copied, sign
from tests.toys import make

Bundles = Callable[[str], Path]


def edited(
    bundle: Path, folder: Path, file: str, edit: Callable[[dict[str, Array]], object]
) -> Path:
    """Return a copy with edited tensors in a file; its hashes are valid."""
    copy = copied(bundle, folder)
    tensors = load_file(copy / file)
    edit(tensors)
    save_file(tensors, copy / file)
    sign(copy)
    return copy


def apart(bundle: Path, folder: Path) -> Path:
    """Return a copy in which a sampled event is off by more than its limit, less than noise's.

    The errors of float32 depend on the processor, so they are set here, with a factor of four.
    """

    def edit(answers: dict[str, Array]) -> None:
        own = answers["own_log_prob_halves"].max()
        answers["own_log_prob_halves"] = np.array([own, 4 * own])
        answers["own_log_prob"] = np.array(4 * own)
        assert answers["is_sample"][0]
        answers["log_prob"][0, 0] += 20 * own

    return edited(bundle, folder, "known_answers.safetensors", edit)


def compared(bundle: Path) -> ParityReport:
    report = Engine.load(bundle, backend="torch", threads=1).compare()
    assert isinstance(report, ParityReport)
    return report


def test_error_that_one_common_limit_allows(bundles: Bundles, tmp_path: Path) -> None:
    """An error on a sampled event above its own limit fails, although it is below noise's."""
    report = compared(apart(bundles("startless"), tmp_path))
    answers = Bundle.open(tmp_path / "copy").known_answers()
    one = Limits.of(tolerance("torch", "float32"), answers).nats
    assert report.sampled.limit_nats < report.sampled.max_abs_nats < one
    assert report.noise.max_abs_nats < one == report.noise.limit_nats
    assert report.failures
    assert all(failure.startswith("sampled events: ") for failure in report.failures)
    assert any(failure.startswith("sampled events: log p") for failure in report.failures)


def test_errors_of_both_kinds_are_required(bundles: Bundles, tmp_path: Path) -> None:
    def forget(answers: dict[str, Array]) -> None:
        del answers["own_log_prob_halves"]

    bundle = edited(bundles("startless"), tmp_path, "known_answers.safetensors", forget)
    with pytest.raises(BundleError, match=r"own_log_prob_halves.* missing"):
        Bundle.open(bundle)


def test_rows_of_both_kinds(bundles: Bundles) -> None:
    """Samples have the narrower limit, and a separate row in the table."""
    report = compared(bundles("startless"))
    assert report.passed, report.failures
    assert report.sampled.limit_nats < report.noise.limit_nats
    rows = [str(cell) for cell in parity_tables([report])[0].columns[0].cells]
    assert sum("16 sampled events: max |delta log p|" in row for row in rows) == 1
    assert sum("16 events of noise: max |delta log p|" in row for row in rows) == 1


def test_errors_of_float32_by_kind() -> None:
    """The stored errors are those of the float32 model on each half of the events."""
    answers = known_answers(make("startless"))
    near = (
        make("startless").position_log_prob(torch.from_numpy(answers["x"]), None).detach().numpy()
    )
    error = np.abs((near - answers["log_prob"]).sum(axis=1))
    sampled = answers["is_sample"].astype(bool)
    expected = [error[sampled].max(), error[~sampled].max()]
    np.testing.assert_allclose(answers["own_log_prob_halves"], expected, rtol=1e-6)
    for name in ("own_log_prob", "own_kl", "own_cdf"):
        assert answers[f"{name}_halves"].max() == answers[name]
        assert answers[f"{name}_halves"].min() > 0


@pytest.mark.parametrize(("kind", "prefix"), [(0, "sampled events: "), (1, "noise: ")])
def test_latent(bundles: Bundles, tmp_path: Path, kind: int, prefix: str) -> None:
    """Planted: log-weights are off by half the limit; only the kind with a tiny error fails."""
    before = Engine.load(bundles("bernoulli"), backend="torch", threads=1).compare()

    def shift(answers: dict[str, Array]) -> None:
        answers["own_log_weight_halves"][kind] /= 1e3
        answers["log_likelihood"] += before.limit_nats / 2

    copy = edited(bundles("bernoulli"), tmp_path, "known_answers.safetensors", shift)
    report = Engine.load(copy, backend="torch", threads=1).compare()
    assert isinstance(report, LatentParityReport)
    assert report.failures
    assert all(failure.startswith(prefix) for failure in report.failures), report.failures


def test_answers_without_noise_are_refused(bundles: Bundles, tmp_path: Path) -> None:
    def only_samples(answers: dict[str, Array]) -> None:
        answers["is_sample"][:] = True

    copy = edited(bundles("startless"), tmp_path, "known_answers.safetensors", only_samples)
    with pytest.raises(BundleError, match="no valid reference"):
        compared(copy)
