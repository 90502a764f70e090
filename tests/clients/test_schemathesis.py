"""schemathesis makes requests from the API document: no internal error, no undocumented answer."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.clients.conftest import Client
from tests.serve.documents import document
from tests.serve.process import serving

pytestmark = pytest.mark.clients
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "unsupported_method",
    "allow_header_conformance",
)
TOYS = ("tiny", "text", "bernoulli", "startless")


def test_whatever_it_makes(bundles: Callable[[str], Path], tmp_path: Path, client: Client) -> None:
    """The server is a process of its own, and is as healthy after it as before."""
    with serving(*map(bundles, TOYS), "--max-rows", "16", "--timeout", "20") as process:
        file = tmp_path / "document.json"
        file.write_text(json.dumps(document(process.url)))
        client(
            "schemathesis.cli", "run", file, "--url", process.url, "--phases", "coverage,fuzzing",
            "-n", "25", "--seed", "1", "--no-color", "--request-timeout", "60",
            "--checks", ",".join(CHECKS), "--warnings", "off",
        )  # fmt: skip
        process.ready()
    records = process.records()
    assert len(records) > 500
    # Until the engines are open, /health says so with 503.
    asked = [each for each in records if each.get("path") != "/health"]
    assert [each for each in asked if each.get("status", 0) >= 500] == []
    assert [each for each in records if "error" in each] == []
