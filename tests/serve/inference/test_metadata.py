"""Health, metadata and the list of models of the inference protocol."""

import pytest

from ancestral import __version__
from ancestral.engine import AutoregressiveEngine
from ancestral.serve.inference.described import methods_of
from ancestral.serve.keys import Keys
from tests.serve.conftest import Running, Serve


@pytest.fixture(scope="module")
def running(serve: Serve) -> Running:
    return serve("tiny", "lstm", "linear", "codes")


def test_server(running: Running) -> None:
    answer = running.http.get("/v2")
    assert answer.json() == {
        "name": "ancestral",
        "version": __version__,
        "extensions": ["binary_tensor_data"],
    }
    assert running.http.get("/v2/health/live").json() == {"live": True}
    assert running.http.get("/v2/health/ready").json() == {"ready": True}


def test_not_ready(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    thread = running.server.served["lstm"].thread
    engine = thread.engine
    assert isinstance(engine, AutoregressiveEngine)
    monkeypatch.setattr(thread, "engine", None)
    states = {}
    for path in ("health/ready", "models/lstm.sample/ready", "models/tiny.sample/ready"):
        answer = running.http.get(f"/v2/{path}")
        states[path] = answer.status_code, answer.json()["ready"]
    assert list(states.values()) == [(503, False), (503, False), (200, True)]
    assert running.http.get("/v2/health/live").status_code == 200
    listed = running.http.post("/v2/repository/index", json={}).json()
    by_name = {each["name"]: each for each in listed}
    assert by_name["lstm.sample"]["state"] == "UNAVAILABLE"
    assert by_name["lstm.sample"]["reason"]
    ready = running.http.post("/v2/repository/index", json={"ready": True}).json()
    assert [each["name"] for each in ready] == [
        each["name"] for each in listed if not each["name"].startswith("lstm.")
    ]
    answer = running.http.post("/v2/models/lstm.sample/infer", json={})
    assert answer.status_code == 503
    assert list(answer.json()) == ["error"]


def test_models(running: Running) -> None:
    listed = running.http.post("/v2/repository/index").json()
    latent = ["sample", "encode", "decode", "reconstruct", "bound"]
    assert [each["name"] for each in listed] == [
        *(f"tiny.{name}" for name in ("sample", "log_prob", "classify")),
        *(f"lstm.{name}" for name in ("sample", "log_prob", "classify")),
        *(f"linear.{name}" for name in latent),
        *(f"codes.{name}" for name in latent),
    ]
    assert {(each["version"], each["state"], each["reason"]) for each in listed} == {
        ("1", "READY", "")
    }
    for each in listed:
        path = f"/v2/models/{each['name']}"
        answer = running.http.get(path)
        assert answer.status_code == 200
        assert running.http.get(f"{path}/versions/1").json() == answer.json()
        assert running.http.get(f"{path}/versions/1/ready").json() == {"ready": True}
        assert str(running.server.served["tiny"].path.parent) not in answer.text


def test_metadata_of_a_model(running: Running) -> None:
    found = running.http.get("/v2/models/tiny.log_prob").json()
    assert (found["name"], found["versions"], found["platform"]) == (
        "tiny.log_prob",
        ["1"],
        "ancestral",
    )
    assert found["parameters"]["sha256"] == running.server.served["tiny"].sha256
    x, labels = found["inputs"]
    assert (x["name"], x["datatype"], x["shape"]) == ("x", "INT64", [-1, 3, 3])
    assert (x["parameters"]["unit"], x["parameters"]["optional"]) == ("levels", False)
    assert (labels["name"], labels["shape"], labels["parameters"]["optional"]) == (
        "labels",
        [-1],
        False,
    )
    (log_prob,) = found["outputs"]
    assert (log_prob["datatype"], log_prob["shape"]) == ("FP64", [-1])
    assert log_prob["parameters"]["unit"] == "nats"


def test_optional_inputs(running: Running) -> None:
    """The model of lstm has p(x) too, so labels may be left out; tiny has only p(x | y)."""
    for bundle, optional in (("tiny", False), ("lstm", True)):
        found = running.http.get(f"/v2/models/{bundle}.sample").json()["inputs"]
        by_name = {each["name"]: each["parameters"]["optional"] for each in found}
        assert by_name.pop("labels") is optional
        assert all(by_name.values())


def test_events_of_a_density_are_reals(running: Running) -> None:
    found = running.http.get("/v2/models/linear.encode").json()
    assert found["inputs"][0]["datatype"] == "FP32"
    assert [(each["name"], each["shape"]) for each in found["outputs"]] == [
        ("mean", [-1, 2]),
        ("factor", [-1, 2, 2]),
        ("kl", [-1]),
    ]


def test_methods_without_their_graphs(running: Running) -> None:
    """A method whose graphs the bundle does not have is not a model."""
    for bundle, graph, left in (
        ("tiny", "log_prob", ["sample"]),
        ("linear", "encode", ["sample", "decode"]),
        ("codes", "decode", ["sample", "encode", "bound"]),
    ):
        manifest = running.server.served[bundle].manifest
        graphs = {name: each for name, each in manifest.graphs.items() if name != graph}
        assert list(methods_of(manifest.model_copy(update={"graphs": graphs}))) == left


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("models/nope.sample", "got 'nope.sample'"),
        ("models/tiny", "got 'tiny'"),
        ("models/tiny.encode", "tiny.sample, tiny.log_prob, tiny.classify"),
        ("models/tiny.sample/versions/2", "version: expected 1, got '2'"),
        ("models/tiny.nope/ready", "got 'tiny.nope'"),
        ("models/tiny.sample/versions/2/ready", "version: expected 1"),
        ("nope", "Not Found"),
    ],
)
def test_unknown(running: Running, path: str, words: str) -> None:
    answer = running.http.get(f"/v2/{path}")
    assert answer.status_code == 404
    assert words in answer.json()["error"]


def test_document(running: Running) -> None:
    """The API document describes the bodies that routes read themselves."""
    found = running.http.get("/openapi.json").json()
    schemas = found["components"]["schemas"]
    assert "InputTensor" in schemas
    infer = found["paths"]["/v2/models/{model}/infer"]["post"]
    content = infer["requestBody"]["content"]
    assert content["application/json"]["schema"]["$ref"].endswith("/InferenceRequest")
    assert "application/octet-stream" in content
    assert "application/octet-stream" in infer["responses"]["200"]["content"]
    names = [each["name"] for each in infer["parameters"]]
    assert set(names) == {
        "model",
        "inference-header-content-length",
    }


def test_keys(serve: Serve) -> None:
    running = serve("tiny", keys=Keys(("0123456789abcdef",)))
    assert running.http.get("/v2/health/ready").status_code == 200
    answer = running.http.get("/v2/models/tiny.sample")
    assert answer.status_code == 401
    assert isinstance(answer.json()["error"], str)
