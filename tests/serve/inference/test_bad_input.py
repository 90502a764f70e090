"""Wrong requests of the inference protocol are refused in one sentence."""

from typing import Any

import numpy as np
import pytest

from tests.serve.conftest import Running, Serve
from tests.serve.inference.wire import HUGE, document, refused

X = np.arange(18).reshape(2, 3, 3) % 3
FINE = {"x": X, "labels": np.array([0])}


@pytest.fixture(scope="module")
def running(serve: Serve) -> Running:
    return serve("tiny", "bernoulli", "codes", "lstm", rows=4)


def tensor(name: str = "x", **fields: Any) -> dict[str, Any]:
    """An input that is right but for some fields; None leaves a field out."""
    entry = {"name": name, "shape": [2, 3, 3], "datatype": "INT64", "data": X.tolist()} | fields
    return {key: value for key, value in entry.items() if value is not None}


def flat(*values: Any) -> list[Any]:
    return [*values, *[0] * (18 - len(values))]


@pytest.mark.parametrize(
    ("x", "words"),
    [
        (tensor(name="y"), "inputs: expected some of x, labels, got 'y'"),
        (tensor(datatype="BYTES"), "input x: expected INT64 or another of UINT8"),
        (tensor(datatype="BOOL"), "got 'BOOL'"),
        (tensor(datatype="int64"), "got 'int64'"),
        (tensor(datatype=7), "inputs.0.datatype: expected a valid string, got 7"),
        (tensor(datatype=None), "inputs.0.datatype: missing"),
        (tensor(shape=[2, 3]), "input x: expected shape [-1, 3, 3], got [2, 3]"),
        (tensor(shape=[2, 9]), "input x: expected shape [-1, 3, 3], got [2, 9]"),
        (tensor(shape=[0, 3, 3], data=[]), "got [0, 3, 3]"),
        (tensor(shape=[]), "got []"),
        (tensor(shape=[-2, 3, 3]), "inputs.0.shape.0: expected a number >= 0"),
        (tensor(shape=[2.5, 3, 3]), "inputs.0.shape.0: expected a valid integer"),
        (tensor(shape="2"), "inputs.0.shape: expected a valid array"),
        (tensor(shape=[1] * 1000), "inputs.0.shape"),
        (tensor(shape=[HUGE, 3, 3]), "input x: expected an integer of"),
        (tensor(shape=[3, 3, 3]), "input x: expected 27 values"),
        (tensor(data=X.reshape(-1).tolist()[1:]), "input x: expected 18 values"),
        (tensor(data=X.tolist()[:1]), "input x: expected 18 values"),
        (tensor(data=[[[0] * 3] * 3, [[0] * 3, [0] * 2, [0] * 4]]), "input x: expected 18 values"),
        (tensor(data=[[0] * 9] * 2), "input x: expected 18 values"),
        (tensor(data=5), "inputs.0.data: expected a valid array, got 5"),
        (tensor(data=None), "input x: expected either data or the parameter binary_data_size"),
        (tensor(parameters={"binary_data_size": 144}), "got both"),
        (tensor(data=None, parameters={"shared_memory_region": "a"}), "got neither"),
        (tensor(data=flat(0, "1")), "input x: expected values of INT64, got '1' at 1"),
        (tensor(data=flat(None)), "got None at 0"),
        (tensor(data=flat(True)), "got True at 0"),
        (tensor(data=flat(1.0)), "got 1.0 at 0"),
        (tensor(data=flat([1])), "got [1] at 0"),
        (tensor(data=flat({})), "got {} at 0"),
        (tensor(data=flat(2**63)), "input x: expected values of INT64, got one beyond its range"),
        (tensor(data=flat(HUGE)), "got one beyond its range"),
        (tensor(datatype="UINT8", data=flat(256)), "expected values of UINT8, got one beyond"),
        (tensor(datatype="UINT64", data=flat(-1)), "expected values of UINT64, got one beyond"),
        (tensor(datatype="UINT64", data=flat(2**63)), "input x: expected values below 2^63"),
        (tensor(datatype="FP32", data=flat(0.5)), "input x: expected integers, got 0.5 at index"),
        (tensor(datatype="FP64", data=flat(1e300)), "input x: expected integers, got 1e+300"),
        (tensor(datatype="FP32", data=flat(1e300)), "input x: expected values of FP32, got 1e+300"),
        (tensor(datatype="FP64", data=flat(HUGE)), "got one beyond its range"),
        (tensor(data=flat(3)), "input x: expected values in 0 .. 2, got 3 at index"),
        (tensor(data=flat(-1)), "input x: expected values in 0 .. 2, got -1 at index"),
        (tensor(shape=[5, 3, 3], data=[0] * 45), "input x: expected at most 4 in one request"),
        (tensor(name=HUGE), "inputs.0.name"),
        ("x", "inputs.0: "),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else "",
)
def test_inputs(running: Running, x: Any, words: str) -> None:
    labels = tensor("labels", shape=[1], data=[0])
    assert words in refused(running.http, "tiny.log_prob", {"inputs": [x, labels]})


def one(name: str, value: Any, datatype: str = "INT64") -> dict[str, Any]:
    return tensor(name, shape=[1], datatype=datatype, data=[value])


@pytest.mark.parametrize(
    ("model", "inputs", "words"),
    [
        ("log_prob", [], "input x: INT64 [-1, 3, 3] is required"),
        ("log_prob", [tensor()], "input labels: INT64 [-1] is required"),
        ("log_prob", [tensor(), tensor()], "input x: expected it once, got it twice"),
        ("log_prob", [tensor(), one("labels", 2)], "input labels: expected values in 0 .. 1"),
        ("log_prob", [tensor(), one("labels", -1)], "input labels: expected values in 0 .. 1"),
        (
            "log_prob",
            [tensor(), tensor("labels", shape=[3], data=[0, 1, 0])],
            "input labels: expected one label or [2]",
        ),
        ("sample", [one("labels", 0), one("n", 0)], "input n: expected an integer in 1 .."),
        ("sample", [one("labels", 0), one("n", -1)], "input n: expected an integer in 1 .."),
        ("sample", [one("labels", 0), one("n", 5)], "input n: expected at most 4"),
        ("sample", [one("labels", 0), one("n", 2**62)], "input n: expected an integer in 1 .."),
        ("sample", [one("labels", 7)], "input labels: expected values in 0 .. 1, got 7"),
        ("sample", [one("n", 1)], "input labels: INT64 [-1] is required"),
        ("sample", [one("labels", 0), one("seed", -1)], "input seed: expected an integer in 0 .."),
        ("sample", [one("labels", 0), one("first_index", 2**32)], "input first_index: expected"),
        ("sample", [one("labels", 0), one("top_p", 0, "FP32")], "input top_p: expected a number"),
        ("sample", [one("labels", 0), one("top_k", 0)], "input top_k: expected an integer"),
        ("sample", [one("labels", 0), one("min_p", 2.0, "FP32")], "input min_p: expected a number"),
        (
            "sample",
            [one("labels", 0), one("temperature", -1, "FP64")],
            "input temperature: expected a number in [0,",
        ),
        (
            "sample",
            [one("labels", 0), tensor("logit_bias", shape=[3], datatype="FP32", data=[2e3, 0, 0])],
            "input logit_bias: expected",
        ),
        (
            "sample",
            [one("labels", 0), tensor("observed", shape=[2, 3, 3])],
            "input observed: expected shape (3, 3) (one event)",
        ),
        (
            "sample",
            [one("labels", 0), tensor("observed", shape=[1, 3, 3], data=[-2] * 9)],
            "input observed: expected values in -1 .. 2, got -2",
        ),
        (
            "sample",
            [tensor("labels", shape=[2], data=[0, 1]), one("n", 3)],
            "input labels: expected one label or [3]",
        ),
        ("classify", [tensor("labels", shape=[1], data=[0])], "inputs: expected some of x"),
        ("bernoulli.sample", [one("labels", 0)], "inputs: expected some of n, seed"),
        ("bernoulli.bound", [tensor(data=flat(1)), one("k", 0)], "input k: expected an integer"),
        (
            "bernoulli.decode",
            [tensor("z", shape=[1, 3], datatype="FP32", data=[0, 0, 0])],
            "input z: expected shape [-1, 2], got [1, 3]",
        ),
        (
            "codes.decode",
            [tensor("z", shape=[1, 4], datatype="FP32", data=[0, 0.5, 0, 0])],
            "input z: expected integers, got 0.5",
        ),
        (
            "codes.decode",
            [tensor("z", shape=[1, 4], data=[0, 4, 0, 0])],
            "input z: expected values in 0 .. 3, got 4",
        ),
        ("codes.sample", [one("labels", 2)], "input labels: expected values in 0 .. 1"),
    ],
)
def test_values(running: Running, model: str, inputs: list[Any], words: str) -> None:
    assert words in refused(
        running.http, model if "." in model else f"tiny.{model}", {"inputs": inputs}
    )


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"outputs": [{"name": "y"}]}, "outputs: expected some of log_prob, got 'y'"),
        ({"outputs": [{"name": "log_prob"}] * 2}, "output log_prob: expected it once"),
        (
            {"outputs": [{"name": "log_prob", "parameters": {"binary_data": 1}}]},
            "output log_prob: expected true or false for binary_data, got '1'",
        ),
        (
            {"outputs": [{"name": "log_prob", "parameters": {"classification": 2}}]},
            "output log_prob: expected no parameter classification",
        ),
        ({"parameters": {"binary_data_output": "yes"}}, "parameters: expected true or false"),
        ({"parameters": []}, "parameters: expected an object"),
        ({"id": 5}, "id: expected a valid string, got 5"),
        ({"inputs": {}}, "inputs: expected a valid array"),
        # Without a limit each of these had three errors of its own, and their list its memory.
        ({"inputs": [{}] * 65}, "inputs: expected at most 64 items, got [{}, {}"),
        ({"outputs": [{}] * 65}, "outputs: expected at most 64 items, got [{}, {}"),
    ],
)
def test_fields(running: Running, fields: dict[str, Any], words: str) -> None:
    given, _ = document(FINE, binary=False)
    assert words in refused(running.http, "tiny.log_prob", given | fields)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"5", b"\xff", b"null", b"[" * 100_000])
def test_documents(running: Running, content: bytes) -> None:
    answer = running.http.post("/v2/models/tiny.log_prob/infer", content=content)
    assert answer.status_code == 400
    assert isinstance(answer.json()["error"], str)


def test_an_encoding(running: Running) -> None:
    path = "/v2/models/tiny.log_prob/infer"
    answer = running.http.post(path, content=b"", headers={"Content-Encoding": "gzip"})
    assert answer.status_code == 415
    assert "got 'gzip'" in answer.json()["error"]


def test_unknown_models(running: Running) -> None:
    for path in ("tiny.encode/infer", "tiny.log_prob/versions/2/infer", "x/infer"):
        answer = running.http.post(f"/v2/models/{path}", json={})
        assert answer.status_code == 404
        assert isinstance(answer.json()["error"], str)
    assert running.http.get("/v2/models/tiny.log_prob/infer").status_code == 405


def test_the_list_of_models(running: Running) -> None:
    for content in (b"{", b"[]", b'{"ready": "perhaps"}'):
        answer = running.http.post("/v2/repository/index", content=content)
        assert answer.status_code == 400
        assert isinstance(answer.json()["error"], str)
