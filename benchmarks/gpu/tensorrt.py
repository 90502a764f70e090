"""Whole sampling steps with TensorRT, compared with the other backends on the same bundle.

The bundle is compiled here, for this GPU. Each backend has its own stream, so the host's clock
times them over many steps, until the GPU is done.
"""

from collections.abc import Iterator, Mapping
from functools import partial
from itertools import pairwise

import numpy as np
import torch

from ancestral.bundles.bundle import Bundle
from ancestral.bundles.manifest import MANIFEST
from ancestral.engine import AutoregressiveEngine
from ancestral.engine.backends.tensorrt import TensorRtBackend, gpu_of
from ancestral.engine.backends.tensorrt_library import preferred
from ancestral.engine.step_graph import settings
from ancestral.engine.step_loop import STEPS_PER_LAUNCH
from ancestral.errors import AncestralError, BackendUnavailable
from ancestral.plans.store import PlanStore
from ancestral.sampling import UNFILTERED
from ancestral.step_tensors import OBSERVED
from benchmarks.gpu.clock import Side, on_host
from benchmarks.gpu.loops import stretch
from benchmarks.gpu.models import IMAGE, TINY, Stepped
from benchmarks.gpu.part import OURS, Bench, Cell, sentence
from benchmarks.gpu.rows import GpuRow, Skipped
from benchmarks.parity import Parity

OTHERS = ("triton", "torch", "onnxruntime")
ROUNDS = 10
_COMPARED = 64
"""Largest number of rows that PyTorch draws too."""
_BATCH = (1, 64, 1024)


def cells(bench: Bench) -> list[Cell]:
    """Return a cell per batch size of the image model, or one that reports why it is skipped."""
    stepped = TINY if bench.rehearsal else IMAGE
    why = unable(stepped, bench)
    if why is not None:
        return [Cell(stepped.name, lambda _: [Skipped(bench.part, why)])]
    return [
        Cell(f"{stepped.name}, {rows:,} rows", partial(_measured, stepped, rows))
        for rows in (64, 1, 1024)
    ]


def unable(stepped: Stepped, bench: Bench) -> str | None:
    """Return why a plan of a model's bundle cannot be made and run here; None if it can."""
    if bench.rehearsal:
        return "a plan runs only on a GPU"
    try:
        preferred(gpu_of(str(bench.device)).target, ())
    except BackendUnavailable as error:
        return str(error)
    if not (bench.bundles / stepped.name / MANIFEST).is_file():
        return f"the bundle of {stepped.name} is missing"
    return None


def _measured(stepped: Stepped, rows: int, bench: Bench) -> Iterator[GpuRow | Skipped]:
    from ancestral.export.tensorrt.compile import Compiler, Options

    path, device = bench.bundles / stepped.name, str(bench.device)
    bundle, store = Bundle.open(path), PlanStore(bench.bundles / "plans")
    target = gpu_of(device).target
    module = preferred(target, ()).name
    options = Options(module, (target,), batch=_BATCH, seconds=max(bench.left, 1.0))
    compiler = Compiler.open(options, store)
    made = [compiler.compile(bundle, graph)[0] for graph in bundle.manifest.graphs]
    backend = TensorRtBackend.open(bundle, device=device, store=store)
    engine = AutoregressiveEngine(bundle, backend)
    others: dict[str, AutoregressiveEngine] = {}
    for name in OTHERS:
        try:
            others[name] = AutoregressiveEngine.load(path, backend=name, device=device)
        except AncestralError as error:
            yield Skipped(f"{bench.part}, {rows:,} rows, backend {name}", sentence(error))
    details = {"build_s": sum(record.seconds for record in made)}
    yield from compared(engine, others, rows, bench, details)


def compared(
    engine: AutoregressiveEngine,
    others: Mapping[str, AutoregressiveEngine],
    rows: int,
    bench: Bench,
    details: Mapping[str, float],
) -> Iterator[GpuRow]:
    """Yield a row for each other backend, with steps of one batch size in alternation.

    Args:
        engine: engine that runs plans.
        others: engines of the same bundle on other backends, by backend name.
        rows: batch size.
        bench: settings of the part.
        details: further numbers for the rows.
    """
    parity = Parity.of(engine.verify())
    found = dict(details)
    if "torch" in others:
        found["samples_unlike_torch"] = _unlike(engine, others["torch"], min(rows, _COMPARED))
    length = engine.data.length
    steps = min(STEPS_PER_LAUNCH, length // 2)
    sides = [_side(name, each, rows, steps) for name, each in ({OURS: engine} | others).items()]
    assert isinstance(engine.backend, TensorRtBackend)
    memory = engine.backend.memory
    found |= {"weights_mb": memory.weights / 1e6, "scratch_mb": memory.scratch / 1e6}
    found["tensors_mb"] = memory.tensors / 1e6
    on_host(sides, rounds=1)
    taken = on_host(sides, ROUNDS)
    found["samples_per_s"] = rows / (float(np.median(taken[OURS])) * 1e-3 * length)
    yield from bench.rows(
        f"{engine.data.name}, {rows:,} rows",
        torch.float32,
        taken,
        parity,
        unit="ms/step",
        details={OURS: found},
    )


def _unlike(engine: AutoregressiveEngine, other: AutoregressiveEngine, rows: int) -> float:
    """Return how many samples of a seed differ, by near ties: `verify` explains each difference."""
    drawn = (one.sample(rows, seed=0).x.reshape(rows, -1) for one in (engine, other))
    return float(sum((a != b).any(axis=1).sum() for a, b in pairwise(drawn)))


def _side(name: str, engine: AutoregressiveEngine, rows: int, steps: int) -> Side:
    """Return a side: steps in the middle of an event, with nothing observed."""
    binding, length = engine.session("step").bind({"b": rows, "s": 1}), engine.data.length
    binding.write(OBSERVED, np.full((rows, length), -1, np.int64))
    signature = engine.session("step").signature
    for setting, array in settings(signature, UNFILTERED, rows, engine.data.levels).items():
        binding.write(setting, array)
    return stretch(name, binding, rows, (length - steps) // 2, steps)
