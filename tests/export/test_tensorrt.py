"""Every graph in its tensorrt form builds; what TensorRT would drop does not."""

import importlib.util
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest

from ancestral.bundle import Bundle
from ancestral.errors import BackendUnavailable, ExportError
from ancestral.export.tensorrt import MODULES, build, installed
from tests.latent_toys import LATENT_TOYS
from tests.tamper import edited
from tests.toys import GRAPHS, make

needs_tensorrt = pytest.mark.skipif(
    not any(importlib.util.find_spec(module) for module in MODULES),
    reason="neither tensorrt nor tensorrt_rtx is installed",
)


def sizes(toy: str, file: Path) -> dict[str, tuple[int, int, int]]:
    """A range for each named axis of the graph."""
    length = 1 if toy in LATENT_TOYS else make(toy).data.length
    known = {"b": (1, 2, 8), "k": (1, 4, 64), "s": (1, 1, length), "t": (1, length, length)}
    graph = onnx.load(file, load_external_data=False).graph
    axes = {dim.dim_param for value in graph.input for dim in value.type.tensor_type.shape.dim}
    return {axis: known[axis] for axis in axes if axis}


@needs_tensorrt
@pytest.mark.tensorrt
@pytest.mark.parametrize(
    ("toy", "graph"), [(toy, graph) for toy in GRAPHS for graph in GRAPHS[toy]]
)
def test_builds(bundles: Callable[[str], Path], toy: str, graph: str) -> None:
    file = Bundle.open(bundles(toy)).graph_file(graph, "tensorrt")
    assert len(build(file, sizes(toy, file))) > 1000


@needs_tensorrt
@pytest.mark.tensorrt
@pytest.mark.parametrize("toy", LATENT_TOYS)
def test_latent_builds(bundles: Callable[[str], Path], toy: str) -> None:
    """Every graph of a latent variable model, and of its prior."""
    opened = Bundle.open(bundles(toy))
    assert len(opened.manifest.graphs) >= 4
    for graph in opened.manifest.graphs:
        file = opened.graph_file(graph, "tensorrt")
        assert len(build(file, sizes(toy, file))) > 1000, graph
    for graph in opened.prior().manifest.graphs if toy == "codes" else ():
        file = opened.prior().graph_file(graph, "tensorrt")
        assert len(build(file, sizes("tiny", file))) > 1000, graph


@needs_tensorrt
@pytest.mark.tensorrt
def test_dropped_input(tiny_bundle: Path, tmp_path: Path) -> None:
    """Planted: an input that nothing reads, which the parser drops without an error."""

    def unread(graph: onnx.GraphProto) -> None:
        graph.input.append(
            onnx.helper.make_tensor_value_info("unread", onnx.TensorProto.FLOAT, ["b"])
        )

    file = edited(tiny_bundle, tmp_path, unread, "log_prob.tensorrt") / "graphs"
    with pytest.raises(ExportError, match="unread"):
        build(file / "log_prob.tensorrt.onnx", sizes("tiny", file / "log_prob.tensorrt.onnx"))


@needs_tensorrt
@pytest.mark.tensorrt
def test_refused(tiny_bundle: Path) -> None:
    """The portable form lacks the mark that fp32 attention needs there."""
    file = tiny_bundle / "graphs" / "step.onnx"
    with pytest.raises(ExportError, match="built no plan"):
        build(file, sizes("tiny", file) | {"s": (1, 2, 9)})


def test_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BackendUnavailable, match="compiling needs TensorRT: pip install"):
        installed()
