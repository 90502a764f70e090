"""Graphs of all toys become plans; a build fails if TensorRT drops, changes or copies a tensor."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import onnx
import pytest

from ancestral.bundles.bundle import Bundle
from ancestral.errors import BackendUnavailable, ExportError, InvalidInput
from ancestral.export.tensorrt.build_process import run
from ancestral.export.tensorrt.builder import Request
from ancestral.export.tensorrt.compile import Compiler, Options, installed
from ancestral.export.tensorrt.profiles import profiles
from ancestral.plans.record import LOG, PLAN
from ancestral.plans.store import PlanStore
from ancestral.signature import FloatDtype, GraphSignature
from tests.export.plan_table import ALL, BUILT, DTYPES, SMALL, built, documented, parts
from tests.tamper import Edit, edited

pytestmark = [
    pytest.mark.tensorrt,
    pytest.mark.skipif(not BUILT, reason="tensorrt_rtx is not installed"),
]
FAST = {("llama", "float32"), ("gru", "float32"), ("codes", "float32")}
"""Toys and types that every run of the tests compiles."""
PRODUCT = [
    pytest.param(toy, dtype, marks=[] if (toy, dtype) in FAST else [pytest.mark.slow])
    for toy in ALL
    for dtype in DTYPES
]


@pytest.fixture
def compiler(tmp_path: Path) -> Compiler:
    return Compiler.open(SMALL, PlanStore(tmp_path / "plans"))


@pytest.mark.parametrize(("toy", "dtype"), PRODUCT)
def test_builds(
    bundles: Callable[..., Path], compiler: Compiler, toy: str, dtype: FloatDtype
) -> None:
    """The plans, and the caches that are appended in place, are those in the document."""
    bundle = Bundle.open(bundles(toy, dtype))
    for graph in bundle.manifest.graphs:
        assert built(compiler, bundle, graph) == documented(toy, graph, dtype)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", DTYPES)
def test_builds_prior(bundles: Callable[..., Path], compiler: Compiler, dtype: FloatDtype) -> None:
    """The graphs of a prior become plans too; this one is a Transformer."""
    *_, (name, bundle) = parts(Bundle.open(bundles("codes", dtype)), "codes")
    for graph in bundle.manifest.graphs:
        assert built(compiler, bundle, graph) == documented(name, graph, dtype)


def test_kept(tiny_bundle: Path, compiler: Compiler) -> None:
    """A plan is compiled in a process of its own, and then found in the store."""
    record, new = compiler.compile(Bundle.open(tiny_bundle), "log_prob")
    assert new
    assert compiler.store.read(record)[:4] == b"vtrt"
    assert (compiler.store.folder / record.key.digest / LOG).read_text()
    assert compiler.compile(Bundle.open(tiny_bundle), "log_prob") == (record, False)


def with_graphs_of(request: Request, bundle: Path) -> Request:
    """Return the request with a graph from a bundle that does not open, since it was edited."""
    return request.model_copy(update={"file": bundle / "graphs" / request.file.name})


def request(bundle: Path, graph: str, **changes: object) -> Request:
    opened = Bundle.open(bundle)
    signature = opened.manifest.graphs[graph].signature
    made = Request(
        module="tensorrt_rtx",
        file=opened.graph_file(graph, "tensorrt").resolve(),
        signature=signature,
        profiles=profiles(signature, opened.manifest.data.length, batch=(1, 2, 8)),
        targets=("sm_80",),
    )
    return made.model_copy(update=changes)


@pytest.mark.slow
def test_same_bytes(tiny_bundle: Path, tmp_path: Path) -> None:
    """Two builds with one key give the same bytes; otherwise a key would not identify a plan."""
    plans = []
    # The first build of a fresh installation also compiles Python's modules: it is not compared.
    for name in ("first", "second", "the third"):
        (tmp_path / name).mkdir()
        run(request(tiny_bundle, "step"), tmp_path / name)
        plans.append((tmp_path / name / PLAN).read_bytes())
    assert plans[1] == plans[2]
    assert "WARNING" in (tmp_path / name / LOG).read_text()


def add_unread(graph: onnx.GraphProto) -> None:
    graph.input.append(onnx.helper.make_tensor_value_info("unread", onnx.TensorProto.FLOAT, ["b"]))


def through_half(graph: onnx.GraphProto) -> None:
    """Cast the output to another type."""
    output = graph.output[0]
    for node in graph.node:
        node.output[:] = ["before" if name == output.name else name for name in node.output]
    graph.node.append(
        onnx.helper.make_node("Cast", ["before"], [output.name], to=onnx.TensorProto.FLOAT16)
    )
    output.type.tensor_type.elem_type = onnx.TensorProto.FLOAT16


def squeezed(graph: onnx.GraphProto) -> None:
    """Sum over the output's last axis."""
    output = graph.output[0]
    for node in graph.node:
        node.output[:] = ["before" if name == output.name else name for name in node.output]
    graph.node.append(
        onnx.helper.make_node("ReduceSum", ["before", "last"], [output.name], keepdims=0)
    )
    graph.initializer.append(onnx.helper.make_tensor("last", onnx.TensorProto.INT64, [1], [-1]))
    del output.type.tensor_type.shape.dim[-1]


