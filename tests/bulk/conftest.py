"""A folder as docs/bulk.md assumes it, for the tests that run its blocks with other programs."""

import contextlib
import sys
from pathlib import Path

import pytest

# The benchmarks are in the checkout, not in the package.
sys.path.append(str(Path(__file__).resolve().parents[2]))

from ancestral.cli.main import run
from tests.doc_folders import write_demo


@pytest.fixture(scope="session")
def page_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the bundles of the demo, and 200 samples in seven parts, merged."""
    folder = tmp_path_factory.mktemp("page")
    job = "demo/digits -n 200 --seed 1 --threads 1 --batch 16 --part-size 32 -o samples"
    with contextlib.chdir(folder):
        write_demo(Path("demo"))
        assert run(["bulk", "sample", *job.split()]) == 0
        assert run(["bulk", "merge", "samples", "-o", "samples.parquet"]) == 0
    return folder
