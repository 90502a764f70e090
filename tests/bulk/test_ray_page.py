"""The section Ray of docs/bulk.md: its blocks run in order, on a cluster."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ancestral.bulk.job import require_job
from ancestral.bulk.store import Store
from tests.doc_commands import blocks

from .jobs import finish, merged, ordered
from .ray_cluster import started

ray = pytest.importorskip("ray", exc_type=ImportError)
pytestmark = [
    pytest.mark.bulk,
    # Ray warns of its own defaults.
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.data.context"),
]
PAGE = "docs/bulk.md"


def test_blocks(
    bundles: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [block for block in blocks(PAGE) if "ancestral.bulk.ray" in block.text]
    assert len(found) == 3
    monkeypatch.chdir(tmp_path)
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "digits").symlink_to(bundles("tiny"))
    printed: list[Any] = []
    names: dict[str, Any] = {"__name__": "page", "print": printed.append}
    code = "".join(block.text for block in found)
    with started(2):
        for block in found:
            text = block.text.replace("=1000000", "=60").replace("(8, 8)", "(3, 3)")
            exec(compile(text, PAGE, "exec"), names)
        assert names["samples"].count() == names["scores"].count() == 60
    assert printed[1:] == [True] * len(re.findall(r"# True", code))
    store = Store.open("on-ray")
    job = require_job(store)
    assert printed[0] == f"part-000000000000-000000000060-{job.digest}.parquet"
    again = ordered(bundles("tiny"), 60, settings=job.settings, batch=job.rows, part_size=None)
    serial, folder, _ = finish(again, tmp_path / "serial")
    assert serial.digest == job.digest
    assert merged(job, store, tmp_path / "a") == merged(serial, folder, tmp_path / "b")
