"""Body of a request for completions: OpenAI's fields, and some of ours."""

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, WithJsonSchema

from ancestral.sampling import Sampling
from ancestral.serve.bias import Bias
from ancestral.serve.body import Body
from ancestral.step_tensors import TOP

MOST_STOPS = 16
"""Most stop texts of a request."""
_MOST_TOKENS = 2**32 - 1
_SAMPLING = (
    "temperature",
    "top_k",
    "top_p",
    "min_p",
    "logit_bias",
    "repetition_penalty",
    "presence_penalty",
    "frequency_penalty",
)
"""Fields that are those of `Sampling`, by the same names."""


def _prompts(given: Any) -> Sequence[str | list[int]]:
    """Return each prompt of a field that may have one or several, as text or ids."""
    if isinstance(given, str):
        return [given]
    if isinstance(given, list) and given:
        if _are_ids(given):
            return [given]
        if all(isinstance(each, str) for each in given) or all(map(_are_ids, given)):
            return given
    raise ValueError(
        "expected a string, a list of strings, a list of ids or a list of lists of ids, with at "
        "least one prompt"
    )


def _are_ids(values: object) -> bool:
    return isinstance(values, list) and all(type(each) is int for each in values)


def _stops(given: object) -> Sequence[str]:
    """Return the stop texts of a field that may have none, one or several."""
    texts = [] if given is None else [given] if isinstance(given, str) else given
    if (
        isinstance(texts, list)
        and len(texts) <= MOST_STOPS
        and all(isinstance(each, str) and each for each in texts)
    ):
        return texts
    raise ValueError(
        f"expected a text, or a list of at most {MOST_STOPS} texts, that are not empty"
    )


_STRING = {"type": "string"}
_IDS = {"type": "array", "items": {"type": "integer", "minimum": 0}}
_PROMPT_SCHEMA = {
    "anyOf": [
        _STRING,
        {"type": "array", "items": _STRING, "minItems": 1},
        {**_IDS, "minItems": 1},
        {"type": "array", "items": _IDS, "minItems": 1},
    ]
}
_TEXT = {"type": "string", "minLength": 1}
_STOP_SCHEMA = {
    "anyOf": [_TEXT, {"type": "array", "items": _TEXT, "maxItems": MOST_STOPS}, {"type": "null"}]
}


class StreamOptions(BaseModel):
    """Options of a stream.

    Attributes:
        include_usage: whether a last chunk without choices has the numbers of tokens.
    """

    model_config = ConfigDict(strict=True, extra="allow")

    include_usage: bool | None = None


class CompletionRequest(Body):
    """A request for completions of prompts. A field that is null has its default.

    Choice j of prompt i has the index i * n + j, and is a function of the bundle, the prompt, the
    seed, this index and the settings.

    Attributes:
        model: name of a bundle that has text.
        prompt: a text or its ids, or a list of either. If the model has a start token, an id at the
            beginning that is this token is the model's own start, not a value after it.
        n: choices of each prompt. Default: 1.
        best_of: equal to `n`, or null: choices are not ranked.
        max_tokens: most tokens to draw for a choice; 0, with `echo`, draws none. Default: 16.
        temperature: divisor of the logits; 0 takes the most probable token. Default: 1.
        top_p: least mass of the most probable tokens that are kept, in (0, 1]. Default: 1, off.
        top_k: number of most probable tokens that are kept. Default: off.
        min_p: least probability of a token that is kept, relative to the largest. Default: 0, off.
        repetition_penalty: divisor of the positive logits of tokens that have occurred, and factor
            of the negative ones. Default: 1, off.
        presence_penalty: nats to subtract from the logits of tokens that were drawn. Default: 0.
        frequency_penalty: nats to subtract for each time that a token was drawn. Default: 0.
        logit_bias: nats to add to the logits of tokens, by their ids; null as a number bans one.
        seed: any integer; it counts modulo 2^64. Default: drawn. The answer has it.
        stop: text, or texts, before which the text of a choice ends.
        echo: whether the text, and the log-probabilities, of a choice begin with those of the
            prompt.
        logprobs: number of most probable tokens to return at each position, 0 .. 20, with the
            log-probability of the token itself. Default: no log-probabilities.
        log_q: whether `logprobs` also has the log-probability of each drawn token under the
            distribution that it was drawn from, with bias, penalties, temperature and filters.
        stream: whether chunks are sent while tokens are drawn, as server-sent events.
        stream_options: options of a stream.
        ignore_eos: whether the stop tokens of the bundle do not end a choice.
        user: accepted and ignored.
        suffix: refused unless it is empty: a text can only be continued.
    """

    model_config = ConfigDict(strict=True)

    model: str
    prompt: Annotated[
        Sequence[str | list[int]], PlainValidator(_prompts), WithJsonSchema(_PROMPT_SCHEMA)
    ]
    n: Annotated[int, Field(ge=1)] | None = None
    best_of: int | None = None
    max_tokens: Annotated[int, Field(ge=0, le=_MOST_TOKENS)] | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logit_bias: Bias = None
    seed: int | None = None
    stop: Annotated[Sequence[str], PlainValidator(_stops), WithJsonSchema(_STOP_SCHEMA)] = ()
    echo: bool | None = None
    logprobs: Annotated[int, Field(ge=0, le=TOP)] | None = None
    log_q: bool | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    ignore_eos: bool | None = None
    user: Any = None
    suffix: Annotated[str, Field(max_length=0)] | None = None

    def sampling(self) -> Sampling:
        """Return the settings of the draw.

        Raises:
            InvalidInput: a setting is outside its range.
        """
        given = {name: getattr(self, name) for name in _SAMPLING}
        return Sampling(**{name: value for name, value in given.items() if value is not None})
