"""Fixtures for all tests: bundles of the toys, exported once; and a summary of time per file."""

import fcntl
import functools
import os
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from jaxtyping import config as jaxtyping_config

from ancestral.engine import AutoregressiveEngine, Engine, LatentEngine
from tests.interpreter import quick_interpreter
from tests.latent_toys import LATENT_TOYS
from tests.quantised_toys import WAYS, any_size, quantise_toy
from tests.toys import BACKENDS, SECOND, TOYS

Load = Callable[..., Engine]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the seconds that each test file took, fixtures included, the slowest first."""
    seconds: dict[str, float] = defaultdict(float)
    for reports in terminalreporter.stats.values():
        for report in reports:
            if isinstance(report, pytest.TestReport):
                seconds[report.nodeid.split("::")[0]] += report.duration
    if not seconds:
        return
    terminalreporter.write_sep("=", f"time per test file, {sum(seconds.values()):.1f} s in all")
    for file, duration in sorted(seconds.items(), key=lambda item: -item[1]):
        terminalreporter.write_line(f"{duration:8.2f} s  {file}")


INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"


DEAREST = (
    "engine/test_triton.py",
    "bulk/test_workers.py",
    "bulk/test_kills.py",
    "triton_kernels/kernels/test_cached_attention.py",
    "export/test_tensorrt.py",
    "triton_kernels/test_compiled.py",
    "engine/test_particles.py",
    "cli/test_text.py",
    "export/test_memory.py",
    "test_own_model.py",
    "train/test_causality.py",
)
"""The slowest files, which run first: one that ran last would leave a process without work."""


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> Iterator[None]:
    """Mark tests that run a toy of `SECOND` as slow, and put the files of `DEAREST` first.

    If kernels are interpreted, tests marked `many` are left out.
    """
    if INTERPRETED:
        many = [item for item in items if item.get_closest_marker("many")]
        config.hook.pytest_deselected(items=many)
        items[:] = [item for item in items if item not in many]
    for item in items:
        parameters = getattr(getattr(item, "callspec", None), "params", {})
        if any(isinstance(value, str) and value in SECOND for value in parameters.values()):
            item.add_marker(pytest.mark.slow)
    yield
    order = {file: place for place, file in enumerate(DEAREST)}
    root = Path(__file__).parent
    items.sort(key=lambda item: order.get(item.path.relative_to(root).as_posix(), len(order)))


def device_of(backend: str) -> str:
    """Return a backend's device in tests: a GPU for Triton unless interpreted, else the CPU."""
    return "cuda" if backend == "triton" and not INTERPRETED else "cpu"


