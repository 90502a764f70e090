"""Bits/dim, and the terms of a bound, over the steps of a run: as a picture and as rows."""

import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from ancestral.files.atomic import write_together
from ancestral.train.state import Evaluation


def write_curves(
    folder: Path, history: Sequence[Evaluation], title: str, unit: str = "bits/dim"
) -> None:
    """Write history.json (one object an evaluation) and curves.png, its losses in that unit.

    Raises:
        ImportError: matplotlib is not installed.
        OSError: they could not be written.
    """
    rows = json.dumps([asdict(each) for each in history], indent=1).encode()
    picture = _picture(history, title, unit)
    write_together({folder / "history.json": rows, folder / "curves.png": picture})


def _picture(history: Sequence[Evaluation], title: str, unit: str) -> bytes:
    """The losses; of a model with latents, -log p(x | z), KL and the latents in use below."""
    from matplotlib.figure import Figure

    latent = any(each.reconstruction is not None for each in history)
    panels = 3 if latent else 1
    figure = Figure(figsize=(6, 4 + 2 * (panels - 1)), dpi=120, layout="constrained")
    heights = [4, *[2] * (panels - 1)]
    axes, *others = figure.subplots(panels, sharex=True, height_ratios=heights, squeeze=False)[:, 0]
    steps = [each.step for each in history]
    axes.plot(steps, [each.train_bits for each in history], label="training batches, with dropout")
    axes.plot(
        steps, [each.validation_bits for each in history], label="validation, averaged weights"
    )
    axes.set(ylabel=unit, title=title)
    axes.legend()
    if latent:
        terms = {
            "-log p(x | z)": [
                (each.step, -each.reconstruction)
                for each in history
                if each.reconstruction is not None
            ],
            "KL(q(z | x) || p(z))": [
                (each.step, each.kl) for each in history if each.kl is not None
            ],
        }
        for label, points in terms.items():
            if points:
                others[0].plot(*zip(*points, strict=True), label=label)
        others[0].set(ylabel="nats, validation")
        others[0].legend()
        others[1].plot(steps, [each.active for each in history])
        others[1].set(ylabel="latents in use", ylim=(0, None))
    for each in (axes, *others):
        each.grid(alpha=0.3)
    (axes, *others)[-1].set(xlabel="step")
    picture = io.BytesIO()
    figure.savefig(picture, format="png", backend="agg")
    return picture.getvalue()
