"""The simulation of bulk jobs agrees with closed forms, and docs/bulk.md has its tables."""

import math
from dataclasses import replace

import pytest

from benchmarks.bulk import table
from benchmarks.bulk.simulation import Machines, ObjectStore, Simulation, simulate, written
from benchmarks.report import replaced
from tests.doc_commands import ROOT

FREE = ObjectStore(
    tuple((each, 0.0) for each in ("HEAD", "GET", "PUT", "POST", "LIST")), math.inf, 61, 0
)
"""A store whose requests take no time."""
CALM = Machines(
    count=50, rate=10.0, failures=0.0, slow_share=0.0, slow=1.0, start_up=0.0, replace=0.0
)
"""Machines that neither fail nor wait."""
PARTS, SIZE = 20_000, 100
MODES = pytest.mark.parametrize("shards", [None, 50, 500])


@MODES
def test_without_failures_the_time_is_the_ideal(shards: int | None) -> None:
    found = simulate(CALM, FREE, PARTS * SIZE, SIZE, shards)
    assert found.seconds == pytest.approx(PARTS * SIZE / (50 * 10.0), rel=1e-12)
    assert (found.parts, found.failures, found.lost, found.reads) == (PARTS, 0, 0, 0)
    assert found.computed == found.needed == PARTS * SIZE


@MODES
def test_starts_and_requests_add_up(shards: int | None) -> None:
    machines, store = replace(CALM, start_up=7.0), ObjectStore()
    found = simulate(machines, store, PARTS * SIZE, SIZE, shards)
    starts = 1 if shards is None else shards / 50
    part = SIZE / 10.0 + 0.03 + 0.1 + SIZE * 61 / 100e6
    assert found.seconds == pytest.approx(7.0 * starts + PARTS / 50 * part, rel=1e-12)


def test_parts_that_are_there_are_read() -> None:
    machines, store = replace(CALM, count=1, start_up=7.0), ObjectStore()
    run = Simulation(machines, store, 100, SIZE, 1)
    run.made[0] = 60
    found = run.run()
    rest = 40 * (SIZE / 10.0 + store.writing(SIZE))
    assert found.seconds == pytest.approx(7.0 + 60 * store.reading(SIZE) + rest, rel=1e-12)
    assert (found.parts, found.reads, found.computed) == (40, 60, 40 * SIZE)


@MODES
@pytest.mark.parametrize("mean", [0.02, 0.5])
def test_lost_work_is_as_expected(mean: float, shards: int | None) -> None:
    """A part of d seconds fails exp(fd) - 1 times before it succeeds, at f failures per second.

    Its attempts take (exp(fd) - 1) / f seconds in all, and d of them are needed.
    """
    seconds = SIZE / 10.0
    machines = replace(CALM, failures=mean / seconds)
    found = simulate(machines, FREE, PARTS * SIZE, SIZE, shards, seed=1)
    failures = PARTS * math.expm1(mean)
    # The number of failures of a part is geometric: its variance is exp(fd) (exp(fd) - 1).
    deviation = math.sqrt(failures * math.exp(mean))
    assert abs(found.failures - failures) < 4 * deviation
    lost = PARTS * (math.expm1(mean) / mean - 1) * SIZE
    # About half a part is lost each time, with a deviation of 0.29 parts: sqrt(1/4 + 1/12) < 0.6.
    assert abs(found.lost - lost) < 4 * deviation * SIZE * 0.6


@MODES
def test_every_part_is_done_and_rows_are_conserved(shards: int | None) -> None:
    machines = replace(CALM, failures=0.01, slow_share=0.3, slow=3.0, start_up=5.0, replace=9.0)
    run = Simulation(machines, ObjectStore(), PARTS + 1, SIZE, shards, seed=2)
    found = run.run()
    assert run.made == run.sizes
    assert found.parts == sum(run.sizes) == PARTS + 1
    assert found.failures > 1000
    assert found.computed - found.needed == pytest.approx(found.lost, rel=1e-9)
    assert (found.reads > 0) == (shards is not None)


def test_one_machine_takes_its_work_and_its_replacements() -> None:
    machines = replace(CALM, count=1, failures=1e-3, replace=70.0)
    found = simulate(machines, FREE, 500 * SIZE, SIZE, 1, seed=3)
    assert found.failures > 1
    assert found.seconds == pytest.approx(found.computed / 10.0 + 70.0 * found.failures, rel=1e-12)


def test_slow_machines_hold_their_shards_but_not_the_next_part() -> None:
    machines = replace(CALM, slow_share=0.1, slow=2.0)
    least = PARTS * SIZE / (50 * 10.0)
    run = Simulation(machines, FREE, PARTS, SIZE, None, seed=4)
    taken = run.run()
    speed = sum(1 / each for each in run.slow) / 50
    assert 0 < taken.seconds - least / speed < 2 * SIZE / 10.0
    assert simulate(machines, FREE, PARTS * SIZE, SIZE, 50, seed=4).seconds == 2 * least


def test_a_seed_decides_all() -> None:
    runs = [simulate(Machines(), ObjectStore(), 10**8, 16_384, 1000, seed) for seed in (5, 5, 6)]
    assert runs[0] == runs[1] != runs[2]


def test_large_parts_are_sent_in_pieces() -> None:
    assert written(10 * 2**20 - 1) == {"PUT": 1}
    assert written(10 * 2**20) == {"POST": 2, "PUT": 1}
    assert written(10 * 2**20 + 1) == {"POST": 2, "PUT": 2}


def test_commands_of_one_process() -> None:
    """`status` and the look of `merge` send 32 requests at a time; parts are read one by one."""
    store = ObjectStore()
    reading = 0.03 + 0.05 + 4096 * (61 / 100e6 + 0.7e-6)
    ends = 2001 * (0.08 / 32 + 0.35e-3)
    assert table.status_seconds(store, 2001) == pytest.approx(3 * 0.2 + ends)
    assert table.check_seconds(store, 2001, 4096) == pytest.approx(3 * 0.2 + 2001 * reading)
    assert table.merge_seconds(store, 2001, 4096) == pytest.approx(2001 * (0.03 / 32 + reading))
    few = replace(Machines(), count=10)
    assert table.continue_seconds(few, store, 2001, 4096) == pytest.approx(201 * reading)
    assert table.continue_seconds(Machines(), store, 10**6, 4096) == pytest.approx(2e6 / 5500)


def test_the_page_has_the_tables() -> None:
    page = (ROOT / "docs/bulk.md").read_text()
    tables = table.tables(Machines(), ObjectStore())
    assert page == replaced(page, tables, table.BEGIN, table.END_OF_TABLES), (
        "python -m benchmarks.bulk.table"
    )
