"""Memory does not grow with the number of rows of a job."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.limited import ROOT

from .jobs import Bundles

CODE = """
import sys
from pathlib import Path
from ancestral.bulk.make import make_job
from ancestral.bulk.parts import Plan
from ancestral.bulk.store import Store
from ancestral.bulk.work import work
from ancestral.engine.timing import memory_now
from tests.bulk.jobs import ordered, worker_of
bundle, out, n = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
order = ordered(bundle, n, batch=256, part_size=int(sys.argv[4]))
marks = []
store = Store.open(out)
job = make_job(order, store)
plan = Plan(job)
parts = map(plan.part, range(plan.count))
work(worker_of(job, store, order), parts, lambda part, new: marks.append(memory_now()))
print(len(marks), marks[len(marks) // 4], marks[-1])
"""
GROWTH = 16 * 2**20
"""Bytes by which memory may grow after the first quarter of the parts."""


def grown(bundle: Path, out: Path, n: int, part_size: int) -> int:
    command = [sys.executable, "-c", CODE, *map(str, (bundle, out, n, part_size))]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=ROOT)
    parts, early, late = map(int, done.stdout.split())
    assert parts == n // part_size
    return late - early


def test_memory_is_flat(bundles: Bundles, tmp_path: Path) -> None:
    assert grown(bundles("table"), tmp_path / "out", 40 * 256, 256) < GROWTH


@pytest.mark.slow
def test_memory_is_flat_over_a_million_rows(bundles: Bundles, tmp_path: Path) -> None:
    assert grown(bundles("table"), tmp_path / "out", 250 * 4096, 4096) < GROWTH
