"""Bundles with plans of the simulated TensorRT, and the backend that runs them."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx

from ancestral.bundles.bundle import Bundle
from ancestral.engine import AutoregressiveEngine, Engine, LatentEngine
from ancestral.engine.backends.tensorrt import TensorRtBackend
from ancestral.engine.backends.tensorrt_library import Library
from ancestral.export.tensorrt.profiles import profiles
from ancestral.plans.key import FORM, PlanKey, Range
from ancestral.plans.modules import Module
from ancestral.plans.record import LOG, PLAN, PlanRecord
from ancestral.plans.store import PlanStore
from ancestral.signature import GraphSignature
from tests.engine.simulated_lane import SimulatedLane
from tests.engine.simulated_tensorrt import SIMULATED, TensorRt

USUAL: Range = (1, 16, 64)
TARGETS: dict[Module, str] = {"tensorrt": "Some GPU sm_90 driver 1.2", "tensorrt_rtx": "sm_89"}


def appended(file: Path, signature: GraphSignature) -> tuple[str, ...]:
    """Return the carried inputs that the library appends to in place, with TensorScatter."""
    nodes = onnx.load(file, load_external_data=False).graph.node
    made = {node.output[0] for node in nodes if node.op_type == "TensorScatter"}
    return tuple(pair.input for pair in signature.carried if pair.output in made)


def simulated_plan(
    onnx: Path, signature: GraphSignature, profiles: Any, in_place: Sequence[str]
) -> bytes:
    """Return a plan of the simulated library."""
    values = {
        "onnx": str(onnx),
        "signature": signature.model_dump(mode="json"),
        "profiles": profiles,
        "in_place": list(in_place),
    }
    return json.dumps(values).encode()


def compiled(
    bundle: Bundle,
    store: PlanStore,
    batch: Range = USUAL,
    latents: Range = USUAL,
    graphs: Sequence[str] = (),
    module: Module = "tensorrt_rtx",
    **changed: Any,
) -> list[PlanRecord]:
    """Store plans of a bundle's graphs as `ancestral compile` does; return their records."""
    manifest, made = bundle.manifest, []
    for name in graphs or manifest.graphs:
        entry = manifest.graphs[name]
        sizes = profiles(entry.signature, manifest.data.length, batch, latents)
        file = bundle.path / entry.files["portable"]
        in_place = appended(file, entry.signature)
        values = {
            "graph": name,
            "form": "portable",
            "graph_sha256": manifest.files[bundle.graph_name(name, FORM)].sha256,
            "weights_sha256": manifest.files[manifest.weights].sha256,
            "module": module,
            "version": TensorRt.__version__,
            "targets": (TARGETS[module],),
            "profiles": sizes,
        }
        plan = simulated_plan(file, entry.signature, sizes, in_place)

        def make(
            folder: Path, plan: bytes = plan, in_place: tuple[str, ...] = in_place
        ) -> tuple[str, ...]:
            (folder / PLAN).write_bytes(plan)
            (folder / LOG).touch()
            return in_place

        made.append(store.build(PlanKey(**(values | changed)), make)[0])
    return made


def backend(bundle: Bundle, store: PlanStore, module: Module = "tensorrt_rtx") -> TensorRtBackend:
    """Return the backend on host memory."""
    lane = SimulatedLane()
    library = Library(module, SIMULATED[module](lane.stream))
    return TensorRtBackend(bundle, library, TARGETS[module], lane, store)


def engine(
    path: Path,
    folder: Path,
    module: Module = "tensorrt_rtx",
    batch: Range = USUAL,
    latents: Range = USUAL,
) -> Engine:
    """Compile a bundle and its prior, and load its engine."""
    bundle, store = Bundle.open(path), PlanStore(folder / "plans")
    compiled(bundle, store, batch, latents, module=module)
    latent = bundle.manifest.latent
    if latent is None:
        return AutoregressiveEngine(bundle, backend(bundle, store, module))
    if latent.prior == "autoregressive":
        compiled(bundle.prior(), store, module=module)
    return LatentEngine(bundle, backend(bundle, store, module))
