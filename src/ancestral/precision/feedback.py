"""Rounding with error feedback, from the inputs that maps have on the calibration half."""

import time
from collections.abc import Callable
from pathlib import Path

from ancestral.bundles.bundle import Bundle
from ancestral.engine import Engine
from ancestral.export.recast import check_source
from ancestral.precision.calibration import Calibration, calibration, units
from ancestral.precision.split import Data, halves
from ancestral.train.evaluation import evaluating
from ancestral.train.models.families import Model
from ancestral.train.quantisation.gptq import ErrorFeedback, second_moments
from ancestral.train.stored_model import bundled_model

SECONDS = 120.0
"""Time after which no further pass over the data begins; the first is always finished."""


def halved(bundle: str | Path, data: Data) -> tuple[ErrorFeedback, Data]:
    """Return the rounding that follows one half of the data, and the other half.

    Args:
        bundle: directory of a float32 bundle.
        data: data of the bundle, at least 4 events or windows.

    Raises:
        BundleError: the bundle is missing, altered or damaged.
        InvalidInput: the bundle is quantised or not in float32, or the data are too few or not the
            bundle's.
    """
    opened = Bundle.open(bundle)
    check_source(opened)
    source, model = Engine.load(bundle), bundled_model(opened)
    unit, counts = units(source, data)
    chosen_by, held_out = halves(len(counts), unit)
    calibrating = calibration(source, model, data.part(chosen_by))
    return error_feedback(model, calibrating, SECONDS), data.part(held_out)


def error_feedback(
    model: Model,
    data: Calibration,
    seconds: float,
    clock: Callable[[], float] = time.monotonic,
) -> ErrorFeedback:
    """Return a rule that rounds the maps of a model with error feedback.

    Args:
        model: model in float32.
        data: data whose inputs of maps are used.
        seconds: time after which no further pass begins.
        clock: function that returns the time in seconds.
    """

    def run() -> None:
        begun = clock()
        for some in data.passes():
            data.answer(model, some)
            if clock() - begun > seconds:
                break

    with evaluating(model):
        return ErrorFeedback(second_moments(model, run))
