"""The TensorRT backend's messages about unusable plans and libraries."""

import sys
import types
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import pytest
import torch

from ancestral.bundles.bundle import Bundle
from ancestral.engine.backends.tensorrt import TensorRtBackend, gpu_of
from ancestral.engine.backends.tensorrt_library import opened, preferred
from ancestral.errors import BackendUnavailable, PlanError
from ancestral.plans.modules import MODULES, installed_modules
from ancestral.plans.record import PLAN
from ancestral.plans.store import PlanStore
from tests.engine import simulated_plans
from tests.engine.simulated_lane import SimulatedLane
from tests.engine.simulated_plans import backend, compiled, simulated_plan
from tests.engine.simulated_tensorrt import COMMON, TensorRt


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"version": "0.0.0.1"}, "release of the library: 0.0.0.0 needed, the plan has 0.0.0.1"),
        ({"targets": ("sm_120",)}, "GPUs: sm_89 needed, the plan has sm_120"),
        ({"weights_sha256": "0" * 64}, "the weights: changed"),
        ({"graph_sha256": "0" * 64}, r"the graph \(its ONNX file\): changed"),
    ],
    ids=lambda value: str(value)[:12],
)
def test_unusable_plan(
    tiny_bundle: Path, tmp_path: Path, changed: dict[str, Any], message: str
) -> None:
    bundle, store = Bundle.open(tiny_bundle), PlanStore(tmp_path / "plans")
    compiled(bundle, store, graphs=["step"], **changed)
    with pytest.raises(PlanError, match=f"no plan for graph 'step'.*{message}.*ancestral compile"):
        backend(bundle, store).session("step")


def test_no_plan(tiny_bundle: Path, tmp_path: Path) -> None:
    bundle, store = Bundle.open(tiny_bundle), PlanStore(tmp_path / "plans")
    message = "the graph has no plans.; compile one: `ancestral compile .* --graph step"
    with pytest.raises(PlanError, match=message):
        backend(bundle, store).session("step")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda plan: plan[:-1], "truncated"),
        (lambda plan: plan.replace(b"onnx", b"0nnx"), "altered"),
    ],
    ids=["truncated", "altered"],
)
def test_damaged_plan(tiny_bundle: Path, tmp_path: Path, damage: Any, message: str) -> None:
    bundle, store = Bundle.open(tiny_bundle), PlanStore(tmp_path / "plans")
    (record,) = compiled(bundle, store, graphs=["step"])
    file = store.folder / record.key.digest / PLAN
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(PlanError, match=message):
        backend(bundle, store).session("step")


@pytest.mark.tensorrt
def test_message_of_the_real_library(
    tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The real runtime refuses a file that is not a plan, with the reason from its logger."""
    if "tensorrt_rtx" not in installed_modules():
        pytest.skip("tensorrt_rtx is not installed")
    bundle, store = Bundle.open(tiny_bundle), PlanStore(tmp_path / "plans")
    library = opened("tensorrt_rtx")
    assert "sm_89" in library.targets
    monkeypatch.setattr(simulated_plans, "simulated_plan", lambda *_: b"vtrt" + bytes(200))
    compiled(bundle, store, graphs=["step"], version=library.version)
    made = TensorRtBackend(bundle, library, "sm_89", SimulatedLane(), store)
    message = r"plan \w+ of graph 'step': tensorrt_rtx [\d.]+ cannot use it on this GPU, .*\(\w+"
    with pytest.raises(PlanError, match=message) as error:
        made.session("step")
    assert torch.cuda.is_available() or "CUDA driver" in str(error.value)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda s: s["inputs"][1].update(dtype="float16"), "u: expected float32, got float16"),
        (lambda s: s["inputs"][1].update(axes=["b", 10]), r"u: expected axes .*, got \(-1, 10\)"),
        (lambda s: s["inputs"][1].update(name="w"), "u: missing.*w: not in the signature"),
        (
            lambda s: (s["outputs"][0].update(name="end"), s["carried"][0].update(output="end")),
            "end: not in the signature",
        ),
    ],
    ids=["dtype", "axes", "input", "output"],
)
def test_plan_with_other_tensors(
    tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, edit: Any, message: str
) -> None:
    def other(onnx: Path, signature: Any, *rest: Any) -> bytes:
        values = signature.model_dump(mode="json")
        edit(values)
        return right(onnx, type(signature).model_validate(values), *rest)

    right = simulated_plan
    bundle, store = Bundle.open(tiny_bundle), PlanStore(tmp_path / "plans")
    monkeypatch.setattr(simulated_plans, "simulated_plan", other)
    compiled(bundle, store, graphs=["step"])
    with pytest.raises(PlanError, match=rf"does not match its graph \(.*{message}"):
        backend(bundle, store).session("step")


def fake_tensorrt(monkeypatch: pytest.MonkeyPatch, origin: str | None) -> None:
    """Install a fake module `tensorrt`; without an origin it is a folder of only type stubs."""
    module = types.ModuleType("tensorrt")
    module.__spec__ = ModuleSpec("tensorrt", None, origin=origin)
    vars(module).update(vars(TensorRt) | {"Runtime": COMMON["Runtime"]})
    monkeypatch.setitem(sys.modules, "tensorrt", module)


def test_preferred_module(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tensorrt_rtx")
    fake_tensorrt(monkeypatch, None)
    assert installed_modules() == ("tensorrt_rtx",)
    assert preferred("sm_89", ()).name == "tensorrt_rtx"
    message = r"needs the tensorrt package for a GPU sm_90 \(.* serves sm_75, .*\): pip install"
    with pytest.raises(BackendUnavailable, match=message):
        preferred("sm_90", ())
    fake_tensorrt(monkeypatch, "tensorrt/__init__.py")
    assert installed_modules() == MODULES
    for target, compiled_by, expected in (
        ("sm_89", set(), "tensorrt_rtx"),
        ("sm_89", {"tensorrt"}, "tensorrt"),
        ("sm_80", set(), "tensorrt"),
        ("sm_80", {"tensorrt_rtx"}, "tensorrt_rtx"),
        ("sm_90", {"tensorrt_rtx"}, "tensorrt"),
    ):
        assert preferred(target, compiled_by).name == expected, (target, compiled_by)


def test_module_that_does_not_load(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(BackendUnavailable, match="tensorrt is installed but does not load"):
        opened("tensorrt")


def test_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BackendUnavailable, match="runs on a CUDA GPU; pass device 'cuda'"):
        gpu_of("cpu")
    if installed_modules() and not torch.cuda.is_available():
        with pytest.raises(BackendUnavailable, match="device 'cuda:1': PyTorch finds no CUDA GPU"):
            gpu_of("cuda:1")
    for name in MODULES:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(BackendUnavailable, match=r"ancestral\[tensorrt\].*ancestral\[tensorrt-rtx"):
        gpu_of("cuda")
