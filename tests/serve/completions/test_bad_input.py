"""Bodies that are wrong: each is refused with 400 or 404, in words, naming the field."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.serve.conftest import Running, Serve

GOOD: dict[str, Any] = {"model": "text", "prompt": "the cat", "max_tokens": 2}
HUGE = 10**400
CASES: list[tuple[str, Any, str]] = [
    ("model", 3, "valid string"),
    ("model", None, "valid string"),
    ("prompt", None, "expected a string, a list"),
    ("prompt", 3, "expected a string, a list"),
    ("prompt", {}, "expected a string, a list"),
    ("prompt", [], "at least one prompt"),
    ("prompt", ["a", 3], "expected a string, a list"),
    ("prompt", [1, True], "expected a string, a list"),
    ("prompt", [1.5], "expected a string, a list"),
    ("prompt", [[1], "a"], "expected a string, a list"),
    ("prompt", [[[1]]], "expected a string, a list"),
    ("prompt", [1, 293], "ids in 0 .. 292, got 293 at position 1"),
    ("prompt", [-1], "ids in 0 .. 292, got -1"),
    ("prompt", [HUGE], "got an integer of"),
    ("prompt", [[1], [2, 999]], "prompt.1: expected ids"),
    ("prompt", [1] * 25, "expected at most 24 tokens, got 25"),
    ("prompt", "the " * 500, "expected at most 24 tokens"),
    ("prompt", [5] * 24, "expected at most 23 tokens"),
    ("prompt", ["a"] * 65, "expected at most 64 in one request, got 65"),
    ("n", 0, ">= 1"),
    ("n", -1, ">= 1"),
    ("n", 1.5, "valid integer"),
    ("n", "1", "valid integer"),
    ("n", True, "valid integer"),
    ("n", 9, "expected at most 8, got 9"),
    ("n", HUGE, "expected at most 8, got an integer of"),
    ("best_of", 2, "expected n = 1"),
    ("best_of", "x", "valid integer"),
    ("best_of", HUGE, "got an integer of"),
    ("max_tokens", 0, "expected 1 or more without echo"),
    ("max_tokens", -1, ">= 0"),
    ("max_tokens", "many", "valid integer"),
    ("max_tokens", HUGE, "<= "),
    ("temperature", -1, "in [0, 1e+06]"),
    ("temperature", 1e300, "in [0, 1e+06]"),
    ("temperature", float("nan"), "finite number"),
    ("temperature", float("inf"), "finite number"),
    ("temperature", HUGE, "number"),
    ("temperature", "hot", "valid number"),
    ("top_p", 0, "in (0, 1]"),
    ("top_p", 1.1, "in (0, 1]"),
    ("top_p", float("nan"), "finite number"),
    ("top_k", 0, "integer in 1"),
    ("top_k", 1.0, "valid integer"),
    ("top_k", HUGE, "integer"),
    ("min_p", -0.1, "in [0, 1]"),
    ("min_p", [], "valid number"),
    ("repetition_penalty", 0, "in [0.01, 100]"),
    ("presence_penalty", 101, "in [-100, 100]"),
    ("frequency_penalty", float("-inf"), "finite number"),
    ("frequency_penalty", False, "valid number"),
    ("logit_bias", [], "expected an object"),
    ("logit_bias", {"a": 1}, "expected ids, which are texts of digits"),
    ("logit_bias", {"9" * 5000: 1}, "expected ids, which are texts of digits"),
    ("logit_bias", {"293": 1}, "in 0 .. 292"),
    ("logit_bias", {"-1": 1}, "expected ids"),
    ("logit_bias", {"1": 1e9}, "in [-1000, 1000]"),
    ("logit_bias", {"1": float("nan")}, "in [-1000, 1000]"),
    ("logit_bias", {"1": "2"}, "expected numbers"),
    ("logit_bias", {str(HUGE): 1}, "expected ids"),
    ("seed", 1.5, "valid integer"),
    ("seed", "1", "valid integer"),
    ("seed", True, "valid integer"),
    ("stop", "", "not empty"),
    ("stop", ["a", ""], "not empty"),
    ("stop", [1], "not empty"),
    ("stop", 3, "not empty"),
    ("stop", ["a"] * 17, "at most 16 texts"),
    ("echo", "yes", "valid boolean"),
    ("echo", 1, "valid boolean"),
    ("logprobs", 21, "<= 20"),
    ("logprobs", -1, ">= 0"),
    ("logprobs", True, "valid integer"),
    ("log_q", "x", "valid boolean"),
    ("stream", "x", "valid boolean"),
    ("stream_options", 3, "object"),
    ("stream_options", {"include_usage": 2}, "valid boolean"),
    ("ignore_eos", "x", "valid boolean"),
    ("suffix", "!", "at most 0 characters"),
    ("suffix", 3, "valid string"),
]


@pytest.fixture(scope="module")
def running(serve: Serve, texts: Callable[[str], Path]) -> Running:
    return serve(texts("text"), texts("startless"), "tiny", "bernoulli", n=8, rows=64)


def post(running: Running, body: dict[str, Any]) -> Any:
    # Python writes NaN and Infinity, as many clients do.
    content = json.dumps(body)
    return running.http.post(
        "/v1/completions", content=content, headers={"content-type": "application/json"}
    )


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("field", "value", "words"),
    CASES,
    ids=[f"{i}-{field}" for i, (field, _, _) in enumerate(CASES)],
)
def test_wrong_field(running: Running, field: str, value: Any, words: str, stream: bool) -> None:
    answer = post(running, GOOD | {"stream": stream} | {field: value})
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert words in error["message"], error["message"]
    assert error["message"].startswith(field)
    assert (error["type"], error["param"]) == ("invalid_request_error", field)
    assert len(error["message"]) < 400


def test_still_well(running: Running) -> None:
    """After all of that the server draws, and every slot is free."""
    running.idle()
    assert post(running, GOOD).status_code == 200


@pytest.mark.parametrize("field", ["model", "prompt"])
def test_missing(running: Running, field: str) -> None:
    body = {name: value for name, value in GOOD.items() if name != field}
    error = post(running, body).json()["error"]
    assert error["message"] == f"{field}: missing"
    assert error["param"] == field


def test_null_means_the_default(running: Running) -> None:
    names = {field for field, _, _ in CASES} - {"model", "prompt"}
    answer = post(running, {"model": "text", "prompt": "the"} | dict.fromkeys(names))
    assert answer.status_code == 200, answer.text
    assert answer.json()["usage"]["completion_tokens"] <= 16


def test_unknown_model_lists_the_bundles(running: Running) -> None:
    answer = post(running, GOOD | {"model": "gpt-5"})
    assert answer.status_code == 404
    error = answer.json()["error"]
    assert error["code"] == "model_not_found"
    assert "text, startless, tiny, bernoulli, got 'gpt-5'" in error["message"]


@pytest.mark.parametrize("toy", ["tiny", "bernoulli"])
def test_a_bundle_without_text(running: Running, toy: str) -> None:
    answer = post(running, GOOD | {"model": toy})
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["code"] == "no_text"
    assert "/v1/ancestral/sample" in error["message"]
    assert "/v2" in error["message"]


@pytest.mark.parametrize("prompt", ["", [[]]])
def test_an_empty_prompt(running: Running, prompt: Any) -> None:
    """It is well where the model has a start symbol."""
    assert post(running, GOOD | {"prompt": prompt}).status_code == 200
    answer = post(running, GOOD | {"model": "startless", "prompt": prompt})
    assert answer.status_code == 400
    assert "no start symbol" in answer.json()["error"]["message"]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"3", b'"\xff"', b"[" * 100_000])
def test_not_an_object(running: Running, content: bytes) -> None:
    answer = running.http.post("/v1/completions", content=content)
    assert answer.status_code == 400
    assert answer.json()["error"]["message"].startswith("body: ")


def test_a_bundle_without_the_graphs(serve: Serve) -> None:
    """A draw that needs a graph which the bundle lacks is refused, and the engine stays open."""
    running = serve("text")
    for fields, needed in (
        ({"logprobs": 1}, "step_full"),
        ({"top_p": 0.5}, "step_filtered"),
        ({"presence_penalty": 1}, "step_full"),
    ):
        answer = post(running, GOOD | fields)
        assert answer.status_code == 400
        assert f"a bundle with graph '{needed}'" in answer.json()["error"]["message"]
    assert post(running, GOOD | {"logprobs": 0}).status_code == 200
    assert running.server.ready


def test_limit_of_prompts(serve: Serve, texts: Callable[[str], Path]) -> None:
    running = serve(texts("text"), prompt=5)
    assert post(running, GOOD | {"prompt": [1] * 5}).status_code == 200
    answer = post(running, GOOD | {"prompt": [1] * 6})
    assert "expected at most 5 tokens, got 6" in answer.json()["error"]["message"]


def test_a_bundle_without_the_graphs_of_verify(running: Running) -> None:
    answer = running.http.post("/v1/ancestral/verify", json={"model": "startless"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "no_graph")
