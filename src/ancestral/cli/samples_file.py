"""The files that samples are written to: pictures, arrays, text."""

import io
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ancestral.cli.output import check_target
from ancestral.errors import InvalidInput
from ancestral.files import write_atomically
from ancestral.pictures import grid, is_image, png

if TYPE_CHECKING:
    from ancestral.dataspec import DataSpec
    from ancestral.engine import Samples

STANDARD_OUTPUT = "-"
_SUFFIXES = (".npz", ".png", ".txt")


def check_format(out: str, data: "DataSpec | None" = None) -> None:
    """Refuse, before anything is drawn, a file that could not be written or does not suit the data.

    Raises:
        InvalidInput: an unknown suffix, a place that cannot be written to, a picture of no images.
    """
    if out == STANDARD_OUTPUT:
        return
    check_target(Path(out), _SUFFIXES)
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
    if out == STANDARD_OUTPUT:
        sys.stdout.buffer.write(_text(samples, data))
        sys.stdout.buffer.flush()
        return
    match Path(out).suffix.lower():
        case ".png":
            content = png(grid(samples.x, data.levels, columns))
        case ".npz":
            content = _npz(samples, seed)
        case _:
            content = _text(samples, data)
    write_atomically(out, content)


def _npz(samples: "Samples", seed: int) -> bytes:
    arrays = {
        "x": samples.x,
        "log_prob": samples.log_prob,
        "log_q": samples.log_q,
        "seed": np.asarray(seed, np.uint64),
        "first_index": np.asarray(samples.first_index, np.int64),
    }
    if samples.labels is not None:
        arrays["labels"] = samples.labels
    content = io.BytesIO()
    np.savez_compressed(content, allow_pickle=False, **arrays)
    return content.getvalue()


def _text(samples: "Samples", data: "DataSpec") -> bytes:
    """The bytes of texts, each under a line that names it; or levels, an event a line."""
    events = samples.x.reshape(len(samples), -1)
    if data.tokenizer != "bytes":
        return b"".join(b" ".join(b"%d" % value for value in event) + b"\n" for event in events)
    texts = [event.astype(np.uint8).tobytes() for event in events]
    if len(texts) == 1:
        return texts[0]
    parts = []
    for i, (text, nats) in enumerate(zip(texts, samples.log_prob, strict=True)):
        head = f"=== sample {samples.first_index + i}: log p {nats:.2f} nats ===\n"
        parts.append(head.encode() + text + b"\n")
    return b"".join(parts)
