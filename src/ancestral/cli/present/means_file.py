"""The files that means E[x | z] are written to: pictures that keep their greys, arrays."""

from collections.abc import Mapping
from pathlib import Path

from ancestral.cli.output import check_target
from ancestral.cli.present.events_file import (
    Array,
    Shown,
    check_picture,
    is_picture,
    write_events,
)
from ancestral.engine import LatentEngine
from ancestral.errors import InvalidInput


def check_means_file(out: Path, *read: Path, n: int = 1) -> int | None:
    """Refuse, before the work that it is for, a file that means could not be written to.

    Args:
        out: the file.
        read: the bundle, and the file that is read.
        n: events, or pairs of them, of a picture at most.

    Returns:
        n for a picture; None for an .npz, which holds all.

    Raises:
        InvalidInput: an unknown suffix, a place that cannot be written to, or n below 1.
    """
    if n < 1:
        raise InvalidInput(f"-n: expected an integer >= 1, got {n}")
    check_target(out, (".png", ".npz"), keep=read)
    return n if is_picture(out) else None


def load_for_means(
    bundle: Path, out: Path, backend: str, device: str, threads: int | None
) -> LatentEngine:
    """Load a latent variable model whose means the file suits.

    Raises:
        InvalidInput: the bundle is of another kind, or the file is a picture of no images.
    """
    engine = LatentEngine.load(bundle, backend=backend, device=device, threads=threads)
    check_picture(out, engine.data, ".npz")
    return engine


def of_all(drawn: int, there: int, what: str) -> str:
    """How many are in a picture, and the way to more: "16 of 20 events (-n 20 draws all)".

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
    events: Array | None = None,
) -> None:
    """Write arrays, or a picture.

    Args:
        out: its suffix says which.
        arrays: by name; the picture is of x_mean, [..., *event_shape], in units of levels.
        columns: tiles in a row of it; about square where None.
        engine: whose events they are.
        events: drawn before the means: levels, or real values in units of levels.

    Raises:
        OSError: it could not be written; an old file of that name is whole.
    """
    shown = Shown(
        arrays["x_mean"].reshape(-1, *engine.data.event_shape),
        intervals=engine.latent.continuous,
        means=True,
        columns=columns,
        above=events,
    )
    write_events(out, arrays, shown, engine.data)