@pytest.fixture(autouse=True, scope="session")
def interpreted() -> Iterator[None]:
    """If kernels are interpreted, speed them up, and store few known answers in bundles."""
    if not INTERPRETED:
        yield
        return
    from ancestral.export import known_answers

    with quick_interpreter(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(known_answers, "_WORK", 1.0)
        yield


@pytest.fixture(autouse=True, scope="session")
def private_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the remembered hashes of tests out of the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def called_by_users() -> Iterator[None]:
    """Disable the checks of annotations, which only tests have."""
    before = jaxtyping_config.jaxtyping_disable
    jaxtyping_config.update("jaxtyping_disable", True)
    yield
    jaxtyping_config.update("jaxtyping_disable", before)


@pytest.fixture(scope="session")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Return a function that exports a toy on first use. Tests must not change the bundle.

    A bundle with a 16-bit type is recast from float32, and one of a way in `WAYS` is quantised from
    it. Processes that share the tests also share
    the bundles: the first one exports.
    """
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    folder = folder / "bundles"
    folder.mkdir(exist_ok=True)

    def bundle(toy: str, dtype: str = "float32", *, wait: bool = True) -> Path:
        name = toy if dtype == "float32" else f"{toy}.{dtype}"
        with (folder / f"{name}.lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return folder / name
            if not (folder / name).exists():
                from ancestral.export.recast import recast
                from tests.export_toys import export_toy

                if dtype == "float32":
                    export_toy(toy, folder / name)
                elif dtype in WAYS:
                    quantise_toy(bundle(toy), folder / name, dtype)
                else:
                    recast(bundle(toy), folder / name, dtype)
        return folder / name

    if "PYTEST_XDIST_WORKER" in os.environ:
        # Processes start at opposite ends and skip bundles in progress, so none waits for long.
        if INTERPRETED:
            return bundle
        worker = int(os.environ["PYTEST_XDIST_WORKER"].removeprefix("gw"))
        every = [toy for toy in (*TOYS, *LATENT_TOYS) if toy not in SECOND]
        for toy in every if worker % 2 == 0 else reversed(every):
            bundle(toy, wait=False)
    return bundle


@pytest.fixture(autouse=True, scope="session")
def operators_read_once() -> Iterator[None]:
    """Let the exporter create its table of PyTorch's operators once, not at every export."""
    from ancestral.export import graphs

    with graphs.operators_read_once():
        yield


@pytest.fixture(autouse=True, scope="session")
def rules_tried_where_they_fit() -> Iterator[None]:
    """Let the exporter try each rule of its rewriter only at nodes of the rule's operator.

    By default it tries every rule at every node, which takes a sixth of an export; the graphs are
    the same (tests/export/test_rewriter.py). An onnxscript with other classes is not changed.
    """
    try:
        from onnxscript.rewriter._basics import MatchResult
        from onnxscript.rewriter._matcher import SimplePatternMatcher

        whole = SimplePatternMatcher.match
    except (ImportError, AttributeError):
        yield
        return

    @functools.wraps(whole)
    def match(self: Any, model: Any, graph: Any, node: Any, **settings: Any) -> MatchResult:
        operator = self.pattern.output_nodes[0].op_identifier()
        if operator is not None and operator[:2] != (node.domain, node.op_type):
            return MatchResult().fail("another operator")
        return whole(self, model, graph, node, **settings)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SimplePatternMatcher, "match", match)
        yield


@pytest.fixture(scope="session")
def tiny_bundle(bundles: Callable[[str], Path]) -> Path:
    """Return the bundle of the toy `tiny`, with every graph. Tests must not change it."""
    return bundles("tiny")


@pytest.fixture(scope="session")
def load(bundles: Callable[..., Path]) -> Load:
    """Return a function that loads a toy on a backend, in a type or way; each is loaded once."""
    engines: dict[tuple[str, str, str], Engine] = {}

    def engine(toy: str, backend: str, dtype: str = "float32") -> Engine:
        key = (toy, backend, dtype)
        if key not in engines:
            device = device_of(backend)
            if device == "cuda" and not torch.cuda.is_available():
                pytest.skip("kernels need a CUDA GPU, or TRITON_INTERPRET=1 in the environment")
            bundle = bundles(toy, dtype)
            with any_size(WAYS[dtype]) if dtype in WAYS else nullcontext():
                engines[key] = Engine.load(bundle, backend=backend, device=device, threads=1)
        return engines[key]

    return engine


def autoregressive(load: Load, toy: str, backend: str) -> AutoregressiveEngine:
    """Load an autoregressive toy on a backend."""
    engine = load(toy, backend)
    assert isinstance(engine, AutoregressiveEngine)
    return engine


@pytest.fixture(params=TOYS, scope="session")
def toy(request: pytest.FixtureRequest) -> str:
    """Name of a toy."""
    return str(request.param)


@pytest.fixture(params=LATENT_TOYS, scope="session")
def latent_toy(request: pytest.FixtureRequest) -> str:
    """Name of a toy with latents."""
    return str(request.param)


@pytest.fixture(
    params=[*BACKENDS, pytest.param("triton", marks=[pytest.mark.kernels, pytest.mark.slow])],
    scope="session",
)
def backend(request: pytest.FixtureRequest) -> str:
    """Name of a backend."""
    return str(request.param)


@pytest.fixture
def latent_engine(load: Load, latent_toy: str, backend: str) -> LatentEngine:
    """A toy with latents on a backend."""
    engine = load(latent_toy, backend)
    assert isinstance(engine, LatentEngine)
    return engine


@pytest.fixture
def engine(load: Load, toy: str, backend: str) -> Engine:
    """A toy on a backend."""
    return load(toy, backend)
