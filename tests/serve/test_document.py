"""The API document is true: every answer has a status and a form that it names."""

import json
import re
from collections.abc import Mapping
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from ancestral.serve.body import Body, parse
from tests.serve.conftest import Running, Serve
from tests.serve.documents import Operation, document, operations

EXAMPLES = 300
ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=8),
    st.lists(st.integers(-2, 3), max_size=4),
    st.lists(
        st.lists(st.lists(st.integers(0, 2), min_size=3, max_size=3), min_size=3, max_size=3),
        max_size=2,
    ),
    st.dictionaries(st.text(max_size=4), st.integers(0, 3), max_size=2),
)


@pytest.fixture(scope="module")
def running(serve: Serve) -> Running:
    return serve("tiny", "text", "bernoulli", slots=4, rows=8)


@pytest.fixture(scope="module")
def known(running: Running) -> list[Operation]:
    return list(operations(document(running.url)))


def check(response: httpx.Response, operation: Operation) -> None:
    """Check that the document names a response, and that an error has its form."""
    label = f"{operation.method} {operation.path}: {response.status_code} {response.text[:500]}"
    assert response.status_code in operation.statuses, label
    assert response.status_code != 500, label
    assert response.headers["x-request-id"]
    if response.status_code >= 400:
        error = response.json()["error"]
        words = error if operation.path.startswith("/v2") else error["message"]
        assert isinstance(words, str), label
        assert 0 < len(words) < 2000, label
        assert "Traceback" not in words, label


def bodies(schema: Mapping[str, Any], bundles: list[str]) -> st.SearchStrategy[dict[str, Any]]:
    """Return bodies with some known fields of any value, and some that no model has."""
    known = st.dictionaries(st.sampled_from(sorted(schema["properties"])), ODD, max_size=3)
    unknown = st.dictionaries(st.text(max_size=6), ODD, max_size=2)
    right = {"model": st.sampled_from(bundles)} if "model" in schema["properties"] else {}
    return st.builds(
        lambda *parts: {**parts[0], **parts[1], **parts[2]},
        unknown,
        known,
        st.fixed_dictionaries(right),
    )


def test_every_route_is_in_the_document(known: list[Operation]) -> None:
    paths = {operation.path for operation in known}
    assert {"/health", "/metrics", "/v1/completions", "/v1/models", "/v1/ancestral/info"} <= paths
    assert all(operation.statuses for operation in known)
    assert sum(operation.schema is not None for operation in known) >= 11


def test_whatever_a_body_has(running: Running, known: list[Operation]) -> None:
    """No body makes an internal error, or an answer that the document does not name."""
    bundles = list(running.server.served)
    read = {operation: operation.schema for operation in known if operation.schema is not None}

    @seed(0)
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.data())
    def send(data: st.DataObject) -> None:
        operation = data.draw(st.sampled_from(list(read)))
        body = data.draw(bodies(read[operation], bundles))
        path = operation.path.replace("{model}", "tiny.log_prob").replace("{version}", "1")
        check(running.http.post(path, content=json.dumps(body)), operation)

    send()
    assert running.http.get("/health").status_code == 200
    running.idle()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"a"',
        b"\xff\xfe",
        b"[" * 10**5,
        b'{"a":1e999}',
        b'{"a":NaN}',
        b'{"model":"\\ud800"}',
        b"\x00" * 100,
    ],
)
def test_bodies_that_are_not_json(running: Running, known: list[Operation], content: bytes) -> None:
    for operation in known:
        if operation.schema is not None:
            path = operation.path.replace("{model}", "tiny.log_prob").replace("{version}", "1")
            answer = running.http.post(path, content=content)
            check(answer, operation)
            if not path.startswith("/v2/repository"):
                assert 400 <= answer.status_code < 500, (path, answer.text)


def test_routes_without_a_body(running: Running, known: list[Operation]) -> None:
    for operation in known:
        if operation.schema is None:
            for name in ("tiny", "tiny.sample", "no", "%00", "a%2Fb", "é"):
                path = operation.path.replace("{model}", name).replace("{version}", "1")
                check(
                    running.http.request(operation.method, re.sub(r"{\w+}", "x", path)), operation
                )


class Example(Body):
    """A body with one field."""

    n: int = 1


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({}, ""),
        ({"n": 2}, ""),
        ({"m": 2, "top": 3}, "m, top"),
        ({"": 1, " a": 2, "b ": 3, "é": 4, "c\n": 5, "d": 6}, "d"),
    ],
)
def test_fields_that_are_not_known(fields: dict[str, int], named: str) -> None:
    """They are named in a header, except those that a header cannot hold."""
    body = parse(json.dumps(fields).encode(), Example)
    assert body.ignored == ({"x-ignored-fields": named} if named else {})


def test_many_fields_that_are_not_known() -> None:
    names = {f"field{i}" * 30: i for i in range(1000)}
    (value,) = parse(json.dumps(names).encode(), Example).ignored.values()
    assert len(value) < 400
