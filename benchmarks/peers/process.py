"""The process of a peer as the runner sees it: it runs while it is asked, and is stopped otherwise.

A stopped process has no running threads. Runtimes let idle threads spin while they wait for work,
which would take a core from the peer whose turn it is.
"""

import json
import os
import signal
import subprocess
import tempfile
from types import TracebackType
from typing import Any, Self

from benchmarks.machine import CHECKOUT
from benchmarks.peers.environments import Launch, PeerError, last_line


class Process:
    """A process that answers requests; stopped by SIGSTOP except during a request."""

    def __init__(self, launch: Launch) -> None:
        """Start the process, and stop it at once."""
        self.name = launch.name
        # Closed when the process ends.
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self._process = subprocess.Popen(
            launch.command("serve"),
            cwd=CHECKOUT,
            env=launch.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            bufsize=1,
        )
        self._stop()

    @property
    def pid(self) -> int:
        """Id of the process."""
        return self._process.pid

    def ask(self, do: str, **fields: Any) -> dict[str, Any]:
        """Let the process answer one request, and stop it again.

        Raises:
            PeerError: the process reported an error, or ended.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.send_signal(signal.SIGCONT)
        try:
            self._process.stdin.write(json.dumps({"do": do} | fields) + "\n")
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            self._process.wait()
            self._log.seek(0)
            raise PeerError(f"{self.name}: the process ended: {last_line(self._log.read())}")
        self._stop()
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise PeerError(f"{self.name}: {answer['error']}")
        return answer

    def _stop(self) -> None:
        """Stop all threads of the process, and wait until they are stopped."""
        self._process.send_signal(signal.SIGSTOP)
        # Does not reap a process that has ended: the next request reports it.
        os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the process, stopped or not."""
        self._process.kill()
        self._process.communicate()
        self._log.close()
