"""Servers of toys, and calls of the API over HTTP."""

import base64
import json
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import httpx
import numpy as np
import pytest

from tests.serve.conftest import Running, Serve


def post(running: Running, method: str, **body: Any) -> dict[str, Any]:
    """Call a method, and return its answer."""
    response = running.http.post(f"/v1/ancestral/{method}", json=body)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


def refused(running: Running, method: str, **body: Any) -> dict[str, Any]:
    """Call a method that is refused, and return the error, with the status."""
    response = running.http.post(f"/v1/ancestral/{method}", json=body)
    assert response.status_code >= 400, response.text
    assert all(str(each.path) not in response.text for each in running.server.served.values())
    found: dict[str, Any] = response.json()["error"]
    return found | {"status": response.status_code}


def events(response: httpx.Response) -> Iterator[tuple[str, Any]]:
    """Yield the names and the contents of server-sent events as they arrive."""
    name = ""
    for line in response.iter_lines():
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield name, json.loads(line.removeprefix("data: "))


def to_npy(values: Any, **options: Any) -> dict[str, str]:
    """Return an array as a request has it in .npy format."""
    file = BytesIO()
    np.save(file, np.asarray(values), **options)
    return {"npy": base64.b64encode(file.getvalue()).decode()}


def from_npy(value: dict[str, str]) -> np.ndarray:
    """Return an array that an answer has in .npy format."""
    found: np.ndarray = np.load(BytesIO(base64.b64decode(value["npy"])), allow_pickle=False)
    return found


@pytest.fixture(scope="module")
def running(serve: Serve) -> Running:
    """A server of models of each kind."""
    return serve("tiny", "table", "startless", "text", "bernoulli", "linear", "codes")
