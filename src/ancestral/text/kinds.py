"""The kinds of tokenizers: which file each is opened from, and whether it fits a model."""

from ancestral.errors import InvalidInput
from ancestral.text.library_tokenizer import Library
from ancestral.text.tokenizer import TOKENIZER_FILES, Bytes, Tokenizer, TokenizerKind, Words
from ancestral.text.tokenizer_file import number_of_ids, read_document, switched_off


def open_tokenizer(kind: TokenizerKind, content: bytes) -> Tokenizer:
    """The tokenizer of a kind.

    Args:
        kind: bytes; tokenizers, of a tokenizer.json; words, of a vocab.txt.
        content: of that file; bytes have none.

    Raises:
        BackendUnavailable: the `tokenizers` library is needed and not installed.
        InvalidInput: the file is not sound.
    """
    if kind == "bytes":
        return Bytes()
    return _words(content) if kind == "words" else Library(content)


def check_tokenizer(kind: TokenizerKind, content: bytes, levels: int) -> None:
    """Refuse a tokenizer some of whose ids are not values. The library is not needed for it.

    Bytes are not asked: of what is encoded, each value is checked, and 7 bits may be all there is.

    Raises:
        InvalidInput: the file is not sound, or its ids go beyond the levels.
    """
    if kind == "bytes":
        return
    words = kind == "words"
    size = _words(content).size if words else number_of_ids(read_document(content))
    if size > levels:
        raise InvalidInput(
            f"{TOKENIZER_FILES[kind]}: expected ids below {levels}, the model's vocabulary, got "
            f"ids up to {size - 1}: it is another model's tokenizer"
        )


def unused_settings(kind: TokenizerKind, content: bytes) -> list[str]:
    """Settings of a tokenizer's file that are switched off, in words.

    Raises:
        InvalidInput: the file is not sound.
    """
    return switched_off(read_document(content)) if kind == "tokenizers" else []


def _words(content: bytes) -> Words:
    try:
        return Words(content.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise InvalidInput(f"vocab.txt: expected UTF-8, got {error}") from error
