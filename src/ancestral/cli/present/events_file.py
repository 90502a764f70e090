"""The files that events are written to: pictures, arrays, text."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ancestral.cli.arrays import write_arrays
from ancestral.cli.output import check_target, write_text
from ancestral.errors import InvalidInput
from ancestral.files.atomic import write_atomically
from ancestral.pictures import greys, grid, is_image, png, to_levels

if TYPE_CHECKING:
    from ancestral.dataspec import DataSpec
    from ancestral.engine import Samples

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Shown:
    """Events of equal weight, for people.

    Attributes:
        x: levels, or real values in units of levels, [n, *event_shape].
        heads: the line before each text where there are several.
        intervals: whether level i stands for the real values [i, i + 1), else for the number i.
        means: whether they are means, whose greys a picture keeps; else it shows whole levels.
        columns: tiles in a row of a picture; about square where None.
        above: events that a picture shows before them, in whole levels.
    """

    x: Array
    heads: Sequence[str] = ()
    intervals: bool = False
    means: bool = False
    columns: int | None = None
    above: Array | None = None


def check_samples_file(out: str, prompted: bool, keep: Iterable[Path | None]) -> None:
    """Refuse, before anything is drawn, a file that samples could not be written to.

    Args:
        out: a file, or - for standard output.
        prompted: whether the samples go on from prompts, of which there are no pictures.
        keep: files and folders that are read.

    Raises:
        InvalidInput: an unknown suffix, or a place that cannot be written to.
    """
    if out != "-":
        suffixes = (".npz", ".txt") if prompted else (".npz", ".png", ".txt")
        check_target(Path(out), suffixes, keep=keep)


def check_picture(out: str | Path, data: "DataSpec", others: str) -> None:
    """Refuse a picture of events that are not images.

    Raises:
        InvalidInput: it is one; the error names the other suffixes.
    """
    if is_picture(out) and not is_image(data.event_shape):
        raise InvalidInput(
            f"--out: events {data.event_shape} are no images: expected {others}, got {out}"
        )


def is_picture(out: str | Path) -> bool:
    """Whether a file of that name is a picture."""
    return Path(out).suffix.lower() == ".png"


def write_samples(
    out: str, samples: "Samples", seed: int, data: "DataSpec", columns: int | None = None
) -> None:
    """Write samples; the file appears whole or not at all.

    Args:
        out: a file whose suffix says its form, or - for text on standard output.
        samples: at least one.
        seed: that they were drawn with.
        data: their space.
        columns: tiles in a row of a picture; about square where None.

    Raises:
        OSError: it could not be written; an old file of that name is whole.
    """
    arrays: dict[str, Array] = {
        "x": samples.x,
        "log_prob": samples.log_prob,
        "log_q": samples.log_q,
        "seed": np.asarray(seed, np.uint64),
        "first_index": np.asarray(samples.first_index, np.int64),
    }
    if samples.labels is not None:
        arrays["labels"] = samples.labels
    indices = samples.first_index + np.arange(len(samples))
    write_events(out, arrays, shown_samples(samples.x, samples.log_prob, indices, columns), data)


def shown_samples(x: Array, log_prob: Array, indices: Array, columns: int | None = None) -> Shown:
    """Events whose log p is known, in nats [n], with their sample indices [n]."""
    heads = [
        f"sample {i}: log p {nats:.2f} nats" for i, nats in zip(indices, log_prob, strict=True)
    ]
    return Shown(x, heads, columns=columns)


def write_events(
    out: str | Path, arrays: Mapping[str, Array], shown: Shown, data: "DataSpec"
) -> None:
    """Write events in the form that a file's suffix says.

    Args:
        out: a file, or - for text on standard output.
        arrays: of an .npz, by name.
        shown: of any other form.
        data: the space of events.

    Raises:
        OSError: it could not be written; an old file of that name is whole.
    """
    if is_picture(out):
        pixels = grid(_tiles(shown, data), data.levels, shown.columns, data.palette)
        write_atomically(out, png(pixels))
    elif Path(out).suffix.lower() == ".npz":
        write_arrays(out, arrays)
    else:
        write_text(out, _text(shown, data))


def mean_tiles(means: Array, data: "DataSpec", *, intervals: bool) -> Array:
    """What `grid` draws of means: their greys; between two colours of a palette is none.

    Args:
        means: [n, *event_shape], in units of levels.
        data: the space of events.
        intervals: as in `ancestral.pictures.greys`.
    """
    if data.palette is None:
        return greys(means, data.levels, intervals=intervals)
    return to_levels(means, data.levels, intervals=intervals)


def _tiles(shown: Shown, data: "DataSpec") -> Array:
    """What `grid` draws."""
    if shown.means:
        tiles = mean_tiles(shown.x, data, intervals=shown.intervals)
    else:
        tiles = to_levels(shown.x, data.levels, intervals=shown.intervals)
    if shown.above is None:
        return tiles
    return np.concatenate([to_levels(shown.above, data.levels, intervals=shown.intervals), tiles])


def _text(shown: Shown, data: "DataSpec") -> bytes:
    """The bytes of texts, each under a line that names it; or levels, an event a line."""
    events = shown.x.reshape(len(shown.x), -1)
    whole = events.dtype.kind in "iu"
    if data.tokenizer != "bytes" or not whole:
        form = b"%d" if whole else b"%g"
        return b"".join(b" ".join(form % value for value in event) + b"\n" for event in events)
    texts = [event.astype(np.uint8).tobytes() for event in events]
    if len(texts) == 1:
        return texts[0]
    named = zip(shown.heads, texts, strict=True)
    return b"".join(f"=== {head} ===\n".encode() + text + b"\n" for head, text in named)
