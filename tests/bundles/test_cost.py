"""`Cost`: the record of a manifest, what it refuses, and its rows for people."""

from typing import Any

import pytest
from pydantic import ValidationError

from ancestral.bundles.cost import Cost, WorstPosition
from ancestral.bundles.cost_rows import cost_rows

FIELDS: dict[str, Any] = {
    "quantity": "log_prob",
    "unit": "events",
    "events": 40,
    "positions": 2560,
    "data": "held out",
    "data_sha256": "a" * 64,
    "source_sha256": "b" * 64,
    "backend": "onnxruntime cpu float32",
    "source_backend": "torch cpu float32",
    "seed": 2**64 - 1,
    "loss_nats": 1.25e-4,
    "loss_error": 2e-5,
    "bits_per_dim": 1.5002,
    "source_bits_per_dim": 1.5,
    "kl_mean": 1.5e-4,
    "kl_median": 1e-4,
    "kl_999": 2e-3,
    "same_top": 0.999,
    "draws_differ": 0.002,
    "rms_delta_p": 0.004,
    "worst": [{"index": 3, "position": 60, "nats": 0.5}],
}
NEXT = dict.fromkeys(("kl_mean", "kl_median", "kl_999", "same_top", "draws_differ"))


def test_round_trip() -> None:
    cost = Cost(**FIELDS)
    assert Cost.model_validate_json(cost.model_dump_json()) == cost
    assert cost.upper_nats == pytest.approx(1.65e-4)
    assert cost.worst == (WorstPosition(index=3, position=60, nats=0.5),)


@pytest.mark.parametrize(
    "change",
    [
        {"loss_nats": float("nan")},
        {"loss_error": float("inf")},
        {"loss_error": -1e-9},
        {"same_top": 1.5},
        {"events": 1},
        {"seed": -1},
        {"data_sha256": "A" * 64},
        {"unit": "positions"},
        {"kl_mean": None},
        {"k": 5},
        {"quantity": "bound"},
        {"quantity": "bound", "k": 5},
        {"worst": [{"index": 3, "position": 60, "nats": 0.5}] * 6},
        {"unknown": 1},
        {"data": "x" * 2000},
    ],
    ids=str,
)
def test_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Cost(**FIELDS | change)


def test_rows() -> None:
    rows = dict(cost_rows(Cost(**FIELDS)))
    assert rows["loss of log p"] == "+1.250e-04 +- 2.0e-05 nats/position"
    assert rows["same most probable value"] == "99.9000% of positions"
    assert rows["largest differences"] == "+0.5 nats at event 3, position 60"


def test_rows_of_a_bound() -> None:
    """A bound is called one, and has no rows about next values."""
    change = {"quantity": "bound", "k": 64, "rms_delta_p": None, "worst": []} | NEXT
    rows = dict(cost_rows(Cost(**FIELDS | change)))
    assert "loss of the bound (IWAE, k = 64)" in rows
    assert rows["bits/dim, source -> bundle"] == "1.50000 -> 1.50020 (upper bounds)"
    assert not any("KL" in name or "draw" in name or "log p" in name for name in rows)


def test_rows_of_a_file() -> None:
    rows = dict(cost_rows(Cost(**FIELDS | NEXT | {"source_backend": None, "left_out": 40})))
    assert rows["compared"] == "40 events, 2,560 positions, 40 left out without log p"
    assert "RMS of delta p of the observed value" in rows
    assert not any("KL" in name for name in rows)
