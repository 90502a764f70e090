"""A plugin of pytest that writes each outcome as it comes: a run that is cut short tells them too.

python -m pytest -p benchmarks.gpu.watch --records FILE
"""

import json
import os
from pathlib import Path

import pytest


class Watch:
    """Writes a line of JSON for each test and each module that cannot be imported."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def _write(self, **values: object) -> None:
        with self._file.open("a") as lines:
            lines.write(json.dumps(values) + "\n")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """A test has one outcome: of its call, or of what failed or skipped before or after."""
        if report.when == "call" or report.outcome != "passed":
            self._write(test=report.nodeid, outcome=report.outcome, why=_why(report))

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """A module that was not imported."""
        if report.outcome == "failed":
            self._write(test=report.nodeid, outcome="uncollected", why=str(report.longrepr))

    def pytest_sessionfinish(self, exitstatus: int) -> None:
        """All tests ran."""
        self._write(finished=int(exitstatus))


def _why(report: pytest.TestReport) -> str:
    """The reason of a skip, or the first line of an error."""
    if isinstance(report.longrepr, tuple):
        return report.longrepr[2].removeprefix("Skipped: ")
    lines = str(report.longrepr or "").strip().splitlines() or [""]
    return next((line[1:].strip() for line in lines if line.startswith("E ")), lines[-1])


def pytest_addoption(parser: pytest.Parser) -> None:
    """The file."""
    parser.addoption("--records", type=Path, required=True)


def pytest_configure(config: pytest.Config) -> None:
    """Watch, but not in the processes that xdist starts: theirs is told by the first."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        config.pluginmanager.register(Watch(config.getoption("--records")))
