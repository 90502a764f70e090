"""Tokenizer that runs a tokenizer.json with the `tokenizers` library of Hugging Face."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, final

from ancestral.errors import AncestralError, BackendUnavailable, InvalidInput
from ancestral.text import tokenizer_file
from ancestral.text.coverage import Coverage, Symbols, of_characters, of_words, within
from ancestral.text.tokenizer import Tokenizer


@contextmanager
def _in_words(what: str, advice: str) -> Iterator[None]:
    """Turn errors of the library, which have no class more specific than Exception, into messages.

    Args:
        what: beginning of the message: what failed.
        advice: end of the message: what to do.

    Raises:
        InvalidInput: the library raised an error.
    """
    try:
        yield
    except AncestralError:
        raise
    except BaseException as error:
        # A panic of the library over an unexpected file is not a subclass of Exception.
        if isinstance(error, Exception) or type(error).__name__ == "PanicException":
            raise InvalidInput(f"{what}: {tokenizer_file.said(error)}; {advice}") from error
        raise


@final
class Library(Tokenizer):
    """Tokenizer that runs a tokenizer.json with the `tokenizers` library."""

    def __init__(self, content: bytes) -> None:
        """Read a tokenizer.json without its settings for training: dropout, truncation, padding.

        Raises:
            BackendUnavailable: the library is not installed.
            InvalidInput: the library refuses the file.
        """
        try:
            from tokenizers import Tokenizer as Implementation
        except ImportError as error:
            raise BackendUnavailable(
                "a tokenizer.json needs the tokenizers package: pip install 'ancestral[text]', "
                "or pass ids instead of text"
            ) from error
        document = tokenizer_file.read_document(content)
        if tokenizer_file.switched_off(document):
            content = tokenizer_file.written(tokenizer_file.settled(document))
        advice = "download it again, or pip install --upgrade tokenizers"
        with _in_words("tokenizer.json: the tokenizers library refuses it", advice):
            self._library = Implementation.from_str(content.decode())
        vocabulary = self._library.get_vocab(with_added_tokens=True)
        self._size = max(vocabulary.values(), default=-1) + 1
        self._shared = tokenizer_file.shared_ids(document)
        # Metaspace drops its signs from the first token, and takes a whole run of bytes as a token.
        decoder = document.get("decoder")
        self._runs_are_whole = tokenizer_file.decodes_with(decoder, "Metaspace")
        joined = vocabulary.items() if tokenizer_file.decodes_with(decoder, "ByteFallback") else ()
        self._bytes = {i for token, i in joined if tokenizer_file.byte_of(token) is not None}
        self._unknown = tokenizer_file.unknown_token(document)
        self._symbols = Symbols(vocabulary, document["model"], self._written)

    @property
    def size(self) -> int:
        """Largest id plus one."""
        return self._size

    def _encode(self, text: str) -> list[int]:
        return list(self._encoding(text).ids)

    def _encoding(self, text: str) -> Any:
        what = "text: not in the vocabulary of the tokenizer, which has no unknown token"
        with _in_words(what, "leave out the characters or words that it does not know"):
            return self._library.encode(text, add_special_tokens=False)

    def decode(self, ids: Iterable[int]) -> str:
        with _in_words("ids: the tokenizer cannot decode them", "download tokenizer.json again"):
            return self._decode([i for i in ids if 0 <= i < self._size])

    def _decode(self, ids: list[int]) -> str:
        if self._bytes.isdisjoint(ids) and self._shared.keys().isdisjoint(ids):
            return str(self._library.decode(ids, skip_special_tokens=False)) if ids else ""
        named = (self._shared.get(i) or self._library.id_to_token(i) for i in ids)
        tokens = [token for token in named if token is not None]
        if self._bytes:
            tokens = tokenizer_file.repaired(tokens)
        decoder = self._library.decoder
        return " ".join(tokens) if decoder is None else str(decoder.decode(tokens))

    def begins_anew(self, ids: Sequence[int]) -> bool:
        if not ids or not 0 <= ids[0] < self._size:
            return False
        if self._runs_are_whole and ids[0] in self._bytes:
            return False
        return self._library.id_to_token(ids[0]) is not None and super().begins_anew(ids)

    def _covered(self, text: str) -> tuple[list[int], Coverage]:
        encoding = self._encoding(text)
        return list(encoding.ids), self._coverage(text, encoding)

    def _coverage(self, text: str, encoding: Any) -> Coverage:
        spans = list(zip(encoding.ids, encoding.offsets, strict=True))
        if self._unknown is None:
            added = self._library.get_added_tokens_decoder()
            whole = within(span for i, span in spans if i in added)
            rest = (c for i, c in enumerate(text) if i not in whole)
            return of_characters(text, (c for c in rest if not self._symbols.has(c)), None)
        unknown = self._library.token_to_id(self._unknown)
        lost = [(a, b) for i, (a, b) in spans if i == unknown and text[a:b] != self._unknown]
        if type(self._library.model).__name__ in {"WordLevel", "WordPiece"}:
            total = len(set(encoding.word_ids) - {None})
            return of_words(total, (text[a:b] for a, b in lost), self._unknown)
        # The token of a space that is put before a text has the place of the first character.
        last = {place: i for i, (a, b) in spans for place in range(a, b)}
        places = sorted(place for place in within(lost) if last[place] == unknown)
        return of_characters(text, (text[place] for place in places), self._unknown)

    def _written(self, text: str) -> str:
        """Return a text as the model sees it: normalised, without what separates words."""
        normalizer, cutter = self._library.normalizer, self._library.pre_tokenizer
        with _in_words("text: the tokenizer refuses it", "download its tokenizer.json again"):
            if normalizer is not None:
                text = normalizer.normalize_str(text)
            if cutter is not None:
                text = "".join(piece for piece, _ in cutter.pre_tokenize_str(text))
        return text
