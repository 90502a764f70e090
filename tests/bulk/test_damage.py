"""A damaged, truncated, foreign or stale part is found, and the same command computes it again."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ancestral.bulk.parts import part_of_name
from ancestral.bulk.settings import SampleSettings
from ancestral.bulk.status import status
from ancestral.bulk.table import facts_of, read_part

from .jobs import Bundles, finish, merged, ordered, part_files

N = 60


def _truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _emptied(path: Path) -> None:
    path.write_bytes(b"")


def _of_another_range(path: Path) -> None:
    """Another part of the same job under this name."""
    shutil.copy(part_files(path.parent)[0], path)


def _another_value(path: Path) -> None:
    """A value is replaced and the file written again, checksums of pages included."""
    table = pq.read_table(path)
    values = table["log_prob"].to_numpy().copy()
    values[0] += 1
    at = table.column_names.index("log_prob")
    table = table.set_column(at, table.schema.field("log_prob"), pa.array(values))
    pq.write_table(table, path, write_page_checksum=True)


def _reordered(path: Path) -> None:
    table = pq.read_table(path)
    pq.write_table(table.take(np.arange(len(table))[::-1]), path)


def _a_row_less(path: Path) -> None:
    pq.write_table(pq.read_table(path).slice(1), path)


def _without_metadata(path: Path) -> None:
    pq.write_table(pq.read_table(path).replace_schema_metadata(None), path)


def _text(path: Path) -> None:
    path.write_text("not Parquet")


FAULTS: dict[str, Callable[[Path], None]] = {
    "truncated": _truncated,
    "empty": _emptied,
    "of another range": _of_another_range,
    "another value": _another_value,
    "reordered": _reordered,
    "a row less": _a_row_less,
    "without metadata": _without_metadata,
    "text": _text,
}


@pytest.fixture(scope="module")
def finished(bundles: Bundles, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a finished job. Tests must not change it."""
    out = tmp_path_factory.mktemp("job") / "out"
    finish(ordered(bundles("tiny"), N), out)
    return out


@pytest.mark.parametrize("fault", FAULTS)
def test_damaged_part_is_computed_again(
    fault: str, finished: Path, bundles: Bundles, tmp_path: Path
) -> None:
    shutil.copytree(finished, tmp_path / "out")
    victim = part_files(tmp_path / "out")[1]
    before = victim.read_bytes()
    FAULTS[fault](victim)
    _, _, new = finish(ordered(bundles("tiny"), N), tmp_path / "out")
    assert new == [False, True, False]
    assert victim.read_bytes() == before


@pytest.mark.parametrize("place", np.linspace(0, 1, 23))
def test_every_flipped_bit_is_found_or_harmless(
    place: float, finished: Path, tmp_path: Path
) -> None:
    """A file with a flipped bit is refused, or reads as the same table with the same facts."""
    path = part_files(finished)[0]
    part = part_of_name(path.name)
    assert part is not None
    bundle = _bundle_of(path)
    whole, facts, problem = read_part(path.read_bytes(), part, bundle)
    assert whole is not None
    assert problem is None
    content = bytearray(path.read_bytes())
    content[round(place * (len(content) - 1))] ^= 1
    table, found, problem = read_part(bytes(content), part, bundle)
    assert problem is not None or (found == facts and table is not None and table.equals(whole))


def test_most_flipped_bits_are_found(finished: Path) -> None:
    """The planted fault of the test above: flips in the pages are not harmless."""
    path = part_files(finished)[0]
    part, content = part_of_name(path.name), path.read_bytes()
    assert part is not None
    bundle = _bundle_of(path)
    found = 0
    for place in range(4, 400, 13):
        flipped = bytearray(content)
        flipped[place] ^= 4
        found += read_part(bytes(flipped), part, bundle)[2] is not None
    assert found > 20


def test_parts_of_another_job_are_foreign(bundles: Bundles, tmp_path: Path) -> None:
    """Parts with another digest are never read as parts of this job, and never deleted."""
    other = ordered(bundles("tiny"), N, settings=SampleSettings(seed=9))
    finish(other, tmp_path / "other")
    finish(ordered(bundles("tiny"), N), tmp_path / "out")
    for path in part_files(tmp_path / "other"):
        shutil.copy(path, tmp_path / "out")
    alone = merged(*finish(ordered(bundles("tiny"), N), tmp_path / "again")[:2], tmp_path / "a")
    job, store, new = finish(ordered(bundles("tiny"), N), tmp_path / "out")
    assert set(new) == {False}
    assert len(status(job, store).foreign) == 3
    assert merged(job, store, tmp_path / "b") == alone
    assert len(part_files(tmp_path / "out")) == 6


def test_content_of_another_job_under_our_name(bundles: Bundles, tmp_path: Path) -> None:
    other = ordered(bundles("tiny"), N, settings=SampleSettings(seed=9))
    finish(other, tmp_path / "other")
    finish(ordered(bundles("tiny"), N), tmp_path / "out")
    victim = part_files(tmp_path / "out")[0]
    shutil.copy(part_files(tmp_path / "other")[0], victim)
    _, _, new = finish(ordered(bundles("tiny"), N), tmp_path / "out")
    assert new == [True, False, False]


def test_stale_part_is_superseded(bundles: Bundles, tmp_path: Path) -> None:
    """A short part of an earlier n that was not deleted is neither counted nor merged."""
    finish(ordered(bundles("tiny"), 30), tmp_path / "out")
    short = part_files(tmp_path / "out")[1]
    kept = short.read_bytes()
    job, store, _ = finish(ordered(bundles("tiny"), N), tmp_path / "out")
    assert not short.exists()
    short.write_bytes(kept)
    found = status(job, store)
    assert (found.done, found.missing, found.superseded) == (3, 0, [short.name])
    expected = finish(ordered(bundles("tiny"), N), tmp_path / "again")
    assert merged(job, store, tmp_path / "a") == merged(*expected[:2], tmp_path / "b")
    # The next worker deletes it.
    finish(ordered(bundles("tiny"), N), tmp_path / "out")
    assert not short.exists()


def test_merge_refuses_a_missing_part(finished: Path, bundles: Bundles, tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path / "out")
    job, store, _ = finish(ordered(bundles("tiny"), N), tmp_path / "out")
    for damage, words in ((Path.unlink, "no such file"), (_text, "not a Parquet file")):
        victim = part_files(tmp_path / "out")[1]
        kept = victim.read_bytes()
        damage(victim)
        with pytest.raises(ValueError, match=words):
            merged(job, store, tmp_path / "all.parquet")
        assert not (tmp_path / "all.parquet").exists()
        victim.write_bytes(kept)


def _bundle_of(path: Path) -> str:
    return facts_of(pq.read_schema(path)).bundle
