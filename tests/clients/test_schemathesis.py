"""schemathesis makes requests from the API document: no internal error, no undocumented answer."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.serve.documents import document
from tests.serve.process import serving

pytest.importorskip("schemathesis", exc_type=ImportError)
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


def test_whatever_it_makes(bundles: Callable[[str], Path], tmp_path: Path) -> None:
    """The server is a process of its own, and is as healthy after it as before."""
    with serving(*map(bundles, TOYS), "--max-rows", "16", "--timeout", "20") as process:
        file = tmp_path / "document.json"
        file.write_text(json.dumps(document(process.url)))
        command = [sys.executable, "-m", "schemathesis.cli", "run", file, "--url", process.url]
        options = ["--phases", "coverage,fuzzing", "-n", "25", "--seed", "1", "--no-color"]
        options += ["--request-timeout", "60", "--checks", ",".join(CHECKS), "--warnings", "off"]
        done = subprocess.run(
            [*map(str, command), *options],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
        process.ready()
    records = process.records()
    assert len(records) > 500
    assert [each for each in records if each.get("status", 0) >= 500] == []
    assert [each for each in records if "error" in each] == []
