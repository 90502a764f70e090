"""The process of a build ends with what wanted the plan, also where that fails."""

import os
from pathlib import Path

import pytest

from ancestral.export.tensorrt.build_process import run
from ancestral.export.tensorrt.builder import Request
from ancestral.signature import GraphSignature

LIBRARY = """
import os, time
print('{"phase": "building", "process": %d}' % os.getpid(), flush=True)
time.sleep(5)
open("ended", "w").close()
"""
"""In place of the library: it says that it began, goes on for a while, and notes that it ended."""


def test_a_failure_of_the_caller_ends_the_build(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tensorrt_rtx.py").write_text(LIBRARY)
    paths = [str(tmp_path), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
    request = Request(
        module="tensorrt_rtx",
        file=tmp_path / "graph.onnx",
        signature=GraphSignature(inputs=(), outputs=()),
        profiles=(),
    )
    builders: list[int] = []

    def failing(step: object) -> None:
        assert isinstance(step, dict)
        builders.append(step["process"])
        raise OSError("nobody reads the progress")

    with pytest.raises(OSError, match="nobody reads"):
        run(request, tmp_path, failing)
    assert not (tmp_path / "ended").exists(), "it waited for the build"
    with pytest.raises(ProcessLookupError):
        os.kill(builders[0], 0)
