"""The tests that need a GPU, run in their own process, and their outcomes.

In that process this module is a pytest plugin that writes each outcome immediately, so that the
outcomes of a run that is cut short are kept:

    python -m pytest -p benchmarks.gpu.checks --records FILE
"""

from __future__ import annotations

import json
import os
import re
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.gpu.records import whole_lines

if TYPE_CHECKING:
    import pytest

KERNEL_TESTS = "tests/triton_kernels/kernels/"
REHEARSED = f"{KERNEL_TESTS}test_residual_norm.py"
"""The only tests in a rehearsal."""
_MISSING = re.compile(r"ModuleNotFoundError: No module named '(\w+)")
_OURS = {"ancestral", "benchmarks", "tests"}


def command(records: Path, *, rehearsal: bool) -> list[str]:
    """Return the command that runs the tests.

    The kernels come first. Options of pyproject.toml that need a missing package are left out.
    Warnings are not errors, since the user's package versions may differ from ours.
    """
    hook = find_spec("jaxtyping") and find_spec("beartype")
    workers = max(1, (os.cpu_count() or 1) * 3 // 4)
    spread = ["-n", str(workers), "--dist", "worksteal"]
    return [
        *(sys.executable, "-m", "pytest", "-p", "benchmarks.gpu.checks", "--records", str(records)),
        *("-o", "addopts=", "-o", "filterwarnings=default", "--import-mode=importlib"),
        *("--strict-markers", "-q", "-rfE", "-m", "gpu or kernels"),
        *(["--jaxtyping-packages=ancestral,beartype.beartype"] if hook else []),
        *(spread if find_spec("xdist") and not rehearsal else ["-p", "no:xdist"]),
        *("-p", "no:cacheprovider", "--continue-on-collection-errors"),
        *([REHEARSED] if rehearsal else [KERNEL_TESTS, "tests"]),
    ]


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of the tests.

    Attributes:
        passed: number of tests that passed.
        failed: each test that failed, and the last line of its error.
        skipped: each test that was skipped, and why.
        finished: whether all tests ran.
    """

    passed: int
    failed: tuple[tuple[str, str], ...]
    skipped: tuple[tuple[str, str], ...]
    finished: bool

    @classmethod
    def read(cls, records: Path) -> Outcome:
        """Read the file that `Watch` wrote."""
        passed, failed, skipped, finished = set[str](), dict[str, str](), dict[str, str](), False
        for values in map(json.loads, whole_lines(records)):
            test, why = values.get("test", ""), values.get("why", "")
            match values.get("outcome", "finished"):
                case "passed":
                    passed.add(test)
                case "skipped":
                    skipped[test] = why
                case "uncollected" if _lacks(why):
                    skipped[test] = f"{_lacks(why)} is not installed"
                case "failed" | "uncollected":
                    failed[test] = why.strip().rpartition("\n")[2]
                case _:
                    finished = True
        return cls(
            len(passed - set(failed)), tuple(failed.items()), tuple(skipped.items()), finished
        )

    def against(self, part: str) -> str | None:
        """Return why a part may not report a speed, or None if it may.

        The part "steps" depends on all tests; the part of an operator only on its own tests.
        """
        wrong = [
            test
            for test, _ in self.failed
            if part == "steps" or Path(test.partition("::")[0]).stem.startswith(f"test_{part}")
        ]
        return f"{len(wrong)} of its tests failed: {wrong[0]}" if wrong else None


def _lacks(why: str) -> str | None:
    """Return the third-party package that an import did not find, or None."""
    found = _MISSING.search(why)
    return found[1] if found and found[1] not in _OURS else None


class Watch:
    """Write a line of JSON for each test and each module that cannot be imported."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def _write(self, **values: object) -> None:
        with self._file.open("a") as lines:
            lines.write(json.dumps(values) + "\n")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Write a test's outcome: of its call, or of a setup or teardown that did not pass."""
        if report.when == "call" or report.outcome != "passed":
            self._write(test=report.nodeid, outcome=report.outcome, why=_why(report))

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Write a module that cannot be imported."""
        if report.outcome == "failed":
            self._write(test=report.nodeid, outcome="uncollected", why=str(report.longrepr))

    def pytest_sessionfinish(self, exitstatus: int) -> None:
        """Write that all tests ran."""
        self._write(finished=int(exitstatus))


def _why(report: pytest.TestReport) -> str:
    """Return the reason of a skip, or the first line of an error."""
    if isinstance(report.longrepr, tuple):
        return report.longrepr[2].removeprefix("Skipped: ")
    lines = str(report.longrepr or "").strip().splitlines() or [""]
    return next((line[1:].strip() for line in lines if line.startswith("E ")), lines[-1])


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option for the file of records."""
    parser.addoption("--records", type=Path, required=True)


def pytest_configure(config: pytest.Config) -> None:
    """Watch only in the main process, to which xdist passes the reports of its workers."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        config.pluginmanager.register(Watch(config.getoption("--records")))
