"""Run commands of `ancestral` that kill themselves (SIGKILL) at the k-th change to a folder.

    python -m tests.killing FOLDER K COMMAND...     one command
    python -m tests.killing FOLDER                  a sequence of commands, from JSON lines

Changes are counted by Python's audit events and by calls of fsync: files opened for writing,
renamed, removed and locked, folders created and removed. K = 0 never kills. In the second form each
line of standard input is {"k": K, "command": [...], "room": BYTES or null}. Each command runs in a
fork, so that the packages are imported once, and is answered by a line
{"status": ..., "points": ..., "printed": ...}. `room` limits the size of every file, in bytes.
"""

import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

_CHANGES = {
    "os.rename",
    "os.remove",
    "os.mkdir",
    "os.rmdir",
    "os.link",
    "os.symlink",
    "os.truncate",
    "os.chmod",
    "fcntl.flock",
    "shutil.rmtree",
}
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


class Points:
    """Counts this process's changes to a folder, and kills the process at the k-th."""

    def __init__(self, folder: str, k: int) -> None:
        self.folder, self.k, self.count = folder, k, 0
        self._fsync = os.fsync
        os.fsync = self._counted_fsync
        sys.addaudithook(self._hook)

    def _counted_fsync(self, handle: int) -> None:
        self._fsync(handle)
        self._point()

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "fcntl.flock":
            self._point()
        elif (event == "open" and arguments[2] & _WRITING) or event in _CHANGES:
            paths = [os.fsdecode(path) for path in arguments if isinstance(path, str | bytes)]
            if any(path.startswith(self.folder) for path in paths):
                self._point()

    def _point(self) -> None:
        self.count += 1
        if self.count == self.k:
            os.kill(os.getpid(), signal.SIGKILL)


@dataclass(frozen=True, slots=True)
class Ended:
    """The end of a command.

    Attributes:
        status: exit code; -9 if the command was killed.
        points: number of changes, at each of which it could be killed; 0 if it was killed.
        printed: standard output and standard error.
    """

    status: int
    points: int
    printed: str


class Killer:
    """Runs commands in sequence; a context manager."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.killing", str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment(folder),
            text=True,
            cwd=Path(__file__).parent.parent,
        )

    def __enter__(self) -> "Killer":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(60)
        assert self._process.stdout is not None
        self._process.stdout.close()

    def run(self, *command: object, k: int = 0, room: int | None = None) -> Ended:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        line = json.dumps({"k": k, "command": [str(each) for each in command], "room": room})
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()
        return Ended(**json.loads(self._process.stdout.readline()))


def environment(folder: Path) -> dict[str, str]:
    """Return environment variables that put the cache of commands in the folder."""
    return os.environ | {"XDG_CACHE_HOME": str(folder / "cache"), "OMP_NUM_THREADS": "1"}


def run_separately(folder: Path, k: int, command: Sequence[object]) -> Ended:
    """Run a command in a new process."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.killing", str(folder), str(k), *map(str, command)],
        env=environment(folder),
        text=True,
        capture_output=True,
        cwd=Path(__file__).parent.parent,
        check=False,
    )
    points = done.stdout.rpartition("points ")[2].strip()
    return Ended(done.returncode, int(points) if points.isdecimal() else 0, done.stderr)


def _serve(folder: str) -> None:
    import matplotlib.figure
    import onnxruntime
    import onnxscript
    import torch

    import ancestral.export.bundle
    import ancestral.export.recast
    import ancestral.train.training
    from ancestral.cli.main import run

    del matplotlib, onnxruntime, onnxscript, torch, ancestral
    for line in sys.stdin:
        request = json.loads(line)
        with tempfile.TemporaryFile("w+") as printed, tempfile.TemporaryFile("w+") as counted:
            child = os.fork()
            if child == 0:
                for handle in (0, 1, 2):
                    os.dup2(printed.fileno(), handle)
                points = Points(folder, request["k"])
                if request["room"] is not None:
                    resource.setrlimit(resource.RLIMIT_FSIZE, (request["room"],) * 2)
                code = run(request["command"])
                counted.write(str(points.count))
                counted.flush()
                sys.stdout.flush()
                os._exit(code)
            status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            counted.seek(0)
            printed.seek(0)
            ended = {
                "status": status,
                "points": int(counted.read() or 0),
                "printed": printed.read(),
            }
        print(json.dumps(ended), flush=True)


def _main() -> None:
    folder, *rest = sys.argv[1:]
    if not rest:
        _serve(folder)
        return
    from ancestral.cli.main import run

    points = Points(folder, int(rest[0]))
    code = run(rest[1:])
    print(f"points {points.count}", flush=True)
    sys.exit(code)


if __name__ == "__main__":
    _main()
