"""The law: a mixture of requests gives each the result of `Engine.generate` with its seed."""

import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from ancestral.engine import AutoregressiveEngine
from ancestral.serve.completions import plan
from tests.serve.completions.conftest import GRAPHS, TOYS
from tests.serve.completions.expected import expected, prompts_of
from tests.serve.conftest import Running

EngineOf = Callable[[str], AutoregressiveEngine]
WORDS = ("the cat", "a dog sat on", "one two three", "é and ü", "naïve", "0", " ")
NATS = 1e-5

SECOND = [toy for toy in TOYS if toy not in {"text", "llama"}]
"""Toys whose law is slow: another toy has their kind of tokens."""


def mixture(toy: str, count: int) -> list[dict[str, Any]]:
    """Return bodies with prompts, seeds, lengths, filters, stops and penalties of their own."""
    draw = random.Random(toy)
    found = []
    for i in range(count):
        ids = [[draw.randrange(30, 120) for _ in range(draw.randrange(1, 12))] for _ in range(2)]
        prompt = draw.choice([draw.choice(WORDS), list(draw.sample(WORDS, 3)), ids[0], ids])
        body: dict[str, Any] = {
            "model": toy,
            "prompt": prompt,
            "seed": draw.choice([0, 7, -1, -(2**70) - 3, 2**64 - 1, 2**64 + 5, i]),
            "n": draw.choice([1, 1, 2, 3]),
            "max_tokens": draw.choice([1, 2, 5, 9, 13, 100]),
            "logprobs": draw.choice([0, 0, 1, 5] if "step_filtered" in GRAPHS[toy] else [1, 5]),
            "log_q": True,
        }
        choices: list[dict[str, Any]] = [
            {},
            {"temperature": 0.7},
            {"temperature": 0},
            {"top_p": 0.8, "top_k": 40},
            {"min_p": 0.02, "temperature": 1.3},
            {"presence_penalty": 1.5, "frequency_penalty": -0.5, "repetition_penalty": 1.2},
            {"logit_bias": {"101": 3, "33": -100, "116": 2.5}},
            {"ignore_eos": True},
            {"stop": draw.choice(["e", "t", ["a", "o"], ["qqqq", "th", " "]])},
            {"echo": True},
        ]
        for _ in range(2):
            body |= draw.choice(choices)
        found.append(body)
    return found


def compare(engine: AutoregressiveEngine, body: dict[str, Any], answer: dict[str, Any]) -> None:
    """Check the choices of an answer against those of `Engine.generate`."""
    wanted, prompts = expected(engine, body), prompts_of(engine, body["prompt"])
    assert answer["seed"] == body["seed"] % 2**64
    assert [choice["index"] for choice in answer["choices"]] == list(range(len(wanted)))
    for i, (choice, each) in enumerate(zip(answer["choices"], wanted, strict=True)):
        nats = choice["logprobs"]
        given = prompts[i // body["n"]] if body.get("echo") else []
        assert nats["ids"][: -len(each.ids)] == given
        own = slice(len(nats["ids"]) - len(each.ids), None)
        assert nats["ids"][own] == each.ids, body
        assert (choice["text"], choice["finish_reason"]) == (each.text, each.finish), body
        for name, values in (("token_logprobs", each.log_p), ("log_q", each.log_q)):
            np.testing.assert_allclose(nats[name][own], values, rtol=0, atol=NATS, err_msg=name)
    drawn = sum(len(each.ids) for each in wanted)
    assert answer["usage"]["completion_tokens"] == drawn


def check(running: Running, engine: AutoregressiveEngine, bodies: list[dict[str, Any]]) -> None:
    """Send all bodies at the same time, and compare each with a call of its own."""

    def send(body: dict[str, Any]) -> dict[str, Any]:
        answer = running.http.post("/v1/completions", json=body)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(send, bodies))
    for body, answer in zip(bodies, answers, strict=True):
        compare(engine, body, answer)


@pytest.mark.parametrize(
    "toy", ["text", *(pytest.param(toy, marks=pytest.mark.slow) for toy in ("llama", *SECOND))]
)
def test_law(running: Running, engine_of: EngineOf, toy: str) -> None:
    check(running, engine_of(toy), mixture(toy, 40))
    running.idle()


@pytest.mark.slow
def test_mixture_is_mixed(engine_of: EngineOf) -> None:
    """The bodies end in each way, and a stop text cuts some of them within the text."""
    rows = [
        (body, each)
        for toy in TOYS
        for body in mixture(toy, 40)
        for each in expected(engine_of(toy), body)
    ]
    assert {each.finish for _, each in rows} == {"stop", "length"}
    cut = [each for body, each in rows if "stop" in body and each.finish == "stop" and each.text]
    assert len(cut) >= 10


@pytest.mark.slow
def test_planted(running: Running, engine_of: EngineOf, monkeypatch: pytest.MonkeyPatch) -> None:
    """An index that begins anew for each prompt fails the comparison."""
    real = plan.Request

    def anew(*args: Any, index: int, **options: Any) -> Any:
        return real(*args, index=index % 2, **options)

    monkeypatch.setattr(plan, "Request", anew)
    bodies = [
        {"model": "text", "prompt": ["a", "b"], "seed": 3, "n": 2, "logprobs": 0, "log_q": True}
    ]
    with pytest.raises(AssertionError):
        check(running, engine_of("text"), bodies)
