"""`ancestral log-prob --text`: how probable a text of any length is."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ancestral.cli.output import put, say
from ancestral.cli.text_input import encode_texts, read_text
from ancestral.errors import InvalidInput

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ancestral.engine import AutoregressiveEngine, TextLikelihood


@dataclass(frozen=True, slots=True)
class Source:
    """Where a sequence comes from: a text, or ids; one of the two is given.

    Attributes:
        text: a file of UTF-8.
        ids: an .npy or .npz of ids.
        stride: by which windows slide; half the context where None.
    """

    text: Path | None = None
    ids: Path | None = None
    stride: int | None = None

    def check(self, events: Path | None) -> None:
        """Refuse several of them beside each other.

        Raises:
            InvalidInput: not just one of them is given, or a stride for events.
        """
        given = [name for name in (self.text, self.ids, events) if name is not None]
        if len(given) != 1:
            raise InvalidInput(
                f"log-prob: expected one of FILE (events), --text FILE or --ids FILE, got "
                f"{len(given)} of them"
            )
        if events is not None and self.stride is not None:
            raise InvalidInput("--stride: of --text or --ids; whole events have no windows")


def text_log_prob(
    engine: "AutoregressiveEngine", source: Source, label: int | None, out: Path | None
) -> None:
    """Score a sequence, print its log-likelihood, and write that of each id.

    Raises:
        InvalidInput: the file is empty or no UTF-8, or the bundle has no tokenizer.
    """
    from ancestral.cli.arrays import write_arrays
    from ancestral.progress import progress_bar

    ids, size, whole = _sequence(engine, source)
    with progress_bar("scoring") as progress:
        found = engine.text_likelihood(ids, source.stride, label, progress)
    if out is not None:
        arrays = {"ids": ids, "log_prob": found.log_prob, "seen": found.seen}
        write_arrays(out, arrays | _numbers(found))
    for name, value in lines(found, size, whole):
        put(f"{name:<12}{value}")
    if size is not None and whole:
        say(
            "bits/byte is of the canonical tokenisation: an upper bound on the text's own, to "
            "which other tokenisations add probability"
        )
    if out is not None:
        say(f"-> {out}")


def lines(found: "TextLikelihood", size: int | None, whole: bool = True) -> list[tuple[str, str]]:
    """What is told, by name.

    Args:
        found: of a sequence.
        size: bytes of its text, where it is one.
        whole: whether the ids give that text back; else they stand for other texts too, and say
            nothing of its own probability.
    """
    from ancestral.units import fixed

    given = " given the first token, which has no probability" if found.first_given else ""
    name = "log p(x_2.. | x_1)" if found.first_given else "log p"
    t, stride = found.context, found.stride
    least = "all before it" if len(found.log_prob) <= t else f"{t - stride} before it, or all"
    told = [
        ("tokens", f"{found.scored:,}{given}"),
        ("context", f"{t:,} positions; each token is given at least {least}"),
        ("stride", f"{stride:,}"),
        ("nats", f"{fixed(found.total, 4)} = {name}"),
        ("nats/token", fixed(found.total / found.scored, 6)),
        ("perplexity", f"{found.perplexity:.4f}"),
    ]
    if size is not None:
        less = ", and the bits of the first token" if found.first_given else ""
        bits = f"{fixed(found.bits_per_byte(size), 6)} of {size:,} bytes"
        lost = f"{bits}, of the tokens alone: they do not give this text back"
        told.append(("bits/byte", f"{bits}, at most{less}" if whole else lost))
    return told


def _sequence(
    engine: "AutoregressiveEngine", source: Source
) -> tuple["NDArray[Any]", int | None, bool]:
    """The ids, the bytes of the text that they are of, and whether they give it back."""
    import numpy as np

    from ancestral.cli.arrays import pick, read_arrays

    if source.ids is not None:
        return pick(source.ids, read_arrays(source.ids), ("ids", "x")), None, True
    assert source.text is not None
    if engine.data.tokenizer is None:
        raise InvalidInput(
            f"--text: {engine.bundle.path} has no tokenizer: expected ids, by --ids FILE.npy"
        )
    text = read_text(source.text, "--text")
    tokenizer = engine.tokenizer()
    (ids,) = encode_texts(tokenizer, [text], f"--text {source.text}")
    if not ids:
        raise InvalidInput(
            f"--text: expected a text, got none: {source.text} is empty, or has blanks only"
        )
    return np.array(ids, np.int64), len(text.encode()), tokenizer.decode(ids) == text


def _numbers(found: "TextLikelihood") -> "dict[str, NDArray[Any]]":
    import numpy as np

    return {"context": np.asarray(found.context), "stride": np.asarray(found.stride)}
