"""Files of events and of means E[x | z]: pictures, arrays, text."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ancestral.cli.output import arrow, check_target, place, say, write_text
from ancestral.dataspec import DataSpec
from ancestral.engine import LatentEngine
from ancestral.errors import InvalidInput
from ancestral.files.array_file import write_arrays
from ancestral.files.atomic import write_atomically
from ancestral.pictures import greys, grid, is_image, png, to_levels
from ancestral.threads import ThreadCount

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Shown:
    """Events of equal weight, for a picture or text.

    Attributes:
        x: levels, or real values in units of levels, [n, *event_shape].
        heads: the line above each text, if there are several texts.
        intervals: whether level i means the real values [i, i + 1); else it means the number i.
        means: whether x are means; a picture then keeps their greys instead of rounding to levels.
        columns: tiles in a row of a picture; None for an about square picture.
        above: events that a picture shows before x, rounded to levels.
    """

    x: Array
    heads: Sequence[str] = ()
    intervals: bool = False
    means: bool = False
    columns: int | None = None
    above: Array | None = None


def check_picture(out: str | Path, data: DataSpec, others: str) -> None:
    """Check that events are images if the output file is a picture.

    Raises:
        InvalidInput: they are not images; the error names the other suffixes.
    """
    if is_picture(out) and not is_image(data.event_shape):
        raise InvalidInput(
            f"--out: expected {others}, because events of shape {data.event_shape} are not images, "
            f"got {out}"
        )


def is_picture(out: str | Path) -> bool:
    """Return whether a file of that name is a picture."""
    return Path(out).suffix.lower() == ".png"


def shown_samples(
    x: Array, log_prob: Array, indices: Iterable[int], columns: int | None = None
) -> Shown:
    """Return events with their log p in nats, [n], and sample indices, [n], as headings."""
    each = zip(indices, log_prob, strict=True)
    return Shown(x, [f"sample {i}: log p {nats:.2f} nats" for i, nats in each], columns=columns)


def write_events(
    out: str | Path, arrays: Mapping[str, Array], shown: Shown, data: DataSpec
) -> None:
    """Write events in the format of the file's suffix.

    Args:
        out: a file, or "-" for text on standard output.
        arrays: the arrays of an .npz, by name.
        shown: the events for any other format.
        data: the space of events.

    Raises:
        OSError: the file could not be written; an old file of that name is intact.
    """
    if is_picture(out):
        pixels = grid(tiles_of(shown, data), data.levels, shown.columns, data.palette)
        write_atomically(out, png(pixels))
    elif Path(out).suffix.lower() == ".npz":
        write_arrays(out, arrays)
    else:
        write_text(out, _text(shown, data))


def check_means_file(out: Path, *read: Path, n: int = 1) -> int | None:
    """Check, before the work starts, that means can be written to a file.

    Args:
        out: the file.
        read: the bundle and the input file.
        n: maximum number of events, or pairs of events, in a picture.

    Returns:
        n for a picture; None for an .npz, which holds all events.

    Raises:
        InvalidInput: the suffix is unknown, the file cannot be written, or n is less than 1.
    """
    if n < 1:
        raise InvalidInput(f"-n: expected an integer >= 1, got {n}")
    check_target(out, (".png", ".npz"), keep=read)
    return n if is_picture(out) else None


def load_for_means(
    bundle: Path, out: Path, backend: str, device: str, threads: ThreadCount
) -> LatentEngine:
    """Load a latent variable model whose means can be written to the file.

    Raises:
        InvalidInput: the bundle is of another kind, or the file is a picture and events are not
            images.
    """
    engine = LatentEngine.load(bundle, backend=backend, device=device, threads=threads)
    check_picture(out, engine.data, ".npz")
    return engine


def of_all(drawn: int, there: int, what: str) -> str:
    """Return how many events were drawn and how to draw all: "16 of 20 events (-n 20 draws all)".

    >>> of_all(16, 20, "events"), of_all(20, 20, "events")
    ('16 of 20 events (-n 20 draws all)', '20 events')
    """
    more = "" if drawn == there else f" (-n {there} draws all)"
    return f"{drawn}{f' of {there}' if more else ''} {what}{more}"


def write_means(
    out: Path,
    arrays: Mapping[str, Array],
    columns: int | None,
    engine: LatentEngine,
    what: str,
    events: Array | None = None,
) -> None:
    """Write arrays or a picture, and report what was written.

    Args:
        out: the file; its suffix gives the format.
        arrays: arrays by name; the picture shows x_mean, [..., *event_shape], in units of levels.
        columns: tiles in a row of the picture; None for an about square picture.
        engine: the engine whose events they are.
        what: description of the means for the message.
        events: events to show before the means: levels, or real values in units of levels.

    Raises:
        OSError: the file could not be written; an old file of that name is intact.
    """
    shown = Shown(
        arrays["x_mean"].reshape(-1, *engine.data.event_shape),
        intervals=engine.latent.continuous,
        means=True,
        columns=columns,
        above=events,
    )
    write_events(out, arrays, shown, engine.data)
    say(f"{what}, {place(engine)}{arrow(out)}")


def tiles_of(shown: Shown, data: DataSpec) -> Array:
    """Return the tiles for `grid`: levels, or the greys of means unless the data has a palette."""
    draw = greys if shown.means and data.palette is None else to_levels
    tiles = draw(shown.x, data.levels, intervals=shown.intervals)
    if shown.above is None:
        return tiles
    return np.concatenate([to_levels(shown.above, data.levels, intervals=shown.intervals), tiles])


def _text(shown: Shown, data: DataSpec) -> bytes:
    """Return the bytes of texts, each under a heading; or levels, one event per line."""
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
