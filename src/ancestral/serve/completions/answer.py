"""The answer: choices, part by part or whole, and the numbers of tokens."""

from collections.abc import Callable, Sequence
from typing import Literal

from pydantic import BaseModel

from ancestral.engine import Delta
from ancestral.serve.completions.logprobs import Logprobs, Offsets, TokenWriter
from ancestral.serve.completions.plan import Plan
from ancestral.serve.completions.scores import Scores, drawn_scores
from ancestral.text.tokenizer import INCOMPLETE

Finish = Literal["stop", "length"]
_DIGITS = 12
"""Digits of the bundle's hash that name it in an answer."""


class Choice(BaseModel):
    """One text that was drawn, or a part of it.

    Attributes:
        index: i * n + j for choice j of prompt i.
        text: the text; that of the prompt is before it if the request asks for `echo`.
        logprobs: the tokens and their log-probabilities, if the request asks for them.
        finish_reason: "stop" if a stop token or a stop text ended it, "length" if it has
            `max_tokens` or the context is full; null while it goes on.
    """

    index: int
    text: str
    logprobs: Logprobs | None
    finish_reason: Finish | None

    @classmethod
    def joined(cls, parts: Sequence["Choice"]) -> "Choice":
        """Join the parts of a choice."""
        nats = [part.logprobs for part in parts if part.logprobs is not None]
        return cls(
            index=parts[0].index,
            text="".join(part.text for part in parts),
            logprobs=Logprobs.joined(nats) if nats else None,
            finish_reason=parts[-1].finish_reason,
        )


class Usage(BaseModel):
    """Numbers of tokens.

    Attributes:
        prompt_tokens: tokens of all prompts, each counted once.
        completion_tokens: tokens that were drawn, for all choices.
        total_tokens: their sum.
    """

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class Completion(BaseModel):
    """The completions of prompts, or a chunk of them.

    Attributes:
        id: name of the answer.
        object: always "text_completion".
        created: when the request arrived, in seconds since 1970.
        model: name of the bundle.
        system_fingerprint: first digits of the hash of the bundle.
        seed: seed of the draws; the same request with it gives the same answer.
        choices: the choices.
        usage: numbers of tokens; null in chunks but the last one.
    """

    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int
    model: str
    system_fingerprint: str
    seed: int
    choices: list[Choice]
    usage: Usage | None = None


def usage_of(plan: Plan, drawn: int) -> Usage:
    """Return the numbers of tokens of an answer.

    Args:
        plan: the plan.
        drawn: number of tokens that were drawn.
    """
    return Usage(
        prompt_tokens=plan.prompt_tokens,
        completion_tokens=drawn,
        total_tokens=plan.prompt_tokens + drawn,
    )


def answer_of(plan: Plan, choices: list[Choice]) -> Completion:
    """Return an answer, or a chunk of one, without its usage."""
    return Completion(
        id=plan.id,
        object="text_completion",
        created=plan.created,
        model=plan.served.name,
        system_fingerprint=plan.served.sha256[:_DIGITS],
        seed=plan.seed,
        choices=choices,
    )


def as_json(answer: Completion) -> str:
    """Return an answer as JSON; fields that were not set are left out."""
    return answer.model_dump_json(exclude_unset=True)


class ChoiceWriter:
    """Writer of one choice, part by part."""

    def __init__(self, plan: Plan, index: int, text_of: Callable[[int], str]) -> None:
        """Begin a choice.

        Args:
            plan: the plan.
            index: index of the choice.
            text_of: function that returns the text of an id.
        """
        self._plan, self._index = plan, index
        self._prompt = plan.prompts[index // plan.n]
        self._tokens = None
        if plan.logprobs is not None:
            offsets = Offsets(plan.tokenizer, [] if plan.echo else self._prompt.values)
            self._tokens = TokenWriter(offsets, text_of, log_q=plan.log_q)

    def echo(self, scores: Scores | None) -> Choice:
        """Return the part that has the prompt.

        Args:
            scores: its log-probabilities; None if they are not asked for.
        """
        text = self._plan.tokenizer.decode(self._prompt.ids)
        ends = not self._plan.requests
        # A character that the prompt begins is completed by the text that follows.
        return self._part(
            text if ends else text.rstrip(INCOMPLETE), scores, "length" if ends else None
        )

    def draw(self, delta: Delta) -> Choice:
        """Return the part of some tokens that were drawn."""
        finish: Finish | None = None
        if delta.ended is not None:
            finish = "stop" if delta.ended == "stop" else "length"
        scores = None if self._tokens is None else drawn_scores(delta)
        return self._part(delta.text or "", scores, finish)

    def _part(self, text: str, scores: Scores | None, finish: Finish | None) -> Choice:
        found = None
        if self._tokens is not None and scores is not None:
            found = self._tokens.write(scores)
        return Choice(index=self._index, text=text, logprobs=found, finish_reason=finish)
