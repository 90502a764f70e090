"""`ancestral sample --prompt`: continuations of prompts, as text, ids or arrays."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import typer

from ancestral.cli.interrupts import finished
from ancestral.cli.output import put_text, say
from ancestral.cli.present.generation_file import TokenText, write_generated
from ancestral.cli.samples import Draw
from ancestral.cli.speculation import described
from ancestral.cli.text_input import encode_texts, read_lines, without_mark
from ancestral.decimals import decimal, decimals
from ancestral.engine import AutoregressiveEngine, Generated
from ancestral.engine.generate import generate_batches
from ancestral.engine.prompt_batch import Options
from ancestral.engine.speculation import joined
from ancestral.errors import InvalidInput
from ancestral.progress import progress_bar
from ancestral.text.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True)
class Prompts:
    """The prompts to continue, and the options that go with them.

    Attributes:
        texts: the prompts given as text.
        file: a file with one prompt per line, or None.
        ids: the prompts given as ids: integers separated by spaces.
        max_new: maximum number of tokens to draw.
        stop: stop tokens, as ids or as texts of one token; if empty, the bundle's own.
        stream: whether tokens are shown as they are drawn; None for yes if there is one
            continuation, printed on a terminal.
        logprobs: number of most probable values to show for each token; None if not given.
    """

    texts: Sequence[str] = ()
    file: Path | None = None
    ids: Sequence[str] = ()
    max_new: int | None = None
    stop: Sequence[str] = ()
    stream: bool | None = None
    logprobs: int | None = None

    @property
    def given(self) -> bool:
        """Whether there is a prompt.

        Raises:
            InvalidInput: an option for prompts is given without a prompt.
        """
        if self.texts or self.ids or self.file is not None:
            return True
        options = {"--max-new": self.max_new, "--stop": self.stop or None, "--stream": self.stream}
        options["--logprobs"] = self.logprobs
        lonely = [name for name, value in options.items() if value is not None]
        if lonely:
            raise InvalidInput(
                f"{' and '.join(lonely)}: only used with a prompt; add --prompt, --prompts or "
                f"--prompt-ids"
            )
        return False


def sample_prompts(engine: AutoregressiveEngine, prompts: Prompts, draw: Draw) -> None:
    """Continue every prompt n times; write the continuations and report them.

    Raises:
        InvalidInput: a prompt or an option is invalid, or more than one continuation is streamed.
        typer.Exit: with code 130 after Ctrl-C.
    """
    tokenizer = None if engine.data.tokenizer is None else engine.tokenizer()
    each = prompts_of(prompts, tokenizer)
    n = draw.count(engine.data, 1, len(each))
    ids = [prompt for prompt in each for _ in range(n // len(each))]
    labels, description = draw.labels(n, engine.data)
    streams = _streams(prompts, draw.out, n)
    stops = stops_of(prompts, tokenizer)
    options = Options(
        prompts.max_new, stops, labels, draw.seed, draw.first_index, draw.sampling, draw.batch
    )
    speculate = draw.proposals.speculate(engine)
    options = replace(options, logprobs=prompts.logprobs or 0, speculate=speculate)
    if streams:
        parts, interrupted = _streamed(engine, ids, options, tokenizer)
    else:
        with progress_bar("sampling") as progress:
            options = replace(options, progress=progress)
            parts, interrupted = finished(generate_batches(engine, ids, options))
    rows = [row for part in parts for row in part]
    if not streams and rows:
        write_generated(draw.out, rows, draw.seed, labels, tokenizer)
    if rows:
        indices = (rows[0].index, rows[-1].index)
        counted = [row.speculated for row in rows if row.speculated is not None]
        numbers = _numbers(rows, engine) + described(joined(counted) if counted else None)
        draw.say(f"{len(rows)} continuations", description, indices, engine, numbers)
    if interrupted:
        say(f"interrupted: {len(rows)} of {n} continuations were finished")
        raise typer.Exit(130)


def prompts_of(prompts: Prompts, tokenizer: Tokenizer | None) -> list[list[int]]:
    """Return the prompts as ids: first --prompt, then the lines of --prompts, then --prompt-ids.

    Raises:
        InvalidInput: a prompt cannot be read or encoded, or there is no prompt.
    """
    texts = [without_mark(text, "--prompt") for text in prompts.texts]
    if prompts.file is not None:
        texts += read_lines(prompts.file, "--prompts")
    if texts and tokenizer is None:
        raise InvalidInput(
            "--prompt: the bundle has no tokenizer; pass ids instead, for example --prompt-ids "
            "'1 2 3'"
        )
    found = [] if tokenizer is None else encode_texts(tokenizer, texts, "prompt")
    form = "integers separated by spaces, for example '1 2 3'"
    found += [decimals("--prompt-ids", text, form, separator=None) for text in prompts.ids]
    if not found:
        raise InvalidInput(
            f"--prompts {prompts.file}: the file is empty; write one prompt per line"
        )
    return found


def stops_of(prompts: Prompts, tokenizer: Tokenizer | None) -> tuple[int, ...] | None:
    """Return the ids of the stop tokens; None if none is given.

    Raises:
        InvalidInput: a text is not that of one token.
    """
    return tuple(_stop(text, tokenizer) for text in prompts.stop) if prompts.stop else None


def _stop(text: str, tokenizer: Tokenizer | None) -> int:
    """Return the id of a stop token, given as an id or as its text."""
    number = decimal(text)
    if number is not None:
        return number
    if tokenizer is None:
        raise InvalidInput(
            f"--stop: expected a token id, because the bundle has no tokenizer, got {text!r}"
        )
    ids, lost = tokenizer.encode_with_coverage(text)
    wrong = ""
    if lost.unknown:
        wrong = f": {lost.unknown} of its {lost.total} {lost.unit} are not in the vocabulary"
    elif len(ids) != 1:
        wrong = f", which is {len(ids)} tokens: {' '.join(map(str, ids))}"
    if wrong:
        raise InvalidInput(f"--stop: expected an id or the text of one token, got {text!r}{wrong}")
    return ids[0]


def _streams(prompts: Prompts, out: str, rows: int) -> bool:
    wanted = prompts.stream
    if prompts.logprobs:
        if wanted:
            raise InvalidInput("--stream: not used with --logprobs; leave one of them out")
        return False
    if wanted is None:
        return out == "-" and rows == 1 and sys.stdout.isatty()
    if wanted and (out != "-" or rows != 1):
        raise InvalidInput(
            f"--stream: expected one continuation, to standard output, got {rows} to {out}"
        )
    return wanted


def _streamed(
    engine: AutoregressiveEngine,
    ids: list[list[int]],
    options: Options,
    tokenizer: Tokenizer | None,
) -> tuple[list[list[Generated]], bool]:
    """Draw one continuation and print its tokens as they are drawn."""
    shown = TokenText(tokenizer, engine.data.stop if options.stop is None else options.stop)

    def show(index: int, tokens: Any) -> None:
        put_text(shown.push(tokens.tolist()))

    batches = generate_batches(engine, ids, replace(options, stream=show))
    put_text(shown.push(ids[0], prompt=True))
    parts, interrupted = finished(batches)
    put_text(shown.finish() + "\n")
    return parts, interrupted


def _numbers(rows: Sequence[Generated], engine: AutoregressiveEngine) -> str:
    """Return how probable the prompts and continuations are, and why the continuations ended."""
    drawn = sum(len(row.tokens) for row in rows)
    nats = sum(float(row.log_p.sum()) for row in rows)
    ends = {
        "stop": "at a stop token",
        "max_new": "at --max-new",
        "context": "at the end of the context",
    }
    reasons = [
        f"{count} {words}"
        for end, words in ends.items()
        if (count := sum(row.ended == end for row in rows))
    ]
    name = "log p(x_2.. | x_1)" if engine.bundle.manifest.first_position else "log p"
    nats_of_prompts = [row.prompt_log_p.sum() for row in rows if row.prompt_log_p is not None]
    prompt = float(sum(nats_of_prompts)) / len(rows)
    mean = f", mean log p {nats / drawn:.3f} nats/token" if drawn else ""
    return (
        f"mean {name} of a prompt {prompt:.2f} nats; {drawn} tokens drawn{mean}; "
        f"ended: {', '.join(reasons)}"
    )