FAULTS: dict[str, tuple[Edit, str]] = {
    "an input that nothing reads": (add_unread, "unread"),
    "another dtype": (through_half, "expected float32, got float16"),
    "another shape": (squeezed, r"output log_prob: expected axes \('b', 't'\), got"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_changed_network(tiny_bundle: Path, tmp_path: Path, fault: str) -> None:
    """Planted fault: a graph that differs from its signature fails the build."""
    edit, message = FAULTS[fault]
    bundle = edited(tiny_bundle, tmp_path, edit, "log_prob.tensorrt")
    with pytest.raises(ExportError, match=message):
        run(with_graphs_of(request(tiny_bundle, "log_prob"), bundle), tmp_path)
    assert not (tmp_path / PLAN).exists()


def test_dropped_input(tiny_bundle: Path, tmp_path: Path) -> None:
    """Planted fault: the parser drops an input that nothing reads, with only a note in its log."""
    bundle = edited(tiny_bundle, tmp_path, add_unread, "log_prob.tensorrt")
    whole = with_graphs_of(request(tiny_bundle, "log_prob"), bundle)
    unread = whole.signature.inputs[0].model_copy(
        update={"name": "unread", "dtype": "float32", "axes": ("b",)}
    )
    signature = GraphSignature(
        inputs=(*whole.signature.inputs, unread), outputs=whole.signature.outputs
    )
    with pytest.raises(ExportError, match="unread"):
        run(whole.model_copy(update={"signature": signature}), tmp_path)


def test_copied_cache(tiny_bundle: Path, tmp_path: Path) -> None:
    """Planted fault: a node between the append and the output makes TensorRT copy the cache."""

    def between(graph: onnx.GraphProto) -> None:
        node = next(each for each in graph.node if each.op_type == "TensorScatter")
        output = node.output[0]
        for each in graph.node:
            each.input[:] = ["scattered" if name == output else name for name in each.input]
        node.output[0] = "scattered"
        graph.initializer.append(onnx.helper.make_tensor("0", onnx.TensorProto.FLOAT, [], [0.0]))
        graph.node.append(onnx.helper.make_node("Add", ["scattered", "0"], [output]))

    bundle = edited(tiny_bundle, tmp_path, between, "step.tensorrt")
    with pytest.raises(ExportError, match=r"copies the caches \['k_0'\]"):
        run(request(bundle, "step"), tmp_path)


def test_refused_graph(tiny_bundle: Path, tmp_path: Path) -> None:
    """The portable form is refused: it lacks the mark that float32 attention needs."""
    file = Bundle.open(tiny_bundle).graph_file("step", "portable").resolve()
    with pytest.raises(ExportError, match="built no plan"):
        run(request(tiny_bundle, "step", file=file), tmp_path)


def test_given_up(tiny_bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"stopped after 0.05 s, the time limit"):
        run(request(tiny_bundle, "step"), tmp_path, seconds=0.05)


@pytest.mark.slow
def test_progress_and_targets(tiny_bundle: Path, tmp_path: Path) -> None:
    """The builder reports its steps, and a plan's header has a bit for each target."""
    steps: list[dict[str, object]] = []
    run(request(tiny_bundle, "log_prob"), tmp_path, lambda step: steps.append(dict(step)))
    assert any(step["of"] == step["step"] != 0 for step in steps)
    one = (tmp_path / PLAN).read_bytes()
    run(request(tiny_bundle, "log_prob", targets=("sm_80", "sm_120")), tmp_path)
    two = (tmp_path / PLAN).read_bytes()
    masks = [int.from_bytes(plan[32:36], "little") for plan in (one, two)]
    assert masks[0].bit_count() == 1
    assert masks[1].bit_count() == 2


COMPILE = """
import sys
from pathlib import Path
from ancestral.bundles.bundle import Bundle
from ancestral.export.tensorrt.compile import Compiler, Options
from ancestral.plans.store import PlanStore

options = Options(module="tensorrt_rtx", targets=("sm_80",))
compiler = Compiler.open(options, PlanStore(Path(sys.argv[2])))
compiler.compile(Bundle.open(sys.argv[1]), "step", lambda step: print("building", flush=True))
"""


@pytest.mark.slow
def test_killed_in_the_middle(compiler: Compiler, tiny_bundle: Path) -> None:
    """After kill -9 during a build there is no plan and no builder, and the next build succeeds."""
    process = subprocess.Popen(
        [sys.executable, "-c", COMPILE, tiny_bundle, compiler.store.folder],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "building\n"
    builders = children(process.pid)
    assert builders
    process.kill()
    process.wait(60)
    process.stdout.close()
    for _ in range(1000):
        if not any(Path(f"/proc/{pid}").exists() for pid in builders):
            break
        time.sleep(0.01)
    else:
        for pid in builders:
            os.kill(pid, signal.SIGKILL)
        pytest.fail("the builder is still running")
    assert compiler.store.records() == ([], [])
    assert compiler.compile(Bundle.open(tiny_bundle), "prefill")[1]


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["-c", "-m"], ids=["started", "importing"])
def test_killed_before_the_build_starts(compiler: Compiler, tiny_bundle: Path, moment: str) -> None:
    """After kill -9 while the builder starts or imports, it ends and builds no plan."""
    process = subprocess.Popen([sys.executable, "-c", COMPILE, tiny_bundle, compiler.store.folder])
    builder = 0
    while not builder:
        assert process.poll() is None
        builder = next((pid for pid in children(process.pid) if moment in arguments(pid)), 0)
    # The builder is stopped, so that the order is the same on a busy machine.
    os.kill(builder, signal.SIGSTOP)
    begun = list(compiler.store.folder.glob(f".*/{LOG}"))
    process.kill()
    process.wait(60)
    with contextlib.suppress(ProcessLookupError):
        os.kill(builder, signal.SIGCONT)
    for _ in range(6000):
        if not arguments(builder):
            break
        time.sleep(0.01)
    else:
        os.kill(builder, signal.SIGKILL)
        pytest.fail("the builder is still running")
    assert list(compiler.store.folder.glob(f".*/{LOG}")) == begun


def arguments(pid: int) -> list[str]:
    """Return the command line of a process, empty if it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    except (FileNotFoundError, ProcessLookupError):
        return []


def children(pid: int) -> list[int]:
    """Return the processes that a process has started."""
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_targets() -> None:
    assert "sm_75" not in Compiler.open(Options(module="tensorrt_rtx")).targets
    with pytest.raises(BackendUnavailable, match=r"compiles for sm_75, sm_80.*got sm_90"):
        Compiler.open(Options(module="tensorrt_rtx", targets=("sm_90",)))
    with pytest.raises(InvalidInput, match="expected a compute capability"):
        Compiler.open(Options(module="tensorrt_rtx", targets=("ada",)))


def test_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert installed("tensorrt_rtx") == "tensorrt_rtx"
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(
        BackendUnavailable, match="compiling needs the tensorrt or tensorrt_rtx package: pip"
    ):
        installed()


def test_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a GPU, `tensorrt` cannot compile: it needs the GPU that a plan is for."""
    monkeypatch.setattr("ancestral.export.tensorrt.compile.installed", lambda module: "tensorrt")
    release = SimpleNamespace(__version__="11.4.0")
    monkeypatch.setattr("ancestral.plans.modules.imported", lambda module: release)
    monkeypatch.setattr("ancestral.export.tensorrt.compile.gpus", lambda: ())
    with pytest.raises(BackendUnavailable, match="nvidia-smi finds no GPU here"):
        Compiler.open(Options())
