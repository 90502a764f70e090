"""Batches of datasets that are not in files: their rows are scored, and their columns kept."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ancestral.bulk.computed import score_of
from ancestral.bulk.dataset_batch import DatasetBatch
from ancestral.bulk.settings import (
    BoundSettings,
    ClassifySettings,
    EncodeSettings,
    LogProbSettings,
    ScoreSettings,
)
from ancestral.engine import AutoregressiveEngine, LatentEngine
from ancestral.errors import InvalidInput
from tests.conftest import Load, autoregressive

CHOSEN = np.random.default_rng(0)
X = CHOSEN.integers(0, 3, (6, 3, 3))
Y = CHOSEN.integers(0, 2, 6)
RUNS = ((4, 6), (0, 1), (3, 4), (2, 3), (1, 2))
"""Consecutive rows, in another order."""


@pytest.fixture
def tiny(load: Load) -> AutoregressiveEngine:
    return autoregressive(load, "tiny", "onnxruntime")


@pytest.fixture
def latent(load: Load) -> LatentEngine:
    engine = load("bernoulli", "onnxruntime")
    assert isinstance(engine, LatentEngine)
    return engine


def scored(engine: Any, settings: ScoreSettings, **columns: Any) -> dict[str, Any]:
    return DatasetBatch(columns).scored(score_of(engine, settings), settings)


def lists(x: np.ndarray) -> np.ndarray:
    """Return events as numpy has the lists of Arrow: an array of arrays."""
    found = np.empty(len(x), object)
    found[:] = [each.reshape(-1) for each in x]
    return found


@pytest.mark.parametrize("label", ["y", "label", "labels"])
def test_log_prob(tiny: AutoregressiveEngine, label: str) -> None:
    name = np.array(list("abcdef"), object)
    found = scored(tiny, LogProbSettings(), x=X, name=name, **{label: Y})
    assert list(found) == ["x", "name", label, "log_prob"]
    assert found["name"] is name
    np.testing.assert_array_equal(found["log_prob"], tiny.log_prob(X, Y))
    listed = scored(tiny, LogProbSettings(), x=lists(X), **{label: Y})
    np.testing.assert_array_equal(listed["log_prob"], found["log_prob"])


def test_label_of_all_rows(tiny: AutoregressiveEngine) -> None:
    """The job's label is used instead of those of the data, which are kept."""
    found = scored(tiny, LogProbSettings(label=1), x=X, label=Y)
    np.testing.assert_array_equal(found["log_prob"], tiny.log_prob(X, 1))
    np.testing.assert_array_equal(found["label"], Y)


def test_texts(load: Load) -> None:
    engine = autoregressive(load, "text", "onnxruntime")
    found = scored(engine, LogProbSettings(), text=np.array(["ab", "b"], object))
    ids = engine.tokenizer().encode("ab")
    assert found["log_prob"][0] == engine.text_likelihood(ids, None, None).total
    assert found["bytes"].tolist() == [2, 1]


def test_classes(tiny: AutoregressiveEngine) -> None:
    found = scored(tiny, ClassifySettings(), x=X, y=Y)
    np.testing.assert_array_equal(found["label"], tiny.classify(X).label)
    np.testing.assert_array_equal(found["y"], Y)


def test_bounds_by_index(latent: LatentEngine) -> None:
    """The noise of a row is that of its index, in whatever order the rows come."""
    x = latent.sample(6, seed=1).x
    settings = BoundSettings(k=4, seed=3)
    whole = scored(latent, settings, x=x, index=np.arange(10, 16))
    np.testing.assert_array_equal(whole["elbo"], latent.bound(x, 4, 3, first_index=10).elbo)
    order = np.concatenate([np.arange(i, j) for i, j in RUNS])
    mixed = scored(latent, settings, x=x[order], index=10 + order)
    # Consecutive rows are scored at the same time, so these have the same bits.
    runs = [latent.bound(x[i:j], 4, 3, first_index=10 + i) for i, j in RUNS]
    for name in ("elbo", "iwae", "ess"):
        alone = np.concatenate([getattr(run, name) for run in runs])
        np.testing.assert_array_equal(mixed[name], alone)
    other = scored(latent, settings, x=x, index=np.arange(6))
    assert (whole["elbo"] != other["elbo"]).any()


def test_latents(latent: LatentEngine) -> None:
    x = latent.sample(3, seed=1).x
    found = scored(latent, EncodeSettings(), x=x)
    np.testing.assert_array_equal(found["mean"], latent.encode(x)["mean"])


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"z": X}, r"dataset: expected a column x or text, got \['z'\]"),
        ({"x": X, "y": Y, "log_prob": Y}, "log_prob: a score has this name; rename"),
        ({"x": np.where(np.arange(6) == 4, 99, X.T).T, "y": Y}, "row 4 of a batch: x: expected"),
        (
            {"x": np.where(np.arange(6) == 4, 99, X.T).T, "y": Y, "index": np.arange(7, 13)},
            "index 11: x: expected",
        ),
        ({"x": X, "y": Y, "index": np.arange(6) - 1}, "index: expected integers of at least 0"),
        ({"x": X, "y": Y, "index": np.arange(6) / 2}, "index: expected integers, got"),
        ({"x": X, "y": Y / 2}, "y: expected integers"),
    ],
    ids=["no values", "name taken", "bad row", "bad index", "negative", "halves", "labels"],
)
def test_refused(tiny: AutoregressiveEngine, columns: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        scored(tiny, LogProbSettings(), **columns)


def test_lists_of_different_lengths(tiny: AutoregressiveEngine) -> None:
    x = lists(X)
    x[2] = x[2][:5]
    with pytest.raises(InvalidInput, match=r"row 2 of a batch: x: expected the shape \(9,\), got"):
        scored(tiny, LogProbSettings(), x=x, y=Y)


def test_missing_text(load: Load) -> None:
    engine = autoregressive(load, "text", "onnxruntime")
    texts = np.array(["ab", None], object)
    with pytest.raises(InvalidInput, match="index 8: text: expected a string, got None"):
        scored(engine, LogProbSettings(), text=texts, index=np.array([7, 8]))


def test_bounds_need_an_index(latent: LatentEngine) -> None:
    with pytest.raises(InvalidInput, match="dataset: expected a column index"):
        scored(latent, BoundSettings(), x=latent.sample(2, seed=1).x)


def test_without_ray(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without Ray, the import says what to install."""
    import sys

    from ancestral.errors import BackendUnavailable

    for name in [*sys.modules]:
        if name.startswith("ancestral.bulk.ray"):
            monkeypatch.delitem(sys.modules, name)
    for name in ("ray", "ray.data"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(BackendUnavailable, match=r"pip install 'ancestral\[ray\]'"):
        import ancestral.bulk.ray  # noqa: F401
