"""Bytes, nats and milliseconds of a few plans, between which a user may choose."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from ancestral.bundles.cost import Cost
from ancestral.bundles.quantisation import Quantisation
from ancestral.engine import AutoregressiveEngine, Engine, LatentEngine
from ancestral.engine.speeds import latent_speeds, step_speeds
from ancestral.precision.choice import tensors_of
from ancestral.precision.search import KEPT, Search

MeasuredOn = Literal["calibration", "held-out"]
_ROUNDS = 1
_BETWEEN = 5
"""Plans of the table between the smallest and the largest."""


@dataclass(frozen=True, slots=True)
class Point:
    """A plan and what it costs.

    Attributes:
        name: name of the plan.
        size: bytes of all weights, without graphs and known answers.
        nats: loss in nats per position.
        error: its standard error.
        measured_on: half of the data that the loss was measured on. On the calibration half it is
            of PyTorch, on the held-out half of ONNX Runtime.
        ms: median time of a step at batch 1 on ONNX Runtime, or of decoding a latent, in
            milliseconds; None for a plan that was not exported.
        chosen: whether the bundle that is written has this plan.
    """

    name: str
    size: int
    nats: float
    error: float
    measured_on: MeasuredOn
    ms: float | None = None
    chosen: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return all fields."""
        return asdict(self)


def step_ms(engine: Engine) -> float:
    """Return the median time of a step at batch 1, or of decoding a latent, in milliseconds."""
    if isinstance(engine, LatentEngine):
        return float(latent_speeds(engine, 1, _ROUNDS)["decode_ms_p50"])
    assert isinstance(engine, AutoregressiveEngine)
    return float(step_speeds(engine, 1, _ROUNDS)["step_ms_p50"])


def points(search: Search, plan: Quantisation, cost: Cost, ms: tuple[float, float]) -> list[Point]:
    """Return the table: the source, the chosen plan, uniform plans, and a few others.

    Args:
        search: the finished search.
        plan: the chosen plan.
        cost: what its bundle loses on the held-out half.
        ms: milliseconds of a step of the source, and of the chosen bundle.

    Returns:
        Points, the largest first.
    """
    found = [
        Point("float32", search.size({}), 0.0, 0.0, "held-out", ms[0]),
        Point(
            f"chosen: {_mixed(plan)}",
            search.size(plan.tensors),
            cost.loss_nats,
            cost.loss_error,
            "held-out",
            ms[1],
            chosen=True,
        ),
    ]
    inner = [search.quantisation(each) for each in search.plans if tensors_of(each)]
    at = np.linspace(0, len(inner) - 1, _BETWEEN + 2).astype(int)[1:-1]
    others = {_mixed(inner[i]): inner[i] for i in at.tolist()}
    for name, each in (others | search.uniform).items():
        mean, error, _ = search.measured(each)
        found.append(Point(name, search.size(each.tensors), mean, error, "calibration"))
    return sorted(found, key=lambda point: -point.size)


def _mixed(plan: Quantisation) -> str:
    """Return how many weights a plan has of each type."""
    bits = [tensor.bits for tensor in plan.tensors.values()]
    kept = sum(reason == KEPT for reason in plan.kept.values())
    counts = {"int4": bits.count(4), "int8": bits.count(8), "float32": kept}
    return ", ".join(f"{count} in {name}" for name, count in counts.items() if count)
