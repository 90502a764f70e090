"""A prompt as the client sent it, and as the model takes it."""

from dataclasses import dataclass

from ancestral.arrays import shown
from ancestral.bundles.manifest import Manifest
from ancestral.errors import InvalidInput
from ancestral.serve.refused import Refused
from ancestral.text.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt as ids.

    Attributes:
        ids: ids of the prompt as the client counts them, [p].
        started: whether the first of them is the start token of the model.
    """

    ids: list[int]
    started: bool

    @property
    def values(self) -> list[int]:
        """Ids that the model takes after its start symbol."""
        return self.ids[1:] if self.started else self.ids


def start_token(manifest: Manifest) -> int | None:
    """Return the id of the token that a model has before each text.

    None means that its start symbol is not a token, or that it has none.
    """
    model = manifest.components["model"]
    start = model.config.get("start") if model.family == "transformer" else None
    return start if type(start) is int else None


def read_prompt(
    name: str, given: str | list[int], manifest: Manifest, tokenizer: Tokenizer, limit: int
) -> Prompt:
    """Return a prompt, checked.

    Args:
        name: name of the prompt, for errors.
        given: its text or its ids.
        manifest: manifest of the bundle.
        tokenizer: tokenizer of the bundle.
        limit: most values that the model may take.

    Raises:
        Refused: it is too long, or empty although the model has no start symbol; an id is not a
            value of the model; or the tokenizer refuses the text.
    """
    ids = _encoded(name, given, tokenizer) if isinstance(given, str) else given
    levels = manifest.data.levels
    prompt = Prompt(ids, bool(ids) and ids[0] == start_token(manifest))
    count = len(prompt.values)
    if count > limit:
        raise _refused(f"{name}: expected at most {limit} tokens, got {count}; shorten it")
    wrong = next((i for i, each in enumerate(ids) if not 0 <= each < levels), None)
    if wrong is not None:
        raise _refused(
            f"{name}: expected ids in 0 .. {levels - 1}, got {shown(ids[wrong])} at position "
            f"{wrong}"
        )
    if count < manifest.first_position:
        raise _refused(
            f"{name}: expected at least one token, as the model has no start symbol, got an empty "
            f"prompt"
        )
    return prompt


def _encoded(name: str, text: str, tokenizer: Tokenizer) -> list[int]:
    try:
        return tokenizer.encode(text)
    except InvalidInput as error:
        raise _refused(f"{name}: {str(error).removeprefix('text: ')}") from error


def _refused(message: str) -> Refused:
    return Refused(400, message, param="prompt")
