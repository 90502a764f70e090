"""Health, metrics and information; keys, limits and errors that hold for every route."""

from pathlib import Path

import pytest

from ancestral.errors import InvalidInput
from ancestral.serve.keys import Keys
from tests.serve.conftest import Running, Serve

KEY = "0123456789abcdef"


@pytest.fixture(scope="module")
def running(serve: Serve) -> Running:
    return serve("tiny", "bernoulli", body=4096, read_seconds=0.5)


def test_health(running: Running) -> None:
    answer = running.http.get("/health")
    assert (answer.status_code, answer.json()["status"]) == (200, "ready")
    assert answer.json()["bundles"] == {"tiny": "ready", "bernoulli": "ready"}
    assert running.http.head("/health").status_code == 200


def test_info_has_no_path(running: Running) -> None:
    answer = running.http.get("/v1/ancestral/info")
    tiny, latent = answer.json()["bundles"]
    assert (tiny["name"], tiny["kind"], tiny["event_shape"]) == ("tiny", "autoregressive", [3, 3])
    assert latent["latent_shape"] is not None
    assert str(running.server.served["tiny"].path.parent) not in answer.text


def test_metrics(running: Running) -> None:
    running.http.get("/health")
    text = running.http.get("/metrics").text
    assert 'ancestral_ready{bundle="tiny"} 1.0' in text
    assert 'ancestral_requests_total{method="GET",route="/health",status="200"}' in text
    digest = running.server.served["tiny"].sha256
    assert f'sha256="{digest}"' in text


def test_an_unknown_route(running: Running) -> None:
    answer = running.http.get("/nope")
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "not_found"
    assert answer.headers["x-request-id"]


def test_the_id_of_a_client_is_kept(running: Running) -> None:
    assert (
        running.http.get("/health", headers={"x-request-id": "a-1"}).headers["x-request-id"]
        == "a-1"
    )
    long = running.http.get("/health", headers={"x-request-id": "a" * 1000})
    assert len(long.headers["x-request-id"]) == 32


def test_keys(serve: Serve) -> None:
    running = serve("tiny", keys=Keys((KEY, "another-key-of-16")))
    path = "/v1/ancestral/info"
    assert running.http.get("/health").status_code == 200
    for given in ({}, {"authorization": "Bearer nope"}, {"authorization": KEY}):
        answer = running.http.get(path, headers=given)
        assert answer.status_code == 401
        assert answer.json()["error"]["code"] == "invalid_api_key"
        assert KEY not in answer.text
    assert running.http.get(path, headers={"authorization": f"Bearer {KEY}"}).status_code == 200


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "has no key"),
        ("# only a comment\n", "has no key"),
        ("short\n", "line 1"),
        ("a b" * 9, "line 1"),
    ],
)
def test_a_file_of_keys(tmp_path: Path, content: str, words: str) -> None:
    file = tmp_path / "keys"
    file.write_text(f"# ours\n{KEY}\n\n")
    keys = Keys.read(file)
    assert keys.scope(KEY)
    assert keys.scope(KEY + "x") is None
    assert KEY not in repr(keys)
    file.write_text(content)
    with pytest.raises(InvalidInput, match=words):
        Keys.read(file)


def test_a_missing_file_of_keys(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="no such file"):
        Keys.read(tmp_path / "keys")
