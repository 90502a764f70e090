"""The process that builds one plan: started the same each time, watched, and ended with us."""

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
"""Told a document for each step: phase, the phase that it is within if it begins, step, of."""
_TAIL = 20
"""Lines of the library's errors that a message repeats."""
_START = """
import ctypes, os, signal, sys
if sys.platform == "linux":
    library = ctypes.CDLL(None)
    library.prctl(1, signal.SIGKILL)
    library.personality(0x0040000)
if os.getppid() != int(sys.argv[1]):
    sys.exit("the process that wanted the plan has ended")
os.execv(sys.executable, [sys.executable, "-P", "-m", "ancestral.export.tensorrt.builder"])
"""
"""Starts a build that ends with the process that wants the plan (PR_SET_PDEATHSIG of Linux's prctl,
which an exec keeps; a parent that ended before is noticed), and with its memory at the same
addresses each time (ADDR_NO_RANDOMIZE of Linux's personality, where a sandbox allows it)."""
_KEPT = ("PATH", "HOME", "TMPDIR", "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES")
"""Variables that a build may need."""


def run(
    request: Request,
    folder: Path,
    progress: Progress = lambda step: None,
    seconds: float = 3600.0,
) -> tuple[str, ...]:
    """Compile in a process of its own, which may crash or hang without harm.

    Args:
        request: what.
        folder: where the plan and the log go.
        progress: told what the builder is at.
        seconds: after which the build is given up.

    Returns:
        the caches that are appended in place.

    Raises:
        ExportError: no plan was made; the message says why, by the end of what the library said.
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
            # The end of the block waits for the process, which is ended before where it failed.
            with process, contextlib.ExitStack() as failed:
                failed.callback(process.kill)
                # A process that ended at once says why by its status and standard error.
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
            told = "".join(f"\n  {line}" for line in errors.read().splitlines()[-_TAIL:])
            how = _ending(process.returncode, seconds if late else None)
            raise ExportError(f"{request.file}: {request.module} built no plan ({how}){told}")
        return done


def _environment() -> dict[str, str]:
    """What a build is started with: the same each time.

    The builder orders some of what it writes by where it lies in memory, and that depends on all
    that its process did before: on variables, names of files, the seed of Python's hashes.
    """
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    # It works in another folder, where paths that are relative lead elsewhere.
    given = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    paths = [os.path.abspath(path) for path in given if path]
    return {**kept, "PYTHONPATH": os.pathsep.join(paths), "PYTHONHASHSEED": "0"}


def _ending(status: int, seconds: float | None) -> str:
    if seconds is not None:
        return f"given up after {seconds:g} s"
    return f"it crashed, signal {-status}" if status < 0 else f"exit status {status}"
