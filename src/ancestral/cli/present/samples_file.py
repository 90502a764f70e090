"""The files that samples are written to: pictures, arrays, text."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ancestral.cli.arrays import npz
from ancestral.cli.output import check_target, put_text
from ancestral.cli.present.means_file import mean_tiles
from ancestral.errors import InvalidInput
from ancestral.files.atomic import write_atomically
from ancestral.pictures import grid, is_image, png, to_levels

if TYPE_CHECKING:
    from ancestral.dataspec import DataSpec
    from ancestral.engine import Samples

Array = NDArray[Any]
STANDARD_OUTPUT = "-"
_SUFFIXES = (".npz", ".png", ".txt")


@dataclass(frozen=True, slots=True)
class Shown:
    """Events of equal weight, for people.

    Attributes:
        x: levels, or real values in units of levels, [n, *event_shape].
        heads: what each text among several stands under.
        intervals: whether level i stands for the real values [i, i + 1), else for the number i.
        means: whether they are means, whose greys a picture keeps; else it shows whole levels.
        columns: tiles in a row of a picture; about square where None.
    """

    x: Array
    heads: Sequence[str]
    intervals: bool = False
    means: bool = False
    columns: int | None = None


def check_format(
    out: str, data: "DataSpec | None" = None, keep: Iterable[Path | None] = ()
) -> None:
    """Refuse, before anything is drawn, a file that could not be written or does not suit the data.

    Raises:
        InvalidInput: an unknown suffix, a place that cannot be written to, a picture of no images.
    """
    if out == STANDARD_OUTPUT:
        return
    check_target(Path(out), _SUFFIXES, keep=keep)
    if data is not None and Path(out).suffix.lower() == ".png" and not is_image(data.event_shape):
        raise InvalidInput(
            f"--out: events {data.event_shape} are no images: expected .npz or .txt, got {out}"
        )


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


def write_events(out: str, arrays: Mapping[str, Array], shown: Shown, data: "DataSpec") -> None:
    """Write events in the form that a file's suffix says.

    Args:
        out: a file, or - for text on standard output.
        arrays: of an .npz, by name.
        shown: of any other form.
        data: the space of events.

    Raises:
        OSError: it could not be written; an old file of that name is whole.
    """
    if out == STANDARD_OUTPUT:
        put_text(_text(shown, data))
        return
    match Path(out).suffix.lower():
        case ".png":
            content = png(grid(_tiles(shown, data), data.levels, shown.columns, data.palette))
        case ".npz":
            content = npz(arrays)
        case _:
            content = _text(shown, data)
    write_atomically(out, content)


def _tiles(shown: Shown, data: "DataSpec") -> Array:
    """What `grid` draws."""
    if shown.means:
        return mean_tiles(shown.x, data, intervals=shown.intervals)
    return to_levels(shown.x, data.levels, intervals=shown.intervals)


def shown_samples(x: Array, log_prob: Array, indices: Array, columns: int | None = None) -> Shown:
    """Events whose log p is known, in nats [n], with their sample indices [n]."""
    heads = [
        f"sample {i}: log p {nats:.2f} nats" for i, nats in zip(indices, log_prob, strict=True)
    ]
    return Shown(x, heads, columns=columns)


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
