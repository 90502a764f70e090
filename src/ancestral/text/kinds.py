"""Open the tokenizer of each kind, and check that it fits a model."""

from ancestral.errors import InvalidInput
from ancestral.text.library_tokenizer import Library
from ancestral.text.tokenizer import TOKENIZER_FILES, Bytes, Tokenizer, TokenizerKind, Words
from ancestral.text.tokenizer_file import number_of_ids, read_document, switched_off


def open_tokenizer(kind: TokenizerKind, content: bytes) -> Tokenizer:
    """Open a tokenizer.

    Args:
        kind: "bytes", "tokenizers" (from a tokenizer.json) or "words" (from a vocab.txt).
        content: content of that file; ignored for bytes.

    Raises:
        BackendUnavailable: the `tokenizers` library is needed and not installed.
        InvalidInput: the file is not valid.
    """
    if kind == "bytes":
        return Bytes()
    return _words(content) if kind == "words" else Library(content)


def check_tokenizer(kind: TokenizerKind, content: bytes, levels: int) -> None:
    """Refuse a tokenizer with ids that are not values of the model; does not need the library.

    Bytes always pass: a model may have only 7 bits, and encoded values are checked one by one.

    Raises:
        InvalidInput: the file is not valid, or it has an id of at least `levels`.
    """
    if kind == "bytes":
        return
    words = kind == "words"
    size = _words(content).size if words else number_of_ids(read_document(content))
    if size > levels:
        raise InvalidInput(
            f"{TOKENIZER_FILES[kind]}: expected ids below {levels}, the model's vocabulary, got "
            f"ids up to {size - 1}; it is another model's tokenizer"
        )


def unused_settings(kind: TokenizerKind, content: bytes) -> list[str]:
    """List the settings in a tokenizer's file that are ignored.

    Raises:
        InvalidInput: the file is not valid.
    """
    return switched_off(read_document(content)) if kind == "tokenizers" else []


def _words(content: bytes) -> Words:
    try:
        return Words(content.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise InvalidInput(
            f"vocab.txt: not UTF-8 ({error}); convert it from its encoding, for example with iconv"
        ) from error
