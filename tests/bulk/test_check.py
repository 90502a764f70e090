"""`check` finds what is wrong with a job; it tells rounding and near ties from wrong rows."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ancestral.bulk.check import Check, check
from ancestral.bulk.computed import computed, load_engine
from ancestral.bulk.job import Job
from ancestral.bulk.near_ties import near_ties
from ancestral.bulk.parts import part_of_name
from ancestral.bulk.settings import Filters, LogProbSettings, SampleSettings
from ancestral.bulk.store import Store
from ancestral.bulk.table import encoded, facts_of
from ancestral.engine import AutoregressiveEngine
from ancestral.engine.comparison import limits
from ancestral.philox import uniforms

from .jobs import Bundles, finish, ordered, part_files

N = 60


def checked(job: Job, store: Store, share: float = 1.0) -> Check:
    engine = load_engine(job)
    return check(job, store, engine, computed(job, engine, store), share)


def rewrite(path: Path, column: str | None, change: Any, **machine: Any) -> None:
    """Change a column or the machine of a part, and write it with the hash that fits."""
    table, part = pq.read_table(path), part_of_name(path.name)
    assert part is not None
    facts = facts_of(table.schema)
    if column is not None:
        at = table.column_names.index(column)
        values = change(table[column].combine_chunks())
        table = table.set_column(at, table.schema.field(column), values)
    path.write_bytes(encoded(table, part, facts.bundle, dict(facts.machine) | machine))


def added(amount: float) -> Any:
    def change(column: pa.Array) -> pa.Array:
        values = column.to_numpy().copy()
        values[5] += amount
        return pa.array(values)

    return change


def test_sound_job(bundles: Bundles, tmp_path: Path) -> None:
    for toy in ("tiny", "bernoulli"):
        found = checked(*finish(ordered(bundles(toy), N), tmp_path / toy)[:2])
        assert found.passed
        assert (found.sound, found.missing, found.redrawn.rows) == (3, 0, N)
        assert found.redrawn.equal == N
        assert len(found.machines) == len(found.instructions) == 1


def test_share(bundles: Bundles, tmp_path: Path) -> None:
    """At least one batch is computed again, unless the share is 0."""
    job, store, _ = finish(ordered(bundles("tiny"), N), tmp_path)
    assert checked(job, store, 1e-9).redrawn.rows == job.rows
    assert checked(job, store, 0.0).redrawn.rows == 0


def test_missing_and_damaged_parts(bundles: Bundles, tmp_path: Path) -> None:
    job, store, _ = finish(ordered(bundles("tiny"), N), tmp_path)
    first, second, _ = part_files(tmp_path)
    first.unlink()
    content = bytearray(second.read_bytes())
    content[len(content) // 3] ^= 1
    second.write_bytes(content)
    found = checked(job, store)
    assert (found.sound, found.missing, len(found.damaged)) == (1, 2, 1)
    assert found.damaged[0][0] == second.name
    assert not found.passed


@pytest.mark.parametrize("amount", [2.0**-40, 0.5])
def test_wrong_number_on_the_same_machine(amount: float, bundles: Bundles, tmp_path: Path) -> None:
    """A part from this machine has to have equal bits, even if its hash is right."""
    job, store, _ = finish(ordered(bundles("tiny"), N), tmp_path)
    rewrite(part_files(tmp_path)[1], "log_prob", added(amount))
    found = checked(job, store)
    assert (found.redrawn.wrong, found.redrawn.equal) == (1, N - 1)
    assert not found.passed


def test_rounding_of_another_machine(bundles: Bundles, tmp_path: Path) -> None:
    """A part from another machine may differ within the parity table, and no further."""
    job, store, _ = finish(ordered(bundles("tiny"), N), tmp_path)
    path = part_files(tmp_path)[1]
    rewrite(path, "log_prob", added(1e-7), processor="other", instructions_sha256="0" * 12)
    found = checked(job, store)
    assert found.passed
    assert len(found.instructions) == len(found.machines) == 2
    again = found.redrawn
    assert (again.equal, again.close, again.wrong) == (N - 1, 1, 0)
    assert 0 < again.max_nats <= again.limit_nats
    rewrite(path, "log_prob", added(0.5))
    assert checked(job, store).redrawn.wrong == 1


def test_rounding_of_long_texts(bundles: Bundles, tmp_path: Path) -> None:
    """The limit of a text grows with its tokens, because it is the sum over more positions."""
    texts = ["the cat", "the dog saw the cat " * 100]
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, texts)))
    order = ordered(
        bundles("text"), None, settings=LogProbSettings(), data=[str(tmp_path / "t.jsonl")]
    )
    job, store, _ = finish(order, tmp_path / "out")
    engine = load_engine(job)
    single = 2 * max(each.nats for each in limits(engine, engine.bundle.known_answers()))

    def added_to(row: int) -> Any:
        def change(column: pa.Array) -> pa.Array:
            values = column.to_numpy().copy()
            values[row] += 2 * single
            return pa.array(values)

        return change

    path = part_files(tmp_path / "out")[0]
    before = path.read_bytes()
    rewrite(path, "log_prob", added_to(1), processor="other")
    again = checked(job, store).redrawn
    assert (again.close, again.wrong) == (1, 0)
    path.write_bytes(before)
    rewrite(path, "log_prob", added_to(0), processor="other")
    again = checked(job, store).redrawn
    assert (again.close, again.wrong) == (0, 1)


def test_other_value_of_another_machine(bundles: Bundles, tmp_path: Path) -> None:
    """A value that differs where there is no near tie is wrong."""
    job, store, _ = finish(ordered(bundles("tiny"), N), tmp_path)

    def change(column: pa.Array) -> pa.Array:
        flat = column.flatten().to_numpy().copy()
        flat[9 * 5] = (flat[9 * 5] + 1) % 3
        return pa.FixedSizeListArray.from_arrays(pa.array(flat), 9)

    rewrite(part_files(tmp_path)[1], "x", change, processor="other")
    assert checked(job, store).redrawn.wrong == 1
    # With filters the difference cannot be judged, and is reported as such.
    settings = SampleSettings(seed=3, filters=Filters(top_k=2))
    job, store, _ = finish(ordered(bundles("tiny"), N, settings=settings), tmp_path / "filtered")
    rewrite(part_files(tmp_path / "filtered")[1], "x", change, processor="other")
    again = checked(job, store).redrawn
    assert (again.unjudged, again.wrong) == (1, 0)


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_near_ties(temperature: float, bundles: Bundles) -> None:
    """A difference is a near tie exactly if u is within the limit of all edges between the values.

    Rows are drawn with their own noise; then their uniform is compared with the edges by the
    distance that log_q of the drawn value and the model give.
    """
    engine = AutoregressiveEngine.load(bundles("tiny"), threads=1)
    settings = SampleSettings(seed=3, labels=(0, 1), filters=Filters(temperature=temperature))
    n = 64
    drawn = engine.sample(n, np.arange(n) % 2, 3, sampling=settings.filters.sampling)
    x, rows = engine.data.in_order(drawn.x), np.arange(n)
    other = x.copy()
    other[:, 4] = np.where(x[:, 4] > 0, x[:, 4] - 1, x[:, 4] + 1)
    logits = engine.parallel("logits", np.arange(n) % 2, x=x)["logits"][:, 4] / temperature
    p = np.exp(logits - logits.max(axis=1, keepdims=True)).astype(np.float64)
    edges = np.cumsum(p / p.sum(axis=1, keepdims=True), axis=1)
    u = uniforms(3, rows, np.array([4]))[:, 0]
    low = np.minimum(x[:, 4], other[:, 4])
    apart = np.abs(edges[rows, low] - u)
    for limit in (0.0, 0.02, 0.1, 1.0):
        found = near_ties(engine, settings, rows, engine.data.in_place(other), drawn.x, limit)
        clear = np.abs(apart - limit) > 1e-5
        assert np.array_equal(found[clear], (apart <= limit)[clear])


def test_machine_of_a_part(bundles: Bundles, tmp_path: Path) -> None:
    job, _, _ = finish(ordered(bundles("tiny"), N), tmp_path)
    facts = facts_of(pq.read_schema(part_files(tmp_path)[0]))
    assert facts.machine["threads"] == 1
    assert facts.machine["versions"]["onnxruntime"]
    assert json.dumps(facts.known)
    assert (facts.digest, facts.first, facts.end) == (job.digest, 0, 24)
