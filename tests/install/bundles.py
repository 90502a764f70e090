"""The bundles that every installation opens, and the values that it must reproduce."""

from pathlib import Path

import numpy as np

from ancestral.engine import AutoregressiveEngine, LatentEngine
from tests.export_toys import export_toy

TOYS = ("tiny", "linear", "codes")


def export_bundles(folder: Path) -> None:
    """Export the toys, and write expected.npz: samples, log-probabilities and bounds of seed 5."""
    for toy in TOYS:
        export_toy(toy, folder / toy)
    drawn = AutoregressiveEngine.load(folder / "tiny").sample(64, labels=1, seed=5)
    latent = LatentEngine.load(folder / "linear")
    x = latent.sample(8, seed=6).x
    values = {
        "tiny.x": drawn.x,
        "tiny.log_prob": drawn.log_prob,
        "linear.x": x,
        "linear.iwae": latent.bound(x, k=16, seed=5).iwae,
    }
    np.savez(folder / "expected.npz", **values)
