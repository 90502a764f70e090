"""`ancestral compile`: a bundle's graphs to TensorRT plans, which are kept."""

import math
from typing import TYPE_CHECKING, Annotated

import typer

from ancestral.cli.options import BundlePath, Json
from ancestral.cli.output import json_text, put, say, show, table
from ancestral.cli.plans import HEADS, row
from ancestral.decimals import decimals
from ancestral.errors import InvalidInput
from ancestral.progress import progress_bar

if TYPE_CHECKING:
    from ancestral.bundles.bundle import Bundle
    from ancestral.export.tensorrt.compile import Compiler
    from ancestral.plans.record import PlanRecord


def compile(  # noqa: PLR0913 - the options of a command
    bundle: BundlePath,
    target: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SM",
            help="A GPU's compute capability, sm_89 say; may be repeated. Default: every GPU that "
            "the library compiles for in float32; of `tensorrt`, the GPU that is here.",
        ),
    ] = None,
    batch: Annotated[
        str, typer.Option(metavar="LEAST,BEST,MOST", help="Rows of a batch.")
    ] = "1,16,64",
    prefix: Annotated[
        str | None,
        typer.Option(
            metavar="FIRST..LAST",
            help="Observed positions that are run as one block, of an autoregressive model. "
            "Default: up to the whole event.",
            show_default=False,
        ),
    ] = None,
    latents: Annotated[
        str,
        typer.Option(
            metavar="LEAST,BEST,MOST", help="Latents of an event, of a model that has them."
        ),
    ] = "1,16,64",
    graph: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A graph; may be repeated. Default: all."),
    ] = None,
    module: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="tensorrt or tensorrt_rtx. Default: the first that is installed.",
            show_default=False,
        ),
    ] = None,
    memory: Annotated[
        float,
        typer.Option(
            metavar="GIB", help="Scratch memory of a layer at most; 0: the library's own."
        ),
    ] = 0.0,
    timeout: Annotated[
        float, typer.Option(metavar="SECONDS", help="After which the build of a graph is given up.")
    ] = 3600.0,
    plugin: Annotated[
        bool,
        typer.Option("--plugin", help="Causal attention by our own kernel; with `tensorrt` alone."),
    ] = False,
    json: Json = False,
) -> None:
    """Compile a bundle's graphs with TensorRT, each in a process of its own; plans are kept.

    TF32 is off and types are those of the graphs. A graph that would drop an input, change a type
    or copy its cache is refused. No GPU is needed for tensorrt_rtx; `tensorrt` compiles on the GPU
    that the plan is for. A plan is for this machine's user: bundles are what is handed on.
    """
    from ancestral.bundles.bundle import Bundle
    from ancestral.export.tensorrt.compile import Compiler, Options

    options = Options(
        module=module,
        targets=tuple(dict.fromkeys(target or ())),
        batch=triple("--batch", batch),
        latents=triple("--latents", latents),
        prefix=None if prefix is None else span("--prefix", prefix),
        memory=int(number("--memory", memory) * 2**30),
        seconds=number("--timeout", timeout, 1e-3),
        plugin=plugin,
    )
    compiler = Compiler.open(options)
    opened = Bundle.open(bundle)
    parts = (opened, opened.prior()) if opened.manifest.has_prior else (opened,)
    made = [_compile(compiler, each, name) for each in parts for name in graphs_of(each, graph)]
    if json:
        documents = [
            {"plan": record.key.digest, "new": new, **record.model_dump(mode="json")}
            for record, new in made
        ]
        put(json_text({"bundle": str(bundle), "plans": documents}))
    else:
        show(table("Plans", HEADS, [row(record) for record, _ in made]))


def graphs_of(bundle: "Bundle", asked: list[str] | None) -> tuple[str, ...]:
    """The graphs that are asked for, or all.

    Raises:
        InvalidInput: the bundle has no such graph.
    """
    there = tuple(bundle.manifest.graphs)
    unknown = sorted(set(asked or ()) - set(there))
    if unknown:
        raise InvalidInput(f"--graph: expected some of {list(there)}, got {unknown}")
    return there if asked is None else tuple(name for name in there if name in asked)


def triple(option: str, text: str) -> tuple[int, int, int]:
    """Least, best and largest size from text: 1,16,64; or one size alone.

    Raises:
        InvalidInput: it is none.
    """
    numbers = decimals(option, text, "LEAST,BEST,MOST, 1,16,64 say", (1, 3))
    return numbers[0], numbers[len(numbers) // 2], numbers[-1]


def span(option: str, text: str) -> tuple[int, int]:
    """First and last of a range from text: 1..512; or one length alone.

    Raises:
        InvalidInput: it is none.
    """
    numbers = decimals(option, text, "FIRST..LAST, 1..512 say", (1, 2), "..")
    return numbers[0], numbers[-1]


def number(option: str, value: float, least: float = 0.0) -> float:
    """A finite number, least or more.

    Raises:
        InvalidInput: it is not.
    """
    if not least <= value < math.inf:
        raise InvalidInput(f"{option}: expected a number, {least:g} or more, got {value}")
    return value


def _compile(compiler: "Compiler", bundle: "Bundle", graph: str) -> tuple["PlanRecord", bool]:
    """Compile one graph, and say what comes of it."""
    missed = compiler.store.missed(compiler.key(bundle, graph))
    with progress_bar(graph) as show:
        record, new = compiler.compile(
            bundle,
            graph,
            lambda step: show(step["step"], step["of"], step["phase"]),
            lambda: say(f"{graph}: another process is compiling it; waiting"),
        )
    if new:
        changed = f" ({missed})" if missed else ""
        say(f"{graph}: compiled in {record.seconds:.1f} s{changed}")
    else:
        say(f"{graph}: compiled before, {record.key.digest[:12]}")
    return record, new
