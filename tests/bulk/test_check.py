"""`check` finds what is wrong with a job; it tells rounding and near ties from wrong rows."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ancestral.bulk.check import Check, check
from ancestral.bulk.comparison import Redrawn, compare
from ancestral.bulk.computed import computed, load_engine
from ancestral.bulk.job import Job
from ancestral.bulk.near_ties import Distribution, near_ties
from ancestral.bulk.parts import part_of_name
from ancestral.bulk.prompts import prompts_content
from ancestral.bulk.settings import (
    ClassifySettings,
    Filters,
    LogProbSettings,
    Prompts,
    SampleSettings,
)
from ancestral.bulk.store import Store
from ancestral.bulk.table import encoded, facts_of
from ancestral.engine import AutoregressiveEngine, Sampling
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
    """A value that differs where there is no near tie is wrong, with and without filters."""

    def change(column: pa.Array) -> pa.Array:
        flat = column.flatten().to_numpy().copy()
        flat[9 * 5] = (flat[9 * 5] + 1) % 3
        return pa.FixedSizeListArray.from_arrays(pa.array(flat), 9)

    for i, filters in enumerate((Filters(), Filters(temperature=0.8, top_k=2, top_p=0.9))):
        settings = SampleSettings(seed=3, filters=filters)
        job, store, _ = finish(ordered(bundles("tiny"), N, settings=settings), tmp_path / str(i))
        rewrite(part_files(tmp_path / str(i))[1], "x", change, processor="other")
        again = checked(job, store).redrawn
        assert (again.wrong, again.near_ties, again.unjudged) == (1, 0, 0)


def test_other_token_of_another_machine(bundles: Bundles, tmp_path: Path) -> None:
    """A continuation with another token, or a missing one, is wrong where there is no near tie."""
    prompts = [[1, 2], [0], [3, 3, 1]]
    given = Prompts(sha256=prompts_content(prompts)[1], count=3, max_new=4, stop=())
    settings = SampleSettings(seed=3, prompts=given, filters=Filters(temperature=0.8))
    order = ordered(bundles("startless"), 24, settings=settings, prompts=prompts)
    job, store, _ = finish(order, tmp_path)
    path = part_files(tmp_path)[0]
    before = path.read_bytes()

    def other(column: pa.Array) -> pa.Array:
        rows = column.to_pylist()
        rows[5][2] = (rows[5][2] + 1) % 3
        return pa.array(rows, column.type)

    def shorter(column: pa.Array) -> pa.Array:
        rows = column.to_pylist()
        return pa.array([*rows[:5], rows[5][:2], *rows[6:]], column.type)

    for change in (other, shorter):
        path.write_bytes(before)
        rewrite(path, "tokens", change, processor="other")
        again = checked(job, store).redrawn
        assert (again.wrong, again.near_ties, again.equal) == (1, 0, 23)


def test_other_class_of_another_machine(bundles: Bundles, tmp_path: Path) -> None:
    """Another class is a near tie if log p(x, y) of both machines agree, and else wrong."""
    x = np.random.default_rng(0).integers(0, 3, (8, 3, 3))
    np.save(tmp_path / "x.npy", x)
    data = [str(tmp_path / "x.npy")]
    order = ordered(bundles("tiny"), None, settings=ClassifySettings(), data=data)
    job, store, _ = finish(order, tmp_path / "out")
    path = part_files(tmp_path / "out")[0]

    def flipped(column: pa.Array) -> pa.Array:
        labels = column.to_numpy().copy()
        labels[5] = 1 - labels[5]
        return pa.array(labels)

    rewrite(path, "label", flipped, processor="other")
    again = checked(job, store).redrawn
    assert (again.wrong, again.near_ties) == (1, 0)
    # The other machine has the other class first, by less than the limit; so has this one.
    engine = load_engine(job)
    rows = computed(job, engine, store)
    stored, drawn = rows.columns(0, 8), rows.columns(0, 8)
    for columns, by in ((stored, 1e-7), (drawn, -1e-7)):
        joint = np.array(columns["log_joint"])
        joint[5, 1] = joint[5, 0] + by
        labels = np.array(columns["label"])
        labels[5] = int(by > 0)
        columns.update(log_joint=joint, label=labels)
    counts = Redrawn()
    compare(engine, job.settings, (), (np.arange(8), stored, drawn), exact=False, counts=counts)
    assert (counts.near_ties, counts.wrong, counts.equal) == (1, 0, 7)


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
    known = limits(engine, engine.bundle.known_answers())[0]
    for limit in (0.0, 0.02, 0.1, 1.0):
        # The limits are those of one machine, at a temperature of at least 1.
        each = limit / 2 * min(1.0, temperature)
        found = near_ties(
            engine,
            settings,
            (),
            (rows, {"x": engine.data.in_place(other)}, {"x": drawn.x}),
            replace(known, cdf=each, filtered=each),
        )
        clear = np.abs(apart - limit) > 1e-5
        assert np.array_equal(found[clear], (apart <= limit)[clear])


SAMPLINGS = {
    "bias and penalties": Sampling(0.8, None, 1.0, 0.0, {0: 1.5, 2: -0.5}, 1.7, 0.4, 0.3),
    "top-k": Sampling(0.7, top_k=2),
    "top-p": Sampling(1.2, top_p=0.7),
    "min-p": Sampling(1.2, min_p=0.4),
    "all": Sampling(0.9, 2, 0.8, 0.1, {1: -math.inf}, 0.6, -0.2, 0.1),
    "coldest": Sampling(0.0),
}


@pytest.mark.parametrize("name", SAMPLINGS)
def test_distribution_is_that_of_the_draw(name: str, bundles: Bundles) -> None:
    """The probabilities are those of log_q, and the uniforms draw the same values from them."""
    how, n = SAMPLINGS[name], 40
    engine = AutoregressiveEngine.load(bundles("tiny"), threads=1)
    drawn = engine.sample(n, np.arange(n) % 2, 3, sampling=how)
    x = engine.data.in_order(drawn.x)
    logits = engine.parallel("logits", np.arange(n) % 2, x=x)["logits"].astype(np.float64)
    u = uniforms(3, np.arange(n), np.arange(x.shape[1]))
    log_q = np.zeros(n)
    for i, at in np.ndindex(x.shape):
        found = Distribution.of(logits[i, at], x[i, :at], 0, how)
        assert found.possible[x[i, at]]
        log_q[i] += np.log(found.p[x[i, at]])
        edges = np.cumsum(found.p)
        value = int((edges < u[i, at]).sum())
        assert value == x[i, at] or np.abs(edges - u[i, at]).min() < 1e-6 or how.temperature == 0
    assert np.abs(log_q - drawn.log_q).max() < 1e-4


def test_given_values_are_not_penalised() -> None:
    """Presence and frequency penalties count what was drawn, the repetition penalty all values."""
    past, logits = np.array([0, 1, 1]), np.zeros(3)
    for how, expected in (
        (Sampling(presence_penalty=1.0), [0, -1, 0]),
        (Sampling(frequency_penalty=1.0), [0, -2, 0]),
        (Sampling(logit_bias={0: 2.0, 1: -1.0}, repetition_penalty=2.0), [1, -2, 0]),
    ):
        z = np.exp(np.array(expected, float))
        assert np.allclose(Distribution.of(logits, past, 1, how).p, z / z.sum())


def test_ties_of_filters() -> None:
    """A filter that almost keeps another value makes a near tie of it; a banned one is never."""
    logits, past = np.log(np.array([0.4, 0.3, 0.3 - 1e-7, 1e-60])), np.zeros(0, np.int64)
    near = Distribution.of(logits, past, 0, Sampling(top_k=2))
    assert near.near_tie((1, 2), 0.5, 1e-9, 1e-6)
    assert not near.near_tie((1, 2), 0.5, 1e-9, 1e-8)
    assert not near.near_tie((1, 3), 0.5, 1e-9, 1e-6)
    # The first value has almost the whole of top-p, so that a second one is almost kept.
    near = Distribution.of(logits, past, 0, Sampling(top_p=0.4 - 1e-8))
    assert near.near_tie((0, 1), 0.5, 1e-7, 1e-9)
    assert not near.near_tie((0, 1), 0.5, 1e-9, 1e-9)
    near = Distribution.of(logits, past, 0, Sampling(min_p=0.75 - 1e-8))
    assert near.near_tie((0, 1), 0.5, 1e-9, 1e-6)
    assert not near.near_tie((0, 1), 0.5, 1e-9, 1e-9)
    assert not Distribution.of(logits, past, 0, Sampling()).near_tie((0, 1), 0.5, 1e-6, 1.0)


def test_machine_of_a_part(bundles: Bundles, tmp_path: Path) -> None:
    job, _, _ = finish(ordered(bundles("tiny"), N), tmp_path)
    facts = facts_of(pq.read_schema(part_files(tmp_path)[0]))
    assert facts.machine["threads"] == 1
    assert facts.machine["versions"]["onnxruntime"]
    assert json.dumps(facts.known)
    assert (facts.digest, facts.first, facts.end) == (job.digest, 0, 24)
