"""The TensorRT backend with the real library: plans compiled and run on this machine's GPU."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ancestral.bundles.bundle import Bundle
from ancestral.engine import AutoregressiveEngine
from ancestral.engine.backends.cuda_graphs import STEPS
from ancestral.engine.backends.tensorrt import TensorRtBackend, gpu_of
from ancestral.engine.backends.tensorrt_library import preferred
from ancestral.errors import BackendUnavailable
from ancestral.export.tensorrt.compile import Compiler, Options
from ancestral.plans.store import PlanStore
from tests.engine.long_run import long_run

pytestmark = [pytest.mark.gpu, pytest.mark.tensorrt]
Compiled = Callable[[str], AutoregressiveEngine]


@pytest.fixture(scope="module")
def compiled(bundles: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    """Return a function that compiles a toy for this GPU and loads it."""
    try:
        target = gpu_of("cuda").target
        library = preferred(target, ())
    except BackendUnavailable as error:
        pytest.skip(str(error))
    store = PlanStore(tmp_path_factory.mktemp("store") / "plans")
    compiler = Compiler.open(Options(library.name, (target,), batch=(1, 4, 32)), store)

    def engine(toy: str) -> AutoregressiveEngine:
        bundle = Bundle.open(bundles(toy))
        for graph in bundle.manifest.graphs:
            compiler.compile(bundle, graph)
        return AutoregressiveEngine(
            bundle, TensorRtBackend.open(bundle, device="cuda", store=store)
        )

    return engine


@pytest.mark.parametrize("toy", ["tiny", "startless", "gru", "wavenet"])
def test_verify(compiled: Compiled, toy: str) -> None:
    report = compiled(toy).verify()
    assert report.passed, report.failures
    assert report.unexplained == 0


@pytest.mark.parametrize("toy", ["tiny", "gru"])
def test_samples_are_those_of_torch(
    compiled: Compiled, bundles: Callable[..., Path], toy: str
) -> None:
    """Samples in three batches, the last one smaller, are those of torch."""
    engine = compiled(toy)
    reference = AutoregressiveEngine.load(bundles(toy), "torch")
    labels = None if engine.data.num_classes is None else np.arange(70) % 2
    got, expected = (each.sample(70, labels, seed=3).x for each in (engine, reference))
    assert np.array_equal(got, expected)


@pytest.mark.parametrize("toy", ["tiny", "gru"])
def test_graphs_of_many_steps(compiled: Compiled, toy: str) -> None:
    """Captured steps give the bits of steps that are launched singly."""
    engine = compiled(toy)
    ones = long_run(engine, [1] * 40)
    for counts in ([STEPS], [40], [3, 37], [1, 16, 23], [STEPS, 1, STEPS + 7]):
        got = long_run(engine, counts)
        assert all(np.array_equal(*pair) for pair in zip(got, ones, strict=True)), counts
    assert engine.backend.memory.weights > 0
