"""Bits/dim over the steps of a run, as a picture and as rows."""

import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from ancestral.files import write_together
from ancestral.train.state import Look


def write_curves(folder: Path, history: Sequence[Look], title: str) -> None:
    """Write history.json (one object a look) and curves.png.

    Raises:
        ImportError: matplotlib is not installed.
        OSError: they could not be written.
    """
    rows = json.dumps([asdict(look) for look in history], indent=1).encode()
    write_together({folder / "history.json": rows, folder / "curves.png": _picture(history, title)})


def _picture(history: Sequence[Look], title: str) -> bytes:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    steps = [look.step for look in history]
    axes.plot(steps, [look.train_bits for look in history], label="training batches, with dropout")
    axes.plot(
        steps, [look.validation_bits for look in history], label="validation, averaged weights"
    )
    axes.set(xlabel="step", ylabel="bits/dim", title=title)
    axes.grid(alpha=0.3)
    axes.legend()
    picture = io.BytesIO()
    figure.savefig(picture, format="png", backend="agg")
    return picture.getvalue()
