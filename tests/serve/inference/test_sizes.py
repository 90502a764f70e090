"""Sizes that a request claims are compared with what came; outputs as bytes and as JSON."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from ancestral.errors import InvalidInput
from ancestral.serve.inference import models
from ancestral.serve.inference.answer import Wanted, answer
from ancestral.serve.inference.tensors import Tensor
from tests.serve.conftest import Running, Serve
from tests.serve.inference.wire import HEADER, HUGE, document, infer, refused

FINE = {"x": np.arange(18).reshape(2, 3, 3) % 3, "labels": np.array([0])}


@pytest.fixture(scope="module")
def running(serve: Serve) -> Running:
    return serve("tiny", rows=4)


def with_size(size: Any) -> Callable[[dict[str, Any]], None]:
    def change(given: dict[str, Any]) -> None:
        given["inputs"][0]["parameters"]["binary_data_size"] = size

    return change


def with_shape(*shape: int) -> Callable[[dict[str, Any]], None]:
    def change(given: dict[str, Any]) -> None:
        count = 8
        for size in shape:
            count *= size
        given["inputs"][0] |= {"shape": shape, "parameters": {"binary_data_size": count}}

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (with_size(143), "input x: expected binary_data_size 144 for INT64 [2, 3, 3], got 143"),
        (with_size(0), "got 0"),
        (with_size(-144), "got -144"),
        (with_size("144"), "got '144'"),
        (with_size(144.0), "got 144.0"),
        (with_size(True), "got True"),
        (with_size(None), "got None"),
        (with_size(HUGE), "got an integer of"),
        (with_shape(3, 3, 3), "input x: expected 216 bytes after the JSON document, got 152"),
        (with_shape(2**62, 3, 3), "bytes after the JSON document, got 152"),
        (with_shape(10**400, 3, 3), "bytes after the JSON document, got 152"),
        (
            with_shape(1, 3, 3),
            "body: expected 80 bytes of tensors after the JSON document, got 152",
        ),
    ],
)
def test_sizes(running: Running, change: Callable[[dict[str, Any]], None], words: str) -> None:
    """A claimed size that is not what came is refused; 2^62 rows would not fit in any memory."""
    given, content = document(FINE, binary=True)
    change(given)
    assert words in refused(running.http, "tiny.log_prob", given, content)


@pytest.mark.parametrize("header", ["-1", "1e3", "x", "", "99999", "9" * 5000, "\u0663", "5 5"])
def test_the_header(running: Running, header: str) -> None:
    given, content = document(FINE, binary=True)
    answer = running.http.post(
        "/v2/models/tiny.log_prob/infer",
        content=json.dumps(given).encode() + content,
        headers={HEADER: header.encode()},
    )
    assert answer.status_code == 400
    assert "inference-header-content-length: expected an integer in 0 .." in answer.json()["error"]


def test_a_header_that_is_missing(running: Running) -> None:
    """Bytes without the header are not JSON; binary inputs without bytes are refused."""
    given, content = document(FINE, binary=True)
    text = json.dumps(given).encode()
    path = "/v2/models/tiny.log_prob/infer"
    assert running.http.post(path, content=text + content).status_code == 400
    answer = running.http.post(path, content=text)
    assert answer.status_code == 400
    assert "has to give the bytes of the document" in answer.json()["error"]


def test_outputs_that_are_too_large(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows whose outputs would be too large are refused before they are drawn."""
    monkeypatch.setattr(models, "LARGEST", 3 * (9 * 8 + 8 + 8 + 8))
    given = {"labels": np.array([0]), "n": np.array([3])}
    infer(running.http, "tiny.sample", given)
    given["n"] = np.array([4])
    message = refused(running.http, "tiny.sample", *document(given, binary=True))
    assert "bytes of outputs, got 4 rows" in message


def test_infinity_in_json() -> None:
    """-inf, the log of a probability of 0, is in bytes but not in JSON."""
    tensor = Tensor("log_prob", "FP64", (-1,), "log p(x)", "nats")
    arrays = {"log_prob": np.array([-1.0, -np.inf])}
    found = answer({"model_name": "a"}, [Wanted(tensor, True)], arrays)
    assert found.content[found.document :] == arrays["log_prob"].tobytes()
    with pytest.raises(InvalidInput, match=r"got -inf at index \(1,\); set binary_data"):
        answer({"model_name": "a"}, [Wanted(tensor, False)], arrays)


def test_long_outputs_in_json() -> None:
    """Outputs are written in pieces, and are one list."""
    array = np.random.default_rng(1).normal(size=(3, 15_000)).astype(np.float32)
    wanted = [Wanted(Tensor("mean", "FP32", (-1, 15_000), "E[x | z]"), False)]
    (found,) = json.loads(answer({"id": "a"}, wanted, {"mean": array}).content)["outputs"]
    assert found["shape"] == [3, 15_000]
    assert np.array(found["data"], np.float32).tolist() == array.reshape(-1).tolist()
