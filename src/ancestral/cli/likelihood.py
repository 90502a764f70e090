"""Log-probabilities of events, and of texts of any length: what `ancestral log-prob` prints."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ancestral.cli.events import Events, check_labelled, labels_in
from ancestral.cli.output import put, say
from ancestral.cli.present.bound_summary import Mean
from ancestral.cli.present.top_values import put_events, put_positions, top_arrays
from ancestral.cli.text_input import encode_texts, read_text
from ancestral.engine import AutoregressiveEngine, TextLikelihood, Top
from ancestral.errors import InvalidInput
from ancestral.files.array_file import ArrayFile, write_arrays
from ancestral.progress import progress_bar
from ancestral.units import bits_per_dim, bits_unit, fixed


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to compute, and where to write it.

    Attributes:
        out: an .npz to write, or None to print.
        path: way to compute log p, as in `AutoregressiveEngine.log_prob`.
        top: number of most probable values of each position, or None.
    """

    out: Path | None
    path: Literal["parallel", "steps"]
    top: int | None


def events_log_prob(
    engine: AutoregressiveEngine,
    events: Events,
    label: int | None,
    wanted: Wanted,
) -> None:
    """Print or write log p of each event, and report the mean.

    Args:
        engine: a bundle on a backend.
        events: the events of a file.
        label: label of all events, instead of those in the file.
        wanted: what to compute, and where to write it.

    Raises:
        InvalidInput: an event or a label is invalid, or labels are missing.
    """
    labels: Any = label
    if label is None and engine.data.num_classes is not None:
        labels = labels_in(events.arrays)
    x = events.of_model(engine.data)
    check_labelled(events.arrays.path, labels, engine)
    best: Top | None = None
    if wanted.top is None:
        nats = engine.log_prob(x, labels, path=wanted.path)
    else:
        found = engine.log_prob(x, labels, top=wanted.top)
        nats, best = found.log_prob.sum(axis=1, dtype=np.float64), found.top
    if wanted.out is not None:
        write_arrays(wanted.out, {"log_prob": nats} | top_arrays(best))
    elif best is None:
        for value in nats:
            put(f"{value:z.6f}")
    else:
        put_events(engine.data.in_order(x), found.log_prob, best)
    bits, unit = bits_per_dim(nats, engine.data.event_shape), bits_unit(engine.data.tokenizer)
    one = len(nats) == 1
    what, error = ("1 event:", "") if one else (f"{len(nats)} events: mean", " (+- standard error)")
    name = f"log p(x{'' if labels is None else ' | y'})"
    say(f"{what} {name} = {Mean.of(nats)} nats, {Mean.of(bits)} {unit}{error}")


def text_log_prob(
    engine: AutoregressiveEngine,
    text: Path | None,
    ids: Path | None,
    stride: int | None,
    label: int | None,
    wanted: Wanted,
) -> None:
    """Score a sequence: print its log-likelihood, and write that of each id.

    Args:
        engine: a bundle on a backend.
        text: a UTF-8 file, or None if `ids` is given.
        ids: an .npy or .npz of ids, or None if `text` is given.
        stride: positions by which the windows slide; None for half the context.
        label: label of the sequence.
        wanted: what to compute, and where to write it.

    Raises:
        InvalidInput: the file is empty or not UTF-8, or the bundle has no tokenizer.
    """
    if ids is not None:
        sequence, size, whole = ArrayFile.open(ids).pick("ids", "x"), None, True
    else:
        assert text is not None
        sequence, size, whole = _encoded(engine, text)
    with progress_bar("scoring") as progress:
        found = engine.text_likelihood(
            sequence, stride, label, progress, path=wanted.path, top=wanted.top
        )
    out = wanted.out
    if out is not None:
        numbers = {name: np.asarray(getattr(found, name)) for name in ("context", "stride")}
        arrays = {"ids": sequence, "log_prob": found.log_prob, "seen": found.seen}
        write_arrays(out, arrays | numbers | top_arrays(found.top))
    elif found.top is not None:
        put_positions(sequence, found.log_prob, found.top)
    for name, value in _lines(found, size, whole):
        put(f"{name:<12}{value}")
    if size is not None and whole:
        say(
            "bits/byte uses the canonical tokenisation: an upper bound, because other "
            "tokenisations of the same text add probability"
        )
    if out is not None:
        say(f"-> {out}")


def _lines(found: TextLikelihood, size: int | None, whole: bool) -> list[tuple[str, str]]:
    """Return the lines of the summary as (name, value).

    Args:
        found: the likelihood of a sequence.
        size: bytes of its text; None if the sequence was given as ids.
        whole: whether decoding the ids gives the text back. If not, other texts have the same ids,
            and the numbers are not a bound on the probability of this text.
    """
    given = " given the first token, which has no probability" if found.first_given else ""
    name = "log p(x_2.. | x_1)" if found.first_given else "log p"
    t, stride = found.context, found.stride
    least = "all before it" if len(found.log_prob) <= t else f"{t - stride} before it, or all"
    lines = [
        ("tokens", f"{found.scored:,}{given}"),
        ("context", f"{t:,} positions; each token is conditioned on at least {least}"),
        ("stride", f"{stride:,}"),
        ("nats", f"{fixed(found.total, 4)} = {name}"),
        ("nats/token", fixed(found.total / found.scored, 6)),
        ("perplexity", f"{found.perplexity:.4f}"),
    ]
    if size is not None:
        rest = " once the bits of the first token are added" if found.first_given else ""
        meaning = (
            f"an upper bound{rest}"
            if whole
            else "of the tokens only, which do not decode to this text"
        )
        bits = fixed(found.bits_per_byte(size), 6)
        lines.append(("bits/byte", f"{bits} of {size:,} bytes, {meaning}"))
    return lines


def _encoded(engine: AutoregressiveEngine, file: Path) -> tuple[NDArray[Any], int | None, bool]:
    """Return the ids of a text, its size in bytes, and whether the ids decode to the text."""
    if engine.data.tokenizer is None:
        raise InvalidInput(
            f"--text: {engine.bundle.path} has no tokenizer; pass ids instead: --ids FILE.npy"
        )
    text, tokenizer = read_text(file, "--text"), engine.tokenizer()
    (ids,) = encode_texts(tokenizer, [text], f"--text {file}")
    if not ids:
        raise InvalidInput(
            f"--text {file}: the file is empty or has only spaces; pass a file with text"
        )
    return np.array(ids, np.int64), len(text.encode()), tokenizer.decode(ids) == text
