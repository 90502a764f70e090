"""The parity report: values that fail a check, NaN above all; and the table of tolerances."""

import math
from dataclasses import asdict, fields, replace

import pytest

from ancestral.errors import InvalidInput
from ancestral.parity import EPSILON, ParityReport, SequenceParity, tolerance

EVENTS = SequenceParity(
    events=4,
    max_abs_nats=1e-6,
    mean_abs_nats=1e-7,
    mean_signed_nats=0.0,
    worst_index=2,
    limit_nats=1e-5,
    own_nats=1e-6,
    bits_per_dim=1.5,
    max_kl=1e-12,
    limit_kl=1e-10,
    argmax_flips=0,
    draws=36,
    near_ties=3,
    unexplained=0,
    filtered_draws=18,
    filtered_near_ties=1,
    filtered_unexplained=0,
    limit_cdf=1e-6,
    limit_filtered=1e-6,
    limit_gap=1e-6,
    max_abs_step_nats=1e-6,
    max_abs_speculated_nats=1e-6,
    max_abs_top_nats=1e-6,
    max_abs_position_nats=1e-6,
)
NOISE = replace(EVENTS, max_abs_nats=8e-5, limit_nats=1e-4)
PASSED = ParityReport(
    backend="torch",
    device="cpu",
    dtype="float32",
    positions=9,
    length=9,
    sampled=EVENTS,
    noise=NOISE,
)


def changed(kind: str, **values: float) -> ParityReport:
    """Return a report with other values for one kind of events."""
    return replace(PASSED, **{kind: replace(getattr(PASSED, kind), **values)})


def test_near_ties_pass() -> None:
    assert PASSED.passed
    assert PASSED.failures == ()


def test_each_kind_has_its_own_limit() -> None:
    """An error that passes for noise fails for sampled events."""
    assert changed("sampled", max_abs_nats=8e-5).failures == (
        "sampled events: log p: 8e-05 is over 1e-05",
    )
    assert changed("noise", max_abs_nats=1.1e-4).failures == (
        "noise: log p: 0.00011 is over 0.0001",
    )
    assert (PASSED.max_abs_nats, PASSED.limit_nats) == (1e-6, 1e-5)
    assert (PASSED.events, PASSED.draws, PASSED.near_ties) == (8, 72, 6)
    assert (PASSED.filtered_draws, PASSED.filtered_near_ties) == (36, 2)


@pytest.mark.parametrize("kind", ["sampled", "noise"])
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_abs_nats", 1.1e-4),
        ("max_abs_nats", math.nan),
        ("max_abs_nats", math.inf),
        ("max_abs_step_nats", 1.1e-4),
        ("max_abs_step_nats", math.nan),
        ("max_abs_speculated_nats", 1.1e-4),
        ("max_abs_top_nats", 1.1e-4),
        ("max_abs_top_nats", math.nan),
        ("max_abs_position_nats", 1.1e-4),
        ("max_abs_position_nats", math.nan),
        ("max_kl", 1.1e-10),
        ("max_kl", math.nan),
        ("argmax_flips", 1),
        ("unexplained", 1),
        ("filtered_unexplained", 1),
        ("limit_nats", math.nan),
    ],
)
def test_failures(kind: str, field: str, value: float) -> None:
    report = changed(kind, **{field: value})
    assert not report.passed
    assert all("is over" in failure for failure in report.failures)


def test_at_the_limit() -> None:
    assert changed("sampled", max_abs_nats=EVENTS.limit_nats).passed


def test_json() -> None:
    json = changed("noise", unexplained=2).to_json()
    assert json["passed"] is False
    assert json["failures"] == ["noise: unexplained draws: 2 is over 0"]
    assert (json["unexplained"], json["limit_nats"]) == (2, 1e-5)
    assert json["noise"] == asdict(replace(NOISE, unexplained=2))
    assert {field.name for field in fields(PASSED)} < set(json)


def test_table() -> None:
    for backend in ("torch", "onnxruntime", "triton", "tensorrt"):
        entry = tolerance(backend, "float32")
        assert (entry.factor, entry.nats_per_position) == (8.0, 1e-6)
        assert tolerance(backend, "float16").nats_per_position > entry.nats_per_position
    with pytest.raises(InvalidInput, match="got onnxruntime, bfloat16"):
        tolerance("onnxruntime", "bfloat16")


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_factor_of_16_bit_types(dtype: str) -> None:
    """The factor is twice the ratio of a type's rounding to float32's."""
    assert tolerance("torch", dtype).factor == 2 * EPSILON[dtype] / EPSILON["float32"]
