"""Text of a row as its tokens come, cut before the first stop text."""

from collections.abc import Sequence

from ancestral.text.tokenizer import INCOMPLETE, TextStream, Tokenizer


class RowText:
    """Text that follows a prompt, in parts; it ends before the first stop text.

    Text that a later token may still change, or that may be the beginning of a stop text, is held
    back. A stop text is found wherever it begins and ends, also within tokens and across them.
    """

    def __init__(self, tokenizer: Tokenizer, prompt: Sequence[int], stops: Sequence[str]) -> None:
        """Begin after a prompt, whose text is not reported.

        Args:
            tokenizer: tokenizer of the bundle.
            prompt: ids of the prompt.
            stops: texts that end the row.
        """
        self._stream, self._stops = TextStream(tokenizer), tuple(stops)
        # Characters of the prompt that the stream has not returned yet.
        self._skipped = len(tokenizer.decode(prompt).rstrip(INCOMPLETE))
        self._ready = self._held = ""
        self._stopped = False
        self._add(self._stream.push(list(prompt)))

    def push(self, token: int) -> bool:
        """Add a token, and return whether a stop text is now complete."""
        if self._add(self._stream.push([token])) or not self._stops:
            return self._stopped
        # The stop text may be complete before a character that is not.
        ahead = self._stream.pending().rstrip(INCOMPLETE)
        known = self._held + ahead[self._skipped :]
        if (end := self._stop_in(known)) is not None:
            self._end(known[:end])
        return self._stopped

    def take(self) -> str:
        """Return the new text that later tokens cannot change."""
        ready, self._ready = self._ready, ""
        return ready

    def finish(self) -> str:
        """Return the rest of the text, after the last token."""
        self._add(self._stream.finish())
        self._ready += self._held
        self._held = ""
        return self.take()

    def _add(self, text: str) -> bool:
        if self._stopped:
            return True
        skipped = min(self._skipped, len(text))
        self._skipped -= skipped
        self._held += text[skipped:]
        if (end := self._stop_in(self._held)) is not None:
            self._end(self._held[:end])
            return True
        sure = len(self._held) - self._begun()
        self._ready, self._held = self._ready + self._held[:sure], self._held[sure:]
        return False

    def _stop_in(self, text: str) -> int | None:
        """Return the place of the first stop text, or None."""
        return min((at for stop in self._stops if (at := text.find(stop)) >= 0), default=None)

    def _end(self, text: str) -> None:
        """End the row's text with this text."""
        self._ready, self._held, self._stopped = self._ready + text, "", True

    def _begun(self) -> int:
        """Return how many of the last characters may be the beginning of a stop text."""
        longest = max(map(len, self._stops), default=1) - 1
        for size in range(min(longest, len(self._held)), 0, -1):
            if any(stop.startswith(self._held[-size:]) for stop in self._stops):
                return size
        return 0
