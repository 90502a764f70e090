"""The table of docs/tensorrt-graphs.md: which graphs of which models become plans, in which types.

    python -m tests.export.plan_table [FOLDER]     compiles every graph in every type, writes it

Bundles are kept in FOLDER, if it is given.

The tests compile a part of the graphs, and compare the results with the table.
"""

import contextlib
import functools
import importlib.util
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from ancestral.bundles.bundle import Bundle
from ancestral.export.recast import recast
from ancestral.export.tensorrt.builder import compile_plan
from ancestral.export.tensorrt.compile import Compiler, Options
from ancestral.plans.key import PlanKey
from ancestral.plans.record import PLAN
from ancestral.plans.store import PlanStore
from ancestral.signature import FloatDtype
from tests.export_toys import export_toy
from tests.latent_toys import LARGE_TOYS, LATENT_TOYS
from tests.toys import TOYS

BUILT = importlib.util.find_spec("tensorrt_rtx") is not None
FILE = Path(__file__).parents[2] / "docs" / "tensorrt-graphs.md"
NARROW: tuple[FloatDtype, ...] = ("float16", "bfloat16")
DTYPES: tuple[FloatDtype, ...] = ("float32", *NARROW)
ALL = (*TOYS, *LATENT_TOYS, *LARGE_TOYS)
SMALL = Options(module="tensorrt_rtx", targets=("sm_80",), batch=(1, 2, 8), latents=(1, 2, 8))
"""Options of the tests' plans: one GPU, small batches."""
_HEAD = """# Graphs that become plans

Compiled by tensorrt_rtx {version} for sm_80, without a GPU, from the small models of the tests.
`python -m tests.export.plan_table` writes this table, and the tests compare it with what they see.
`make test` compiles every graph of one model of each kind of cache in float32, and of one model in
float16. `make test-all` compiles all, also diffusion, whose export takes a minute.

"2 profiles": one plan serves single positions and blocks of a prefix. "4 in place": so many caches
are appended to by the library without a copy.

| model | family | graph | float32 | float16 | bfloat16 |
|---|---|---|---|---|---|
"""


def parts(bundle: Bundle, toy: str) -> Iterator[tuple[str, Bundle]]:
    """Yield a bundle with the name of its toy, and the bundle of its prior if it has one."""
    yield toy, bundle
    latent = bundle.manifest.latent
    if latent is not None and latent.prior == "autoregressive":
        yield f"{toy}, prior", bundle.prior()


def cell(key: PlanKey, in_place: Sequence[str]) -> str:
    """Return the table's cell for a plan that was built."""
    profiles = ", 2 profiles" if len(key.profiles) == 2 else ""
    return f"yes{profiles}{f', {len(in_place)} in place' if in_place else ''}"


def built(compiler: Compiler, bundle: Bundle, graph: str) -> str:
    """Build a plan in a temporary folder, and return the table's cell for it.

    The plan is built in this process: a process for each graph, which users have, takes half a
    second more per graph.
    """
    import tensorrt_rtx

    key = compiler.key(bundle, graph)
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        in_place = compile_plan(tensorrt_rtx, compiler.request(bundle, key), lambda step: None)
        assert Path(PLAN).read_bytes()[:4] == b"vtrt"
    return cell(key, in_place)


def documented(model: str, graph: str, dtype: FloatDtype) -> str:
    """Return the document's cell for a graph in a type."""
    return _rows().get((model, graph), ["no such row"] * len(DTYPES))[DTYPES.index(dtype)]


@functools.cache
def _rows() -> dict[tuple[str, str], list[str]]:
    rows = {}
    for line in FILE.read_text().splitlines():
        cells = [part.strip() for part in line.strip("|").split("|")]
        if line.startswith("| ") and len(cells) == 3 + len(DTYPES):
            rows[cells[0], cells[2]] = cells[3:]
    return rows


def _bundle(folder: Path, toy: str, dtype: FloatDtype) -> Path:
    """Return the bundle of a toy in a type; it is exported once, and then cast."""
    bundle = folder / toy if dtype == "float32" else folder / f"{toy}.{dtype}"
    if not bundle.exists():
        if dtype == "float32":
            export_toy(toy, bundle)
        else:
            recast(_bundle(folder, toy, "float32"), bundle, dtype)
    return bundle


def _lines(compiler: Compiler, folder: Path, toy: str) -> Iterator[str]:
    """Yield the rows of a toy."""
    each = [list(parts(Bundle.open(_bundle(folder, toy, dtype)), toy)) for dtype in DTYPES]
    for same in zip(*each, strict=True):
        model, first = same[0]
        family = first.manifest.components["model"].family
        for graph in first.manifest.graphs:
            cells = [built(compiler, bundle, graph) for _, bundle in same]
            yield f"| {model} | {family} | {graph} | {' | '.join(cells)} |\n"


def _write(folder: Path) -> None:
    """Export every toy, compile every graph in every type, write the document."""
    compiler = Compiler.open(SMALL, PlanStore(folder / "plans"))
    lines = []
    for toy in ALL:
        lines += list(_lines(compiler, folder, toy))
        print(lines[-1], end="", flush=True)
    FILE.write_text(_HEAD.format(version=compiler.version) + "".join(lines))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        _write(Path(sys.argv[1] if sys.argv[1:] else name))
