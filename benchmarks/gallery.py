"""Pictures for docs/gallery.md, made with the bundles that `make demo` leaves.

    python -m benchmarks.gallery --demo demo --out docs/gallery

completions.png: digits with one half hidden, completed by particles. nats.png: -log p of each pixel
of real digits and of an altered one. interpolation.png: paths between the latents of two digits.
The numbers that belong to the pictures are printed.
"""

import argparse
import io
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ancestral.engine import AutoregressiveEngine, LatentEngine
from ancestral.files.atomic import write_atomically
from ancestral.pictures import greys, grid, png, side_by_side
from ancestral.train.data import Dataset, load_digits
from ancestral.units import bits_per_dim
from benchmarks.demo import BUNDLE, VAE_BUNDLE

SEED = 0
PARTICLES, SHOWN = 64, 8
"""Particles of each completion, and how many of them are in the picture."""
HIDDEN = slice(4, 8)
"""Columns of an image that are hidden: the right half."""
HIDDEN_COLOUR = (70, 110, 160)
REAL = (0, 3, 5, 8)
"""Classes of the real digits in nats.png; an image of the last one is altered."""
ALTERED = (slice(0, 2), slice(0, 2))
"""Rows and columns that are set to the highest level: a corner, which is black in real digits."""
STEPS, PATHS = 10, 6
"""Images of an interpolation, and how many interpolations there are."""


def first_of_each(data: Dataset) -> NDArray[np.int64]:
    """Return the first test image of each class, [classes, height, width]."""
    label, classes = data.test.label, data.spec.num_classes
    assert label is not None
    assert classes is not None
    first = [np.flatnonzero(label == y)[0] for y in range(classes)]
    return data.test.x[first].reshape(-1, *data.spec.event_shape)


def completions(engine: AutoregressiveEngine, images: NDArray[np.int64]) -> bytes:
    """Hide half of each image, complete it given its class, and draw a row for each."""
    levels = engine.data.levels
    given = images.copy()
    given[:, :, HIDDEN] = -1
    drawn = []
    for y, each in enumerate(given):
        found = engine.complete(each, PARTICLES, labels=y, seed=SEED, first_index=y * PARTICLES)
        drawn.append(found.x[found.chosen[:: PARTICLES // SHOWN]])
        print(
            f"{y}: log p(left half) about {found.log_prob_observed:.1f} nats, "
            f"effective sample size {found.ess:.0f} of {PARTICLES}"
        )
    shades = np.rint(np.linspace(0, 255, levels)).astype(int).tolist()
    palette = [(shade, shade, shade) for shade in shades] + [HIDDEN_COLOUR]
    panels = {
        "given": (np.where(given < 0, levels, given), 1),
        f"{SHOWN} of {PARTICLES} completions": (np.concatenate(drawn), SHOWN),
        "truth": (images, 1),
    }
    return png(
        side_by_side([(name, grid(x, levels + 1, n, palette)) for name, (x, n) in panels.items()])
    )


def nats(engine: AutoregressiveEngine, images: NDArray[np.int64]) -> bytes:
    """Draw -log p of each pixel given those before it and the class, in nats."""
    labels = np.array([*REAL, REAL[-1]])
    x = images[labels]
    x[-1][ALTERED] = engine.data.levels - 1
    cost = -engine.position_log_prob(x, labels).reshape(x.shape)
    totals = cost.sum(axis=(1, 2), dtype=np.float64)
    bits = bits_per_dim(-totals, engine.data.event_shape)
    names = [f"a {y}" for y in REAL] + [f"the {REAL[-1]}, altered"]
    for name, total, each in zip(names, totals, bits, strict=True):
        print(f"{name}: {total:.1f} nats, {each:.2f} bits/dim")
    before, after = (cost[i][ALTERED].sum() for i in (-2, -1))
    print(f"the altered pixels: {after:.1f} nats, {before:.1f} before")
    figure = Figure(figsize=(9, 4), layout="constrained")
    axes = figure.subplots(2, len(x))
    for i, (name, total) in enumerate(zip(names, totals, strict=True)):
        axes[0, i].imshow(x[i], cmap="gray", vmin=0, vmax=engine.data.levels - 1)
        axes[0, i].set_title(name, fontsize=10)
        heat = axes[1, i].imshow(cost[i], cmap="magma", vmin=0, vmax=float(cost.max()))
        axes[1, i].set_xlabel(f"{total:.1f} nats", fontsize=10)
    for each in axes.flat:
        each.set_xticks([])
        each.set_yticks([])
    figure.colorbar(heat, ax=axes[1], label="nats a pixel")
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=90)
    return content.getvalue()


def interpolation(engine: LatentEngine, images: NDArray[np.int64]) -> bytes:
    """Draw E[x | z] from digit 0 to 1, 1 to 2 and so on, a row for each."""
    start, end = images[:PATHS], images[1 : PATHS + 1]
    means = engine.interpolate(start, end, steps=STEPS, path="spherical")
    levels = engine.data.levels
    middle = grid(greys(means.reshape(-1, *engine.data.event_shape), levels), levels, STEPS)
    panels = [("from", grid(start, levels, 1)), ("E[x | z]", middle), ("to", grid(end, levels, 1))]
    return png(side_by_side(panels))


def main(arguments: list[str] | None = None) -> None:
    """Make the pictures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--demo", type=Path, required=True, help="folder that `make demo` wrote")
    parser.add_argument("--out", type=Path, required=True, help="folder of the pictures")
    options = parser.parse_args(arguments)
    images = first_of_each(load_digits())
    model = AutoregressiveEngine.load(options.demo / BUNDLE.name, threads=1)
    latent = LatentEngine.load(options.demo / VAE_BUNDLE.name, threads=1)
    pictures = {
        "completions": completions(model, images),
        "nats": nats(model, images),
        "interpolation": interpolation(latent, images),
    }
    options.out.mkdir(parents=True, exist_ok=True)
    for name, content in pictures.items():
        write_atomically(options.out / f"{name}.png", content)


if __name__ == "__main__":
    main()
