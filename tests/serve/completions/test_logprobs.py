"""Log-probabilities of drawn tokens and of prompts, their texts, places and alternatives."""

import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from ancestral.engine import AutoregressiveEngine
from ancestral.serve.completions import CompletionRequest
from ancestral.serve.completions.logprobs import IMPOSSIBLE, Offsets, TokenWriter
from ancestral.serve.completions.plan import plan_of
from ancestral.serve.completions.scores import Scores
from ancestral.text.tokenizer import INCOMPLETE, Bytes, Words
from tests.serve.completions.conftest import TOYS
from tests.serve.conftest import Running

EngineOf = Callable[[str], AutoregressiveEngine]
NATS = 1e-5


def post(running: Running, toy: str, prompt: Any, **fields: Any) -> dict[str, Any]:
    answer = running.http.post("/v1/completions", json={"model": toy, "prompt": prompt, **fields})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def direct(engine: AutoregressiveEngine, ids: list[int]) -> np.ndarray:
    """log-probabilities of every token at each position of a prompt, and right after it."""
    x = np.zeros((1, engine.data.length), np.int64)
    x[0, : len(ids)] = ids
    session = engine.session("logits")
    logits = session.run({"x": x})["logits"][0].astype(np.float64)
    logits -= logits.max(axis=-1, keepdims=True)
    found: np.ndarray = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    return found


@pytest.mark.parametrize("k", [0, 1, 5, 20])
@pytest.mark.parametrize("toy", TOYS)
def test_echo(running: Running, engine_of: EngineOf, toy: str, k: int) -> None:
    """Each position of a prompt, and the one after it, has the model's log-probabilities."""
    engine = engine_of(toy)
    decode, first = engine.tokenizer().decode, engine.first_position
    prompts = [[65, 99, 100], [104] * 9, [77, 200, 120, 101, 65]]
    answer = post(running, toy, prompts, echo=True, max_tokens=1, logprobs=k, seed=1, temperature=0)
    for ids, choice in zip(prompts, answer["choices"], strict=True):
        nats, wanted = choice["logprobs"], direct(engine, ids)
        assert nats["ids"][:-1] == ids
        assert len(nats["ids"]) == len(ids) + 1
        assert nats["ids"][-1] == int(wanted[len(ids)].argmax())
        assert nats["tokens"] == [decode([each]) for each in nats["ids"]]
        for t, each in enumerate(nats["ids"]):
            own, best = nats["token_logprobs"][t], nats["top_logprobs"][t]
            if t < first:
                assert own is best is None
                continue
            assert own == pytest.approx(wanted[t, each], abs=NATS)
            # Ids in order of their probabilities, of equal texts the first, and the token itself.
            order = [*np.argsort(-wanted[t], kind="stable")[:k].tolist(), each]
            kept: dict[str, int] = {}
            for i in order:
                kept.setdefault(decode([i]), i)
            assert best == {text: pytest.approx(wanted[t, i], abs=NATS) for text, i in kept.items()}
            if kept[nats["tokens"][t]] == each:
                assert best[nats["tokens"][t]] == own
    assert answer["usage"]["prompt_tokens"] == 3 + 9 + 5


def test_echo_without_tokens(running: Running, engine_of: EngineOf) -> None:
    """With max_tokens=0 only the prompt is returned, as text and as numbers."""
    ids = engine_of("text").tokenizer().encode("the café sat")
    both = post(running, "text", "the café sat", echo=True, max_tokens=0, logprobs=2, n=2)
    plain = post(running, "text", ids, echo=True, max_tokens=0)
    for choice in both["choices"]:
        assert (choice["text"], choice["finish_reason"]) == ("the café sat", "length")
        assert choice["logprobs"]["ids"] == ids
    assert plain["choices"][0]["text"] == "the café sat"
    assert plain["choices"][0]["logprobs"] is None
    usage = {"prompt_tokens": len(ids), "completion_tokens": 0, "total_tokens": len(ids)}
    assert both["usage"] == plain["usage"] == usage


def test_stop_is_a_position(running: Running) -> None:
    """With max_tokens=1 the position after a prompt is there also when its token is a stop."""
    answer = post(
        running, "text", [65, 66], echo=True, max_tokens=1, logprobs=1, logit_bias={"0": 1000}
    )
    (choice,) = answer["choices"]
    assert choice["logprobs"]["ids"] == [65, 66, 0]
    assert choice["finish_reason"] == "stop"
    assert choice["text"] == "".join(choice["logprobs"]["tokens"][:2])
    assert choice["logprobs"]["text_offset"][2] == len(choice["text"])


