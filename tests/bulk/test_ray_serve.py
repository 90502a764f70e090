"""The deployment of docs/serving.md on Ray Serve: its answers are the engine's, and it ends."""

import json
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest

from ancestral.engine import AutoregressiveEngine, Engine
from tests.doc_commands import blocks

from .ray_cluster import Nodes, actors, started

serve = pytest.importorskip("ray.serve", exc_type=ImportError)
pytestmark = pytest.mark.bulk
PAGE = "docs/serving.md"
CREATED = "    return create_app("
SLOWLY = """
    import time
    for each in bundles.values():
        opening = each.thread._load
        each.thread._load = lambda opening=opening: (time.sleep(3), opening())[1]
"""
"""Engines that take seconds to open, so that requests would come before."""
LONG = 60.0
"""Seconds after which something has not happened."""


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.fixture(scope="module")
def models(bundles: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the bundles that the page names."""
    folder = tmp_path_factory.mktemp("models")
    (folder / "text").symlink_to(bundles("text"))
    (folder / "digits").symlink_to(bundles("tiny"))
    return folder


@pytest.fixture(scope="module")
def nodes(models: Path) -> Iterator[Nodes]:
    with started(2) as found:
        yield found


def replicas(nodes: Nodes) -> list[int]:
    return [each for node in nodes.cluster.worker_nodes for each in actors(node, "ServeReplica")]


@pytest.fixture(scope="module")
def client(nodes: Nodes, models: Path) -> Iterator[httpx.Client]:
    """A client of the page's deployment, which ends with the module."""
    (block,) = (each for each in blocks(PAGE) if "from ray import serve" in each.text)
    assert len(block.text.splitlines()) <= 30
    port = free_port()
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    code = block.text.replace("/models/", f"{models}/")
    assert CREATED in code
    code = code.replace(CREATED, SLOWLY + CREATED)
    exec(compile(code, PAGE, "exec"), {"__name__": "page"})
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=LONG) as found:
        yield found
    serve.shutdown()
    end = time.monotonic() + LONG
    while replicas(nodes):
        assert time.monotonic() < end, "replicas did not end"
        time.sleep(0.1)


def test_replicas_are_warm_from_the_start(client: httpx.Client, nodes: Nodes) -> None:
    assert [client.get("/health").status_code for _ in range(20)] == [200] * 20
    assert len(replicas(nodes)) == 2


def test_samples(client: httpx.Client, models: Path) -> None:
    engine = Engine.load(models / "digits", threads=1)
    assert isinstance(engine, AutoregressiveEngine)
    body = {"model": "digits", "n": 5, "labels": 1, "seed": 7}
    answer = client.post("/v1/ancestral/sample", json=body)
    assert answer.status_code == 200, answer.text
    expected = engine.sample(5, 1, seed=7)
    np.testing.assert_array_equal(np.array(answer.json()["x"]), expected.x)


def test_completions(client: httpx.Client, models: Path) -> None:
    """Any replica gives the text of the engine, also in a stream."""
    engine = Engine.load(models / "text", threads=1)
    assert isinstance(engine, AutoregressiveEngine)
    tokenizer = engine.tokenizer()
    (row,) = engine.generate([tokenizer.encode("ab")], max_new=4, seed=3)
    expected = tokenizer.decode(row.tokens.tolist())
    body = {"model": "text", "prompt": "ab", "max_tokens": 4, "seed": 3}

    def text(_: int) -> str:
        answer = client.post("/v1/completions", json=body)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["choices"][0]["text"])

    with ThreadPoolExecutor(8) as threads:
        assert set(threads.map(text, range(32))) == {expected}
    with client.stream("POST", "/v1/completions", json=body | {"stream": True}) as stream:
        lines = list(stream.iter_lines())
    events = [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]
    assert events.pop() == "[DONE]"
    choices = [json.loads(event)["choices"] for event in events]
    assert "".join(each[0]["text"] for each in choices if each) == expected


def test_refusals_have_the_sentence(client: httpx.Client) -> None:
    answer = client.post("/v1/completions", json={"model": "nothing", "prompt": "ab"})
    assert answer.status_code == 404
    assert "expected one of the bundles text, digits" in answer.text
