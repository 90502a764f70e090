"""What `Engine.generate` draws for the body of a request, each prompt by itself."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ancestral.engine import AutoregressiveEngine, Generated, Sampling
from ancestral.text.tokenizer import INCOMPLETE

SETTINGS = (
    "temperature",
    "top_k",
    "top_p",
    "min_p",
    "repetition_penalty",
    "presence_penalty",
    "frequency_penalty",
)


@dataclass(frozen=True)
class Expected:
    """A choice: its text, its tokens and their log-probabilities, and why it ended."""

    text: str
    ids: list[int]
    log_p: NDArray[np.float32]
    log_q: NDArray[np.float32]
    finish: str


def prompts_of(engine: AutoregressiveEngine, prompt: Any) -> list[list[int]]:
    """Return the ids of each prompt of a body."""
    if isinstance(prompt, str) or (prompt and isinstance(prompt[0], int)):
        prompt = [prompt]
    encode = engine.tokenizer().encode
    return [encode(each) if isinstance(each, str) else each for each in prompt]


def expected(engine: AutoregressiveEngine, body: dict[str, Any]) -> list[Expected]:
    """Return the choices of a body, in order."""
    bias = body.get("logit_bias")
    sampling = Sampling(
        **{name: body[name] for name in SETTINGS if name in body},
        logit_bias=None if bias is None else {int(key): value for key, value in bias.items()},
    )
    prompts = [each for each in prompts_of(engine, body["prompt"]) for _ in range(body.get("n", 1))]
    rows = engine.generate(
        prompts,
        body.get("max_tokens", 16),
        stop=() if body.get("ignore_eos") else None,
        seed=body["seed"] % 2**64,
        sampling=sampling,
        prompt_log_p=False,
        logprobs=body.get("logprobs", 0),
    )
    stops = body.get("stop", [])
    return [_cut(engine, row, [stops] if isinstance(stops, str) else stops, body) for row in rows]


def _cut(
    engine: AutoregressiveEngine, row: Generated, stops: list[str], body: dict[str, Any]
) -> Expected:
    """Return a row up to the first token that completes a stop text."""
    decode = engine.tokenizer().decode
    ids, prompt = row.tokens.tolist(), row.prompt.tolist()
    before = len(decode(prompt).rstrip(INCOMPLETE))
    finish = "stop" if row.ended == "stop" else "length"
    shown = ids[:-1] if row.ended == "stop" else ids
    text = decode([*prompt, *shown])[before:]
    for size in range(1, len(shown) + 1):
        part = decode([*prompt, *shown[:size]]).rstrip(INCOMPLETE)[before:]
        found = [part.index(stop) for stop in stops if stop in part]
        if found:
            text, ids, finish = part[: min(found)], ids[:size], "stop"
            break
    if body.get("echo"):
        text = decode(prompt).rstrip(INCOMPLETE) + text
    return Expected(text, ids, row.log_p[: len(ids)], row.log_q[: len(ids)], finish)