@pytest.mark.parametrize(("toy", "start"), [("text", 0), ("llama", 2)])
def test_start_token(running: Running, toy: str, start: int) -> None:
    """A start token at the beginning is the start itself: it is shown, and changes nothing."""
    fields: dict[str, Any] = {"echo": True, "logprobs": 3, "seed": 5, "max_tokens": 6, "n": 2}
    bare = post(running, toy, [65, 66, 67], **fields)
    begun = post(running, toy, [start, 65, 66, 67], **fields)
    assert begun["usage"]["prompt_tokens"] == bare["usage"]["prompt_tokens"] + 1
    for one, other in zip(bare["choices"], begun["choices"], strict=True):
        mine, theirs = one["logprobs"], other["logprobs"]
        assert theirs["ids"] == [start, *mine["ids"]]
        assert (theirs["token_logprobs"][0], theirs["top_logprobs"][0]) == (None, None)
        assert theirs["token_logprobs"][1:] == mine["token_logprobs"]
        assert theirs["top_logprobs"][1:] == mine["top_logprobs"]
        assert other["text"] == theirs["tokens"][0] + one["text"]
    silent = post(running, toy, [start, 65, 66, 67], **(fields | {"echo": False}))
    assert silent["choices"][0]["logprobs"]["ids"] == bare["choices"][0]["logprobs"]["ids"][3:]
    only = post(running, toy, [start], **fields)
    assert only["choices"][0]["logprobs"]["token_logprobs"][0] is None
    assert only["choices"][0]["logprobs"]["token_logprobs"][1] is not None


def test_other_models_have_no_start_token(running: Running) -> None:
    """An id is only a start where the model has one."""
    for toy, first in (("gru", False), ("startless", True)):
        answer = post(running, toy, [2, 65], echo=True, logprobs=1, max_tokens=0)
        nats = answer["choices"][0]["logprobs"]
        assert (nats["token_logprobs"][0] is None) == first


@pytest.mark.parametrize("toy", ["text", "gru"])
def test_offsets(running: Running, toy: str) -> None:
    """The text at a token's offset is the token's; in the middle of a character, the character."""
    answer = post(running, toy, "the naïve cat", echo=True, logprobs=0, max_tokens=0)
    (choice,) = answer["choices"]
    nats = choice["logprobs"]
    assert any(INCOMPLETE in token for token in nats["tokens"])
    for token, at in zip(nats["tokens"], nats["text_offset"], strict=True):
        begun = "ï" if token.startswith(INCOMPLETE) else token.rstrip(INCOMPLETE)
        assert choice["text"][at:].startswith(begun)


def test_offsets_after_a_prompt() -> None:
    """Places count from the end of the prompt; tokens of one character share its place."""
    grin = "\N{GRINNING FACE}".encode()
    offsets = Offsets(Bytes(), b"ab")
    assert [offsets.push(each) for each in (*b"c", *grin, *b"d")] == [0, 1, 1, 1, 1, 2]
    offsets = Offsets(Bytes(), [*b"ab", *grin[:2]])
    assert [offsets.push(each) for each in (*grin[2:], *b"d")] == [0, 0, 1]
    offsets = Offsets(Words("a\nb\n"), [0])
    assert [offsets.push(1), offsets.push(0)] == [0, 2]


@pytest.mark.parametrize("stream", [False, True])
def test_echo_of_half_a_character(running: Running, stream: bool) -> None:
    """A character that the prompt begins is completed by the text that follows."""
    half, rest = "é".encode()
    body = {"model": "gru", "prompt": [97, half], "echo": True, "stream": stream}
    for fields, text in (
        ({"max_tokens": 1, "logit_bias": {str(rest): 1000}}, "aé"),
        ({"max_tokens": 0}, f"a{INCOMPLETE}"),
    ):
        answer = running.http.post("/v1/completions", json=body | fields)
        if stream:
            chunks = [json.loads(line[6:]) for line in answer.text.split("\n") if "{" in line]
            assert "".join(each["choices"][0]["text"] for each in chunks) == text
        else:
            assert answer.json()["choices"][0]["text"] == text


