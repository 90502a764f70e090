"""`ancestral sample --prompt`: continuations of prompts, as text, ids or arrays."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from ancestral.cli.interrupts import finished
from ancestral.cli.output import check_target, put_text, say
from ancestral.cli.text_input import encode_texts, read_lines, without_mark
from ancestral.decimals import decimal
from ancestral.errors import InvalidInput
from ancestral.excerpts import quoted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ancestral.engine import AutoregressiveEngine, Generated, Sampling
    from ancestral.text.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True)
class Prompts:
    """What was asked to be continued.

    Attributes:
        texts: one by one.
        file: of a prompt a line, or None.
        ids: whole numbers with blanks between them.
        max_new: tokens to draw at most.
        stop: texts of one token, or ids; none are the bundle's own.
        stream: whether tokens are shown as they come; None where it suits.
    """

    texts: Sequence[str] = ()
    file: Path | None = None
    ids: Sequence[str] = ()
    max_new: int | None = None
    stop: Sequence[str] = ()
    stream: bool | None = None

    @property
    def given(self) -> bool:
        """Whether there is any prompt.

        Raises:
            InvalidInput: there is none, but options that are for prompts.
        """
        if self.texts or self.ids or self.file is not None:
            return True
        options = {"--max-new": self.max_new, "--stop": self.stop or None, "--stream": self.stream}
        lonely = [name for name, value in options.items() if value is not None]
        if lonely:
            raise InvalidInput(
                f"{' and '.join(lonely)}: expected a prompt beside it: --prompt, --prompts or "
                f"--prompt-ids"
            )
        return False


@dataclass(frozen=True, slots=True)
class Draw:
    """How continuations are drawn; as in `ancestral sample`."""

    n: int
    label: int | None
    seed: int
    first_index: int
    sampling: "Sampling"
    batch: int | None
    out: str


def check_out(out: str) -> None:
    """Refuse a file that text could not be written to, before anything is drawn.

    Raises:
        InvalidInput: it could not.
    """
    if out != "-":
        check_target(Path(out), (".npz", ".txt"))


def sample_prompts(engine: "AutoregressiveEngine", prompts: Prompts, draw: Draw) -> None:
    """Continue every prompt n times; write, and tell on standard error.

    Raises:
        InvalidInput: a prompt that is none, or more than one to stream.
    """
    from ancestral.cli.present.generation_file import write_generated
    from ancestral.cli.present.labels import in_turn
    from ancestral.engine.arguments import check_size
    from ancestral.engine.generate import Request, generate_batches
    from ancestral.progress import progress_bar

    has_text = engine.data.tokenizer is not None
    tokenizer = engine.tokenizer() if has_text else None
    each = _ids(prompts, tokenizer)
    check_size("n", draw.n * len(each), 8 * engine.data.length)
    ids = [prompt for prompt in each for _ in range(draw.n)]
    labels, told = in_turn(draw.label, len(ids), draw.first_index, engine.data)
    streams = _streams(prompts.stream, draw.out, len(ids))
    request = Request(
        prompts.max_new,
        _stops(prompts.stop, tokenizer),
        labels,
        draw.seed,
        draw.first_index,
        draw.sampling,
        draw.batch,
    )
    if streams:
        rows, interrupted = _streamed(engine, ids, request, tokenizer)
    else:
        with progress_bar("sampling") as progress:
            request = replace(request, progress=progress)
            rows, interrupted = _rows(generate_batches(engine, ids, request))
    if not streams and rows:
        write_generated(draw.out, rows, draw.seed, labels, tokenizer)
    if rows:
        say(_summary(rows, engine, f"{told}seed {draw.seed}", draw.out))
    if interrupted:
        say(f"interrupted: {len(rows)} of {len(ids)} continuations were finished")
        raise typer.Exit(130)


def _ids(prompts: Prompts, tokenizer: "Tokenizer | None") -> list[list[int]]:
    """The prompts as ids, in the order: --prompt, the lines of --prompts, --prompt-ids."""
    texts = [without_mark(text, "--prompt") for text in prompts.texts]
    if prompts.file is not None:
        texts += read_lines(prompts.file, "--prompts")
    if texts and tokenizer is None:
        raise InvalidInput(
            "--prompt: the bundle has no tokenizer: expected ids, by --prompt-ids '1 2 3'"
        )
    found = [] if tokenizer is None else encode_texts(tokenizer, texts, "prompt")
    for text in prompts.ids:
        numbers = [number for part in text.split() if (number := decimal(part)) is not None]
        if len(numbers) != len(text.split()):
            raise InvalidInput(
                f"--prompt-ids: expected whole numbers with blanks between them, '1 2 3' say, got "
                f"{quoted(text)}"
            )
        found.append(numbers)
    if not found:
        raise InvalidInput(f"--prompts: expected a prompt a line, got none in {prompts.file}")
    return found


def _stops(stops: Sequence[str], tokenizer: "Tokenizer | None") -> tuple[int, ...] | None:
    """The stop tokens; None leaves them to the bundle."""
    return tuple(_stop(text, tokenizer) for text in stops) if stops else None


def _stop(text: str, tokenizer: "Tokenizer | None") -> int:
    number = decimal(text)
    if number is not None:
        return number
    if tokenizer is None:
        raise InvalidInput(f"--stop: the bundle has no tokenizer: expected an id, got {text!r}")
    lost, ids = tokenizer.coverage(text), tokenizer.encode(text)
    if lost.unknown:
        raise InvalidInput(
            f"--stop: expected an id, or text of one token, got {text!r}: {lost.unknown} of its "
            f"{lost.total} {lost.unit} are not in the vocabulary"
        )
    if len(ids) != 1:
        raise InvalidInput(
            f"--stop: expected an id, or text of one token, got {text!r}, which is {len(ids)}: "
            f"{' '.join(map(str, ids))}"
        )
    return ids[0]


def _streams(asked: bool | None, out: str, rows: int) -> bool:
    if asked is None:
        return out == "-" and rows == 1 and sys.stdout.isatty()
    if asked and (out != "-" or rows != 1):
        raise InvalidInput(
            f"--stream: expected one continuation, to standard output, got {rows} to {out}"
        )
    return asked


def _rows(batches: "Iterator[list[Generated]]") -> tuple[list["Generated"], bool]:
    """The rows of the batches that were finished, and whether Ctrl-C came before the last."""
    parts, interrupted = finished(batches)
    return [row for part in parts for row in part], interrupted


def _streamed(
    engine: "AutoregressiveEngine",
    ids: list[list[int]],
    request: Any,
    tokenizer: "Tokenizer | None",
) -> tuple[list["Generated"], bool]:
    """Show one continuation as it comes."""
    from ancestral.cli.present.generation_file import Shown
    from ancestral.engine.generate import generate_batches

    shown = Shown(tokenizer, engine.data.stop if request.stop is None else request.stop)

    batches = generate_batches(
        engine,
        ids,
        replace(request, stream=lambda index, tokens: put_text(shown.push(tokens.tolist()))),
    )
    put_text(shown.push(ids[0], prompt=True))
    rows, interrupted = _rows(batches)
    put_text(shown.finish() + "\n")
    return rows, interrupted


def _summary(
    rows: Sequence["Generated"], engine: "AutoregressiveEngine", how: str, out: str
) -> str:
    """What was drawn, how probable it is and why it ended."""
    drawn = sum(len(row.tokens) for row in rows)
    nats = sum(float(row.log_p.sum()) for row in rows)
    ends = {"stop": "at a stop token", "max_new": "at --max-new", "context": "at the context's end"}
    reasons = [
        f"{count} {words}"
        for end, words in ends.items()
        if (count := sum(row.ended == end for row in rows))
    ]
    first = engine.bundle.manifest.first_position
    name = "log p(x_2.. | x_1)" if first else "log p"
    prompt = float(sum(row.prompt_log_p.sum() for row in rows)) / len(rows)
    mean = f"{nats / drawn:.3f} nats a token" if drawn else "none"
    tail = "" if out == "-" else f" -> {out}"
    return (
        f"{len(rows)} continuations, {how}, indices {rows[0].index} .. {rows[-1].index}, "
        f"{engine.backend.name} on {engine.backend.device}: mean {name} of a prompt "
        f"{prompt:.2f} nats; {drawn} tokens drawn, mean log p {mean}; ended: "
        f"{', '.join(reasons)}{tail}"
    )
