"""The benchmarks are in the checkout, not in the package; a toy becomes one of their cases."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parents[2]))

from benchmarks import cases
from tests.toys import make


@pytest.fixture(scope="session")
def toy_case(tmp_path_factory: pytest.TempPathFactory) -> Iterator[cases.Case]:
    """Yield the toy `llama` as a case, with the baseline's graph, in a temporary folder."""
    from ancestral.export.bundle import export_bundle
    from benchmarks.plain_graph import export_plain

    model = make("llama")
    data = model.data
    case = cases.Case(
        "toy",
        "a toy",
        {},
        event_shape=data.event_shape,
        levels=data.levels,
        prefix=2,
        batches=(1, 3),
        plain=True,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cases, "BUNDLES", tmp_path_factory.mktemp("cases"))
        patch.setitem(cases.CASES, case.name, case)
        # The folder in which a run looks for the exported bundle.
        folder = cases.bundle_folder(case)
        graphs = [name for name in case.graphs if name != "step_filtered"]
        export_bundle(model, folder / "bundle", graphs=graphs)
        export_plain(model, folder / "plain" / "model.onnx")
        yield case
