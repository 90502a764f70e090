"""Build one plan in a separate process, which always starts alike and ends with this one."""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ancestral.errors import ExportError
from ancestral.export.tensorrt.builder import Request

Progress = Callable[[Mapping[str, Any]], None]
"""Called with a dict for each step: phase, step, of; and within, the outer phase, at the start."""
_TAIL = 20
"""Lines of the library's errors that an error repeats."""
_START = """
import ctypes, os, signal, sys
if sys.platform == "linux":
    library = ctypes.CDLL(None)
    library.prctl(1, signal.SIGKILL)
    library.personality(0x0040000)
if os.getppid() != int(sys.argv[1]):
    sys.exit("the process that asked for the plan has ended")
os.execv(sys.executable, [sys.executable, "-P", "-m", "ancestral.export.tensorrt.builder"])
"""
"""Program that starts a build. On Linux it uses two settings, which an exec keeps:

- PR_SET_PDEATHSIG of prctl ends the build with its parent. A parent that ended earlier is noticed.
- ADDR_NO_RANDOMIZE of personality gives the build the same addresses each time, if allowed.

The second setting, `_environment` and the single thread of the builder work around TensorRT
(tensorrt_rtx 1.7.1), which orders parts of a plan by addresses in memory. Without them, 7 of 8
builds of one step graph differed. They can go when equal requests give equal bytes.
"""
_KEPT = ("PATH", "HOME", "TMPDIR", "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES")
"""Environment variables that a build may need."""


def run(
    request: Request,
    folder: Path,
    progress: Progress = lambda step: None,
    seconds: float = 3600.0,
) -> tuple[str, ...]:
    """Compile a graph in a separate process, so that a crash or a hang does no harm here.

    Args:
        request: graph to compile, and how.
        folder: folder for the plan and the log.
        progress: called for each step of the builder, see `Progress`.
        seconds: time limit of the build, in seconds.

    Returns:
        Names of the caches that the plan appends to in place.

    Raises:
        ExportError: no plan was made; the message has the end of the library's errors.
    """
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", _START, str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            cwd=folder,
            env=_environment(),
            text=True,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        timer = threading.Timer(seconds, process.kill)
        timer.start()
        done: tuple[str, ...] | None = None
        try:
            # Leaving the block waits for the process, which is killed first if anything fails.
            with process, contextlib.ExitStack() as failed:
                failed.callback(process.kill)
                # The exit status and standard error explain a process that ended immediately.
                with contextlib.suppress(BrokenPipeError):
                    process.stdin.write(request.model_dump_json())
                    process.stdin.close()
                for line in process.stdout:
                    document = json.loads(line)
                    if "in_place" in document:
                        done = tuple(document["in_place"])
                    else:
                        progress(document)
                failed.pop_all()
        finally:
            late = not timer.is_alive()
            timer.cancel()
            process.kill()
        if process.returncode != 0 or done is None:
            errors.seek(0)
            tail = "".join(f"\n  {line}" for line in errors.read().splitlines()[-_TAIL:])
            how = _ending(process.returncode, seconds if late else None)
            raise ExportError(
                f"{request.file}: {request.module} built no plan ({how}); use smaller sizes, or "
                f"another release of it{tail}"
            )
        return done


def _environment() -> dict[str, str]:
    """Return the environment of a build, which is the same each time.

    The builder orders parts of a plan by addresses in memory (see `_START`). These depend on what
    the process did before: on variables, file names and the seed of Python's hashes.
    """
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    # The build runs in another folder, so relative paths have to be made absolute.
    given = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    paths = [os.path.abspath(path) for path in given if path]
    return {**kept, "PYTHONPATH": os.pathsep.join(paths), "PYTHONHASHSEED": "0"}


def _ending(status: int, seconds: float | None) -> str:
    if seconds is not None:
        return f"stopped after {seconds:g} s, the time limit"
    return f"crashed with signal {-status}" if status < 0 else f"exit status {status}"
