"""The process of a build ends with its caller, also if the caller fails."""

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
"""A library in place of TensorRT: it reports its start, works for 5 s, and records its end."""


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
        raise OSError("the progress cannot be read")

    with pytest.raises(OSError, match="cannot be read"):
        run(request, tmp_path, failing)
    assert not (tmp_path / "ended").exists(), "the build was not ended"
    with pytest.raises(ProcessLookupError):
        os.kill(builders[0], 0)
