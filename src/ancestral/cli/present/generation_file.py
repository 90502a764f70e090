"""Continuations as text, ids or arrays."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ancestral.cli.output import write_text
from ancestral.cli.present.top_values import position_lines
from ancestral.engine import Generated, Top
from ancestral.files.array_file import write_arrays
from ancestral.text.tokenizer import TextStream, Tokenizer


class TokenText:
    """The text of tokens as they are drawn; their ids if there is no tokenizer.

    A stop token that was drawn is not shown: it ends the text and is not part of it.
    """

    def __init__(self, tokenizer: Tokenizer | None, stop: Sequence[int]) -> None:
        self._stop = frozenset(stop)
        self._stream = None if tokenizer is None else TextStream(tokenizer)
        self._begun = False

    def push(self, ids: Sequence[int], *, prompt: bool = False) -> str:
        """Add ids and return the text that can be shown now."""
        kept = [i for i in ids if prompt or i not in self._stop]
        if self._stream is not None:
            return self._stream.push(kept)
        gap = " " if self._begun and kept else ""
        self._begun = self._begun or bool(kept)
        return gap + " ".join(map(str, kept))

    def finish(self) -> str:
        """Return the text that was held back."""
        return "" if self._stream is None else self._stream.finish()


def write_generated(
    out: str,
    rows: Sequence[Generated],
    seed: int,
    labels: int | NDArray[Any] | None,
    tokenizer: Tokenizer | None,
) -> None:
    """Write continuations.

    Args:
        out: a file, whose suffix gives its format, or "-" for text on standard output.
        rows: the continuations; at least one.
        seed: seed of their noise.
        labels: one label for all rows, or at least one per row; None without classes.
        tokenizer: the bundle's tokenizer; without one, ids are written.

    Raises:
        OSError: the file could not be written; an old file of that name is intact.
    """
    if Path(out).suffix.lower() != ".npz":
        write_text(out, _text(rows, tokenizer).encode())
        return
    arrays = arrays_of(rows, seed)
    if labels is not None:
        each = np.asarray(labels)
        arrays["labels"] = each[: len(rows)] if each.ndim else np.broadcast_to(each, len(rows))
    write_arrays(out, arrays)


def arrays_of(rows: Sequence[Generated], seed: int) -> dict[str, NDArray[Any]]:
    """Return continuations as arrays, padded on the right.

    x: ids of prompts and drawn tokens, [n, w], padded with -1. log_p, log_q: nats, [n, w], padded
    with 0; log_q of a prompt is 0. prompt_length, length: [n]. ended: strings, [n]. seed and
    first_index are scalars. If the rows have most probable values: top_ids and top_filtered_ids,
    [n, w, k], -1 for a prompt; top_log_p and top_log_q, nats, [n, w, k], 0 for a prompt.
    """
    length = np.array([len(row.prompt) + len(row.tokens) for row in rows], np.int64)
    x = np.full((len(rows), length.max()), -1, np.int64)
    log_p, log_q = np.zeros((2, *x.shape), np.float32)
    for i, row in enumerate(rows):
        start, end = len(row.prompt), length[i]
        x[i, :start], x[i, start:end] = row.prompt, row.tokens
        assert row.prompt_log_p is not None
        log_p[i, :start], log_p[i, start:end] = row.prompt_log_p, row.log_p
        log_q[i, start:end] = row.log_q
    return _top_arrays(rows, length) | {
        "x": x,
        "log_p": log_p,
        "log_q": log_q,
        "prompt_length": np.array([len(row.prompt) for row in rows], np.int64),
        "length": length,
        "ended": np.array([row.ended for row in rows]),
        "seed": np.asarray(seed, np.uint64),
        "first_index": np.asarray(rows[0].index, np.int64),
    }


def _top_arrays(rows: Sequence[Generated], length: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
    """Return the most probable values of the tokens as arrays, padded like the other arrays."""
    if rows[0].top is None:
        return {}
    shape = (len(rows), length.max(), rows[0].top.ids.shape[-1])
    ids, filtered = np.full((2, *shape), -1, np.int64)
    log_p, log_q = np.zeros((2, *shape), np.float32)
    for i, row in enumerate(rows):
        if row.top is not None:
            new = (i, slice(len(row.prompt), length[i]))
            ids[new], log_p[new] = row.top.ids, row.top.log_p
            filtered[new], log_q[new] = row.top.filtered_ids, row.top.log_q
    return {
        "top_ids": ids,
        "top_log_p": log_p,
        "top_filtered_ids": filtered,
        "top_log_q": log_q,
    }


def _text(rows: Sequence[Generated], tokenizer: Tokenizer | None) -> str:
    """Return ids, one row per line; or texts, each under a heading if there are several."""
    texts = [f"{_row_text(row, tokenizer)}\n{_top_text(row)}" for row in rows]
    if tokenizer is None or len(rows) == 1:
        return "".join(texts)
    return "".join(
        f"=== sample {row.index}: log p {float(row.log_p.sum()):.2f} nats, {row.ended} ===\n{text}"
        for row, text in zip(rows, texts, strict=True)
    )


def _top_text(row: Generated) -> str:
    """Return a line for each token with the most probable values, if the row has them."""
    if row.top is None:
        return ""
    best = Top(row.top.ids, row.top.log_p, row.top.ids[:, 0] == row.tokens)
    lines = position_lines(row.tokens, row.log_p, best, len(row.prompt))
    return "".join(f"{line}\n" for line in lines)


def _row_text(row: Generated, tokenizer: Tokenizer | None) -> str:
    tokens = row.tokens.tolist()
    shown = TokenText(tokenizer, tokens[-1:] if row.ended == "stop" else ())
    parts = [shown.push(row.prompt.tolist(), prompt=True), shown.push(tokens), shown.finish()]
    return "".join(parts)
