"""An engine that fails under load: its clients get an error at once, and it comes back."""

import asyncio
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from ancestral.engine import LatentEngine, Request
from ancestral.serve import engine_thread
from ancestral.serve.app import create_app
from ancestral.serve.metrics import Metrics
from ancestral.serve.refused import Refused
from ancestral.serve.served import open_all
from ancestral.serve.server import Server
from ancestral.serve.settings import Settings
from tests.engine.test_bindings import POISON, poisoned
from tests.serve import drawing
from tests.serve.conftest import Running, Serve
from tests.serve.drawing import until
from tests.tamper import copied, scale_weights

__all__ = ["poisoned"]
PATH = "/v1/completions"


@pytest.fixture(autouse=True)
def short_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_thread, "MINUTE", 1.5)


@pytest.fixture
def breakable(
    bundles: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path]:
    """A bundle that may be changed, and its weights."""
    copy = copied(bundles("long_text"), tmp_path_factory.mktemp("breakable"))
    return copy, copy / "graphs" / "weights.safetensors"


def completion(seed: int, **fields: Any) -> dict[str, Any]:
    body = {"model": "copy", "prompt": "the", "max_tokens": 1000, "ignore_eos": True, "seed": seed}
    return body | fields


def draw(running: Running, seed: int, **fields: Any) -> httpx.Response:
    return httpx.post(running.url + PATH, json=completion(seed, **fields), timeout=60)


def safe(running: Running, text: str) -> bool:
    """Return whether a text for clients has no path and no traceback."""
    paths = [str(each.path) for each in running.server.served.values()]
    return not any(word in text for word in (*paths, "Traceback", ".py", "safetensors", "/tmp"))


def test_weights_that_change_under_load(serve: Serve, breakable: tuple[Path, Path]) -> None:
    bundle, weights = breakable
    running = serve(bundle, slots=2)
    thread = running.server.served["copy"].thread
    expected = draw(running, 0, max_tokens=40).json()["choices"]
    kept = weights.with_suffix(".kept")
    shutil.copy2(weights, kept)
    with ThreadPoolExecutor(6) as pool:
        streams = [pool.submit(draw, running, seed, stream=seed < 3) for seed in range(6)]
        until(lambda: thread.busy == 2 and thread.waiting)
        scale_weights(weights)
        answers = [each.result() for each in streams]
    # A stream has begun, so that its last event has the error; the others have the status.
    told = [
        each for each in answers if each.status_code == 503 or '"code":"engine_failed"' in each.text
    ]
    assert len(told) >= 4
    assert all(each.status_code in (200, 503) and safe(running, each.text) for each in answers)
    health = running.http.get("/health")
    assert (health.status_code, health.json()["bundles"]) == (503, {"copy": "failed"})
    refused = draw(running, 0)
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "engine_failed")
    assert refused.headers["retry-after"]
    assert 'ancestral_ready{bundle="copy"} 0.0' in running.http.get("/metrics").text
    shutil.move(kept, weights)
    until(lambda: running.http.get("/health").status_code == 200, 10)
    assert draw(running, 0, max_tokens=40).json()["choices"] == expected
    failures = running.http.get("/metrics").text.partition("engine_failures_total{")[2]
    assert float(failures.partition("\n")[0].split()[-1]) >= 1


def test_a_call_finds_changed_weights(serve: Serve, breakable: tuple[Path, Path]) -> None:
    """A call outside the slots notices it too, and lets the engine be opened anew."""
    bundle, weights = breakable
    running = serve(bundle)
    content = weights.read_bytes()
    scale_weights(weights)
    answer = running.http.post("/v1/ancestral/log_prob", json={"model": "copy", "text": "the cat"})
    assert answer.status_code == 503, answer.text
    assert safe(running, answer.text)
    until(lambda: running.http.get("/health").status_code == 503)
    weights.write_bytes(content)
    until(lambda: running.http.get("/health").status_code == 200, 10)


def test_nan_of_a_call(serve: Serve, poisoned: Path) -> None:
    """A call outside the slots fails by itself, and leaves the engine as it is."""
    running = serve(poisoned, slots=2)
    body = {"model": poisoned.name, "x": [[0, 1, 2, POISON, 0, 1]]}
    answer = running.http.post("/v1/ancestral/log_prob", json=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "not_a_distribution")
    assert "logits are NaN" in answer.json()["error"]["message"]
    assert running.http.get("/health").status_code == 200
    assert "engine_failures_total{" not in running.http.get("/metrics").text


def test_nan_in_a_slot(serve: Serve, poisoned: Path) -> None:
    """A launch with NaN ends the requests in slots; nothing of it is left in the next ones."""
    thread = serve(poisoned, slots=2).server.served[poisoned.name].thread
    good, bad = Request([0, 1, 2], seed=5, max_new=1), Request([0, POISON], stop=())

    async def both() -> list[Any]:
        return await asyncio.gather(
            *(drawing.draw(thread, each) for each in (bad, good)), return_exceptions=True
        )

    expected = asyncio.run(drawing.draw(thread, good))
    told = asyncio.run(both())
    assert isinstance(told[0], Refused)
    assert told[0].code == "engine_failed"
    until(lambda: thread.ready and thread.state == "ready")
    assert asyncio.run(drawing.draw(thread, good)) == expected


def test_a_latent_engine_is_warm_when_it_is_ready(
    bundles: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[bool] = []
    real = LatentEngine.sample

    def sample(engine: LatentEngine, *arguments: Any) -> Any:
        drawn.append(served.thread.ready)
        return real(engine, *arguments)

    monkeypatch.setattr(LatentEngine, "sample", sample)
    (served,) = open_all([bundles("bernoulli")], Settings(threads=1), Metrics()).values()
    served.thread.start()
    until(lambda: served.thread.ready)
    served.stop(drop=True)
    served.thread.join(30)
    assert drawn == [False]


def test_health_while_bundles_are_opened(
    bundles: Callable[[str], Path],
) -> None:
    """503 until each engine has made a step; requests are asked to come back."""
    metrics = Metrics()
    settings = Settings(threads=1)
    server = Server(open_all([bundles("tiny")], settings, metrics), settings, metrics)

    async def look() -> tuple[httpx.Response, httpx.Response]:
        transport = httpx.ASGITransport(create_app(server))
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            health = await client.get("/health")
            draw = await client.post("/v1/ancestral/sample", json={"model": "tiny", "label": 0})
            return health, draw

    health, draw = asyncio.run(look())
    assert (health.status_code, health.json()["bundles"]) == (503, {"tiny": "opening"})
    assert (draw.status_code, draw.json()["error"]["code"]) == (503, "engine_opening")
