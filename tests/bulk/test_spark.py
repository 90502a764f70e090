"""The blocks of docs/bulk.md for Spark, on a local Spark with two cores."""

import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

import ancestral
from ancestral.bulk.job import require_job
from ancestral.bulk.parts import Plan
from ancestral.bulk.status import status
from ancestral.bulk.store import Store
from ancestral.bulk.table import values_of
from ancestral.engine.comparison import limits
from tests.doc_commands import ROOT, blocks

from .jobs import rows_of

pytestmark = [
    pytest.mark.bulk,
    pytest.mark.skipif(
        shutil.which("java") is None and "JAVA_HOME" not in os.environ,
        reason="Spark needs Java, which is not installed",
    ),
]
PAGE = "docs/bulk.md"
LINES = 30
"""Most lines of a block."""


def block_with(text: str, *changes: tuple[str, str]) -> str:
    """Return the block for Spark that has a text, with changes, each of which applies."""
    (found,) = (each.text for each in blocks(PAGE) if "pyspark" in each.text and text in each.text)
    assert len(found.splitlines()) <= LINES
    for old, new in changes:
        assert old in found, old
        found = found.replace(old, new)
    return found


def submit(code: str, folder: Path, settings: Iterable[str] = ()) -> None:
    """Run a program on a local Spark with two cores, in a folder."""
    every = ("spark.ui.enabled=false", "spark.sql.shuffle.partitions=2", *settings)
    arguments = " ".join(f"--conf {each}" for each in every)
    (folder / "ancestral").write_text(
        f"#!{sys.executable}\nfrom ancestral.cli.start import start\nstart()\n"
    )
    (folder / "ancestral").chmod(0o755)
    environment = os.environ | {
        "PATH": f"{folder}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT / "src"),
        "PYSPARK_PYTHON": sys.executable,
        "PYSPARK_SUBMIT_ARGS": f"--master local[2] {arguments} pyspark-shell",
        "SPARK_LOCAL_IP": "127.0.0.1",
    }
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env=environment,
        capture_output=True,
        check=False,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-4000:]


def test_scores(page_folder: Path, tmp_path: Path) -> None:
    """Each row is scored once, as by the engine, which each Python process loads once."""
    for name in ("demo", "samples"):
        (tmp_path / name).symlink_to(page_folder / name)
    (tmp_path / "loads").mkdir()
    load = "    import ancestral\n"
    noted = "    import os, uuid; open(f'loads/{os.getpid()}-{uuid.uuid4()}', 'x').close()\n"
    code = block_with("predict_batch_udf", (load, load + noted), ("batch_size=256", "batch_size=7"))
    # A task for each of the seven parts.
    submit(code, tmp_path, ["spark.sql.files.openCostInBytes=1g"])
    scored = pq.read_table(tmp_path / "scored").sort_by("index")
    rows = pq.read_table(page_folder / "samples.parquet")
    assert len(list((tmp_path / "scored").glob("part-*"))) == 7
    assert scored["index"].to_pylist() == list(range(200))
    engine = ancestral.load(page_folder / "demo" / "digits", threads=1)
    expected = engine.log_prob(values_of(rows, "x"), rows["label"].to_numpy())
    limit = 2 * limits(engine, engine.bundle.known_answers())[0].nats
    np.testing.assert_allclose(scored["log_prob"].to_numpy(), expected, rtol=0, atol=limit)
    loads = Counter(each.name.partition("-")[0] for each in (tmp_path / "loads").iterdir())
    assert set(loads.values()) == {1}
    assert len(loads) <= 2


def test_shards(page_folder: Path, tmp_path: Path) -> None:
    """Spark runs all shards of a job, and again the one that failed."""
    (tmp_path / "demo").symlink_to(page_folder / "demo")
    fail = "    import os\n    if i == 3 and not os.path.exists('failed'):\n" + (
        "        open('failed', 'x').close()\n        raise OSError('this machine failed')\n"
    )
    start = "def draw(i):\n"
    code = block_with(
        "subprocess",
        (start, start + fail),
        ("-n 1000000 --seed 1", "-n 200 --seed 1 --batch 16 --part-size 32"),
        ("/16", "/5"),
        ("range(16), 16", "range(5), 5"),
    )
    code = re.sub(r"getOrCreate\(\)", "master('local[2, 4]').getOrCreate()", code)
    submit(code, tmp_path)
    assert (tmp_path / "failed").exists()
    store = Store.open(str(tmp_path / "drawn"))
    job = require_job(store)
    assert status(job, store).complete
    assert Plan(job).count == 7
    drawn = rows_of(job, store, tmp_path / "drawn.parquet")
    assert drawn.equals(pq.read_table(page_folder / "samples.parquet"))