def test_collisions_and_impossible_tokens() -> None:
    """The most probable of equal texts stays, also of the token's own; -inf is a number."""
    texts = {0: "a", 1: "b", 2: "a", 3: "b", 4: "c"}
    scores = Scores(
        [3, 4],
        np.array([-3.0, -np.inf], np.float32),
        np.array([[0, 1, 2], [0, 1, 2]]),
        np.array([[-0.5, -1.0, -2.0]] * 2, np.float32),
    )
    writer = TokenWriter(Offsets(Bytes(), []), texts.__getitem__, log_q=True)
    found = writer.write(scores)
    assert found.top_logprobs == [{"a": -0.5, "b": -1.0}, {"a": -0.5, "b": -1.0, "c": IMPOSSIBLE}]
    assert found.token_logprobs == [-3.0, IMPOSSIBLE]
    assert found.log_q == [None, None]


def test_untempered(running: Running) -> None:
    """log p is the model's, whatever the settings; log q is that of the draw."""
    fields: dict[str, Any] = {"logprobs": 2, "log_q": True, "seed": 3, "max_tokens": 8}
    answer = post(running, "gru", "ab", temperature=0.25, top_k=3, **fields)
    nats = answer["choices"][0]["logprobs"]
    plain = post(running, "gru", [*b"ab", *nats["ids"]], echo=True, logprobs=2, max_tokens=0)
    wanted = plain["choices"][0]["logprobs"]["token_logprobs"][2:]
    np.testing.assert_allclose(nats["token_logprobs"], wanted, rtol=0, atol=1e-4)
    assert np.abs(np.subtract(nats["log_q"], nats["token_logprobs"])).max() > 0.1
    assert "log_q" not in plain["choices"][0]["logprobs"]


def test_seeds_are_drawn_and_returned(running: Running) -> None:
    """An answer names the seed that gives it again."""
    one, two = (post(running, "gru", "x", logprobs=0) for _ in range(2))
    assert one["seed"] != two["seed"]
    again = post(running, "gru", "x", logprobs=0, seed=one["seed"])
    assert again["choices"] == one["choices"]


def test_head(running: Running) -> None:
    """An answer names its kind, the bundle and its hash; unknown fields are named."""
    answer = running.http.post(
        "/v1/completions",
        json={
            "model": "gru",
            "prompt": "a",
            "seed": 1,
            "moon": 1,
            "user": "me",
            "stream_options": {"include_usage": False, "sun": 2},
        },
    )
    found = answer.json()
    assert found["object"] == "text_completion"
    assert found["id"].startswith("cmpl-")
    assert found["model"] == "gru"
    assert found["system_fingerprint"] == running.server.served["gru"].sha256[:12]
    assert answer.headers["x-ignored-fields"] == "moon, stream_options.sun"
    tokens = found["usage"]
    assert tokens["total_tokens"] == tokens["prompt_tokens"] + tokens["completion_tokens"]


@pytest.mark.parametrize("stream", [False, True])
def test_counts(running: Running, capsys: pytest.CaptureFixture[str], stream: bool) -> None:
    """The metrics and the line of a request have its numbers of tokens."""
    name = 'ancestral_prompt_values_total{bundle="llama"}'

    def counted() -> float:
        lines = running.http.get("/metrics").text.splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith(name))

    before = counted()
    body = {"model": "llama", "prompt": ["abc", "de"], "n": 2, "max_tokens": 3, "ignore_eos": True}
    named = {"x-request-id": f"counts-{stream}"}
    running.http.post("/v1/completions", json=body | {"stream": stream}, headers=named)
    assert counted() == before + 5
    lines: list[dict[str, Any]] = []
    end = time.monotonic() + 30
    # The line is written after the last byte is sent.
    while not lines:
        assert time.monotonic() < end
        every = map(json.loads, capsys.readouterr().err.splitlines())
        lines = [each for each in every if each.get("id") == named["x-request-id"]]
    (line,) = lines
    assert (line["bundle"], line["prompt_tokens"], line["completion_tokens"]) == ("llama", 5, 12)


def test_scope(running: Running) -> None:
    """Rows share the beginnings of their prompts within a scope only."""
    served = running.server.served["gru"]
    body = CompletionRequest(model="gru", prompt=["a", "b"])
    plan = plan_of(body, running.server, served, "someone")
    assert {each.prefix_scope for each in plan.requests} == {"someone"}
