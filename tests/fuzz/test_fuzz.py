"""Files that are changed at random are either used, or refused in a sentence.

No case crashes its process, hangs, ends in an internal error or prints an escape sequence.
"""

import itertools
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fuzz.cases import KINDS
from tests.fuzz.pool import Case, run_cases
from tests.fuzz.sources import make_sources

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory is bounded as on Linux")
FEW, MANY = 12, 640


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory, bundles: Callable[..., Path]) -> Path:
    folder = tmp_path_factory.mktemp("sources")
    make_sources(folder, bundles)
    return folder


def cases(first: int, count: int) -> list[Case]:
    """Return `count` cases of each kind, numbered from `first`."""
    return [
        (kind, number) for number, kind in itertools.product(range(first, first + count), KINDS)
    ]


def test_a_few(sources: Path) -> None:
    check(cases(0, FEW), sources)


@pytest.mark.slow
def test_many(sources: Path) -> None:
    assert len(KINDS) * MANY >= 5000
    check(cases(FEW, MANY), sources)


def check(given: list[Case], sources: Path) -> None:
    outcomes = run_cases(given, sources)
    print(outcomes.table())
    assert len(outcomes) == len(given)
    assert not outcomes.problems, "\n".join(
        (f"{len(outcomes.problems)} problems:", *outcomes.problems)
    )
