"""A bundle is written completely or not at all, and never over something else."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir
import pytest

from ancestral.errors import ExportError, InvalidInput
from ancestral.export import bundle_writer as module
from ancestral.export import programs
from ancestral.export.bundle import export_bundle
from tests.tamper import copied
from tests.toys import make


def test_no_graphs(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="graphs: expected some of"):
        export_bundle(make("tiny"), tmp_path / "bundle", graphs=())
    assert list(tmp_path.iterdir()) == []


def test_something_else_is_there(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "mine.png").write_text("dear")
    for out in (tmp_path / "photos", tmp_path / "photos" / "mine.png"):
        with pytest.raises(InvalidInput, match="exists and is not a bundle"):
            export_bundle(make("tiny"), out, overwrite=True)
    assert (tmp_path / "photos" / "mine.png").read_text() == "dear"


def test_a_bundle_is_overwritten_only_on_request(tiny_bundle: Path, tmp_path: Path) -> None:
    copy = copied(tiny_bundle, tmp_path)
    with pytest.raises(InvalidInput, match="pass --overwrite"):
        export_bundle(make("tiny"), copy)


def test_failure_keeps_the_old(
    tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a failure, for example a full disk, the old bundle is unchanged and nothing is left."""
    copy = copied(tiny_bundle, tmp_path)
    before = {file: file.read_bytes() for file in copy.rglob("*") if file.is_file()}

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(programs, "programs", full)
    with pytest.raises(OSError, match="No space left"):
        export_bundle(make("tiny"), copy, overwrite=True)
    assert {file: file.read_bytes() for file in copy.rglob("*") if file.is_file()} == before
    assert list(tmp_path.iterdir()) == [copy]


def test_a_problem_of_the_lint_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    empty = onnx_ir.Model(onnx_ir.Graph([], [], nodes=[]), ir_version=10)
    monkeypatch.setattr(programs, "export_graph", lambda program: {"portable": empty})
    monkeypatch.setattr(module, "lint", lambda graph, form, signature: ["node_7: not allowed"])
    with pytest.raises(ExportError, match=r"in form portable: breaks .*:\n  node_7: not allowed"):
        export_bundle(make("tiny"), tmp_path / "bundle", graphs=("step",))
    assert list(tmp_path.iterdir()) == []


NAN, INF = float("nan"), float("inf")
PRIORS = (
    (1.0,),
    (0.5, 0.6),
    (1.5, -0.5),
    (NAN, 1.0),
    (1.0, NAN),
    (INF, 0.0),
    (INF, -INF),
    ((0.5, 0.5),),
    ("0.5", "0.5"),
    (0.5, None),
    0.5,
    "even",
    np.ma.array([0.5, 0.5], mask=[True, False]),
)


@pytest.mark.usefixtures("called_by_users")
@pytest.mark.parametrize("prior", PRIORS)
def test_prior(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prior: Any) -> None:
    """A prior that is not a distribution is refused before anything is written."""
    monkeypatch.setattr(module, "weights_file", lambda model: pytest.fail("something was written"))
    with pytest.raises(InvalidInput, match="label_prior: expected"):
        export_bundle(make("tiny"), tmp_path / "bundle", label_prior=prior)


def test_a_manifest_that_would_not_open_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BOUNDS", replace(module.BOUNDS, keys=50))
    with pytest.raises(
        ExportError, match=r"over a limit of the bundle format \(expected at most 50 keys"
    ):
        export_bundle(make("table"), tmp_path / "bundle", graphs=["log_prob"])
    assert list(tmp_path.iterdir()) == []
