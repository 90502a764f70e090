"""Simulate a bulk job on machines that fail and on slow ones, event by event.

Work is in shards. A static shard i/n has the parts i, i + n, ..; a worker that takes the next part
has a shard of one part. A machine takes the next shard, reads the parts of it that are there, and
computes the others. When a machine fails, the part that it was computing is lost, the parts that
it wrote stay, and another machine takes the shard again.

`benchmarks.bulk.table` writes the table of docs/bulk.md.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from heapq import heapify, heappop, heappush

import numpy as np

HOUR = 3600.0
Requests = Mapping[str, int]
"""Number of requests by their method."""
LOOK: Requests = {"HEAD": 1}
READ: Requests = {"HEAD": 1, "GET": 1}
END: Requests = {"HEAD": 1, "GET": 1}
"""Requests to S3 of a look whether a part is there, of its reading, and of the reading of its end;
tests/bulk/test_store.py counts them."""
PIECE = 10 * 2**20
"""Bytes that one PUT sends of a large object; a smaller object is sent whole."""
NAMES = 1000
"""Names that one request LIST returns."""


def written(size: int) -> Requests:
    """Return the requests to S3 with which a part of so many bytes is written."""
    return {"PUT": 1} if size < PIECE else {"POST": 2, "PUT": -(-size // PIECE)}


@dataclass(frozen=True, slots=True)
class Machines:
    """Machines with one worker each.

    Attributes:
        count: number of machines; one that fails is replaced.
        rate: rows that a machine computes per second.
        failures: failures of a machine per second; the times between them are exponential.
        slow_share: probability that a machine is slow.
        slow: time of a slow machine over that of another one.
        start_up: seconds from the start of a process to its first row.
        replace: seconds from a failure until there is another machine.
    """

    count: int = 1000
    rate: float = 100.0
    failures: float = 0.01 / HOUR
    slow_share: float = 0.02
    slow: float = 2.0
    start_up: float = 10.0
    replace: float = 120.0


@dataclass(frozen=True, slots=True)
class ObjectStore:
    """Times of requests, as one client sees them.

    Attributes:
        seconds: time of a request by its method, in seconds.
        bandwidth: bytes per second.
        row_bytes: bytes of a row in a part.
        decode: seconds in which a row that was read is decoded and hashed.
        decode_end: seconds in which the end of a part is decoded.
        limit: requests HEAD and GET that a folder serves per second.
    """

    seconds: tuple[tuple[str, float], ...] = (
        ("HEAD", 0.03),
        ("GET", 0.05),
        ("PUT", 0.10),
        ("POST", 0.10),
        ("LIST", 0.20),
    )
    bandwidth: float = 100e6
    row_bytes: float = 61.0
    decode: float = 0.7e-6
    decode_end: float = 0.35e-3
    limit: float = 5500.0

    def size(self, rows: int) -> int:
        """Return the bytes of a part."""
        return math.ceil(rows * self.row_bytes)

    def time(self, requests: Requests, rows: int = 0) -> float:
        """Return the seconds of requests that transfer so many rows."""
        each = dict(self.seconds)
        waited = sum(number * each[method] for method, number in requests.items())
        return waited + rows * self.row_bytes / self.bandwidth

    def writing(self, rows: int) -> float:
        """Return the seconds in which a worker looks for a part that is missing and writes it."""
        return self.time(LOOK) + self.time(written(self.size(rows)), rows)

    def reading(self, rows: int) -> float:
        """Return the seconds in which a worker reads a part and compares it with its hash."""
        return self.time(READ, rows) + rows * self.decode


@dataclass(slots=True)
class Outcome:
    """What happened in a job.

    Attributes:
        seconds: time from the start to the last part.
        parts: parts that were completed; each of them counts as whole.
        needed: rows of all parts.
        computed: rows that were computed, with those of parts that were lost.
        lost: rows of parts whose machine failed before they were written.
        failures: failures of machines that were computing.
        reads: parts that were read because they were there.
    """

    seconds: float = 0.0
    parts: int = 0
    needed: int = 0
    computed: float = 0.0
    lost: float = 0.0
    failures: int = 0
    reads: int = 0


class Simulation:
    """The state of a job: machines, shards, and events in the order of their times."""

    def __init__(
        self,
        machines: Machines,
        store: ObjectStore,
        parts: int,
        part_size: int,
        shards: int | None = None,
        seed: int = 0,
    ) -> None:
        """Start a job.

        Args:
            machines: the machines.
            store: where the parts are.
            parts: number of parts.
            part_size: rows of a part.
            shards: number of static shards, each a process of its own; None if the workers keep
                running and take the next part.
            seed: seed of the failures and the slow machines.
        """
        self.machines, self.store, self.part_size = machines, store, part_size
        self.random = np.random.default_rng(seed)
        self.shards, self.parts = shards, parts
        count = parts if shards is None else min(shards, parts)
        self.sizes = [len(range(i, parts, count)) for i in range(count)]
        self.made = [0] * count
        self.fresh = iter(range(count))
        self.again: list[int] = []
        self.idle: list[int] = []
        self.slow = [1.0] * machines.count
        self.dies = [math.inf] * machines.count
        self.writing = store.writing(part_size)
        self.reading = store.reading(part_size)
        self.outcome = Outcome(needed=parts * part_size)

    def run(self) -> Outcome:
        """Run the job to its end."""
        found, made, sizes = self.outcome, self.made, self.sizes
        ready = self.machines.start_up if self.shards is None else 0.0
        left = len(sizes)
        # An event: time, machine, shard that it leaves (-1: none), parts that it made.
        events = [(ready, machine, -1, 0) for machine in range(self.machines.count)]
        for machine in range(self.machines.count):
            self._replaced(machine, 0.0)
        heapify(events)
        while left:
            now, machine, shard, new = heappop(events)
            if shard >= 0:
                made[shard] += new
                found.parts += new
                if made[shard] < sizes[shard]:
                    found.failures += 1
                    self.again.append(shard)
                    self._replaced(machine, now)
                    heappush(events, (now + self.machines.replace + ready, machine, -1, 0))
                    if self.idle:
                        heappush(events, (now, self.idle.pop(), -1, 0))
                    continue
                left -= 1
                found.seconds = now
            taken = self.again.pop() if self.again else next(self.fresh, None)
            if taken is None:
                self.idle.append(machine)
            else:
                heappush(events, self._started(now, machine, taken))
        return found

    def _replaced(self, machine: int, now: float) -> None:
        """Draw the speed of a new machine, and when it fails."""
        some = self.machines
        self.slow[machine] = some.slow if self.random.random() < some.slow_share else 1.0
        self.dies[machine] = self._failure(now)

    def _failure(self, now: float) -> float:
        rate = self.machines.failures
        return now + self.random.exponential(1 / rate) if rate else math.inf

    def _started(self, now: float, machine: int, shard: int) -> tuple[float, int, int, int]:
        """Return the event with which a machine leaves a shard that it takes now."""
        found, there = self.outcome, self.made[shard]
        if self.dies[machine] <= now:
            # It failed while it had no work; the distribution has no memory.
            self.dies[machine] = self._failure(now)
        computing = self.part_size / self.machines.rate * self.slow[machine]
        part = computing + self.writing
        begin = now + there * self.reading
        if self.shards is not None:
            begin += self.machines.start_up
        left = self.sizes[shard] - there
        end, dies = begin + left * part, self.dies[machine]
        if end <= dies:
            found.reads += there
            found.computed += left * self.part_size
            return end, machine, shard, left
        made, spent = 0, 0.0
        if dies > begin:
            made = min(int((dies - begin) // part), left - 1)
            spent = min(dies - begin - made * part, computing) / computing
            found.reads += there
        found.computed += (made + spent) * self.part_size
        found.lost += spent * self.part_size
        return dies, machine, shard, made


def simulate(
    machines: Machines,
    store: ObjectStore,
    rows: int,
    part_size: int,
    shards: int | None = None,
    seed: int = 0,
) -> Outcome:
    """Run a job of so many rows; arguments as in `Simulation`. The last part counts as whole."""
    parts = -(-rows // part_size)
    return Simulation(machines, store, parts, part_size, shards, seed).run()
