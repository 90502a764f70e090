"""Metrics after known traffic, and how many of them there can be."""

import math
import re

import httpx

from tests.serve.conftest import Running, Serve
from tests.serve.raw import answer, head

PATH = "/v1/completions"
LINE = re.compile(r"(\w+)(?:\{(.*)\})? (\S+)")


def metrics(running: Running) -> dict[tuple[str, str], float]:
    """Return all values, by name and labels."""
    found = {}
    for line in running.http.get("/metrics").text.splitlines():
        if not line.startswith("#"):
            match = LINE.fullmatch(line)
            assert match, line
            found[match[1], match[2] or ""] = float(match[3])
    return found


def test_known_traffic(serve: Serve) -> None:
    """Three answers of 2 rows with 5 values each, one bad request and one unknown model."""
    running = serve("text", slots=2)
    body = {"model": "text", "prompt": [1, 2, 3], "n": 2, "max_tokens": 5, "ignore_eos": True}
    for stream in (False, True, False):
        assert running.http.post(PATH, json=body | {"stream": stream}).status_code == 200
    assert running.http.post(PATH, json=body | {"top_p": 7}).status_code == 400
    assert running.http.post(PATH, json=body | {"model": "no"}).status_code == 404
    running.idle()
    found = metrics(running)
    bundle = 'bundle="text"'
    # The first value is that of the step that warms the engine.
    assert found["ancestral_values_total", bundle] == 3 * 2 * 5
    assert found["ancestral_prompt_values_total", bundle] == 3 * 3
    assert found["ancestral_time_to_first_value_seconds_count", bundle] == 3 * 2
    assert found["ancestral_batch_rows_sum", bundle] >= 3 * 2
    assert found["ancestral_slots", bundle] == 2
    assert found["ancestral_slots_busy", bundle] == found["ancestral_queue", bundle] == 0
    assert found["ancestral_ready", bundle] == 1
    for status, count in (("200", 3), ("400", 1), ("404", 1)):
        labels = f'method="POST",route="{PATH}",status="{status}"'
        assert found["ancestral_requests_total", labels] == count
    assert found["ancestral_request_seconds_count", f'route="{PATH}"'] == 5
    seconds = found["ancestral_time_to_first_value_seconds_sum", bundle]
    assert 0 < seconds < 60
    assert not any(math.isnan(value) for value in found.values())
    assert found["process_resident_memory_bytes", ""] > 1e6


def test_events_of_every_protocol(serve: Serve) -> None:
    running = serve("tiny")
    x = [[[0, 1, 2], [2, 1, 0], [0, 0, 1]]] * 3
    inputs = [
        {"name": "x", "datatype": "INT64", "shape": [3, 3, 3], "data": x},
        {"name": "labels", "datatype": "INT64", "shape": [1], "data": [0]},
    ]
    calls = {
        "/v2/models/tiny.log_prob/infer": {"inputs": inputs},
        "/v2/models/tiny.sample/infer": {"inputs": inputs[1:]},
        "/v1/ancestral/log_prob": {"model": "tiny", "x": x, "labels": 0},
    }
    for path, body in calls.items():
        assert running.http.post(path, json=body).status_code == 200
    found = metrics(running)
    assert found["ancestral_events_total", 'bundle="tiny",method="log_prob"'] == 2 * 3
    assert found["ancestral_events_total", 'bundle="tiny",method="sample"'] == 1


def test_clients_cannot_add_labels(serve: Serve) -> None:
    """Unknown paths, methods and names of models do not make new series."""
    running = serve("text")

    def send(mark: str) -> None:
        running.http.get(f"/{mark}")
        running.http.post(PATH, json={"model": mark, "prompt": mark})
        running.http.get(f"/v2/models/{mark}")
        running.http.get(f"/v1/models/{mark}")
        running.http.post("/v1/ancestral/sample", json={"model": mark})
        answer(running.url, head(mark.upper(), "/health", "connection: close"))

    send("first")
    metrics(running)
    before = set(metrics(running))
    for i in range(50):
        send(f"mark{i}")
    after = set(metrics(running))
    assert {each for each in after - before if "bucket" not in each[0]} == set()
    assert not any("mark" in labels for _, labels in after)


def test_metrics_need_a_key(serve: Serve) -> None:
    from ancestral.serve.keys import Keys

    running = serve("text", keys=Keys(("0123456789abcdef",)))
    assert httpx.get(f"{running.url}/metrics").status_code == 401
