"""`ancestral compile`: compile a bundle's graphs to TensorRT plans, and keep the plans."""

import math
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from ancestral.cli.options import BundlePath, Json, input_option
from ancestral.cli.output import json_text, put, say, show, table
from ancestral.cli.plans import HEADS, row
from ancestral.decimals import decimals
from ancestral.errors import InvalidInput
from ancestral.progress import progress_bar

if TYPE_CHECKING:
    from ancestral.bundles.bundle import Bundle
    from ancestral.export.tensorrt.compile import Compiler
    from ancestral.plans.record import PlanRecord

_plans = partial(typer.Option, rich_help_panel="Plans")


def compile(  # noqa: PLR0913 - the options of a command
    bundle: BundlePath,
    target: Annotated[
        list[str] | None,
        _plans(
            metavar="SM",
            help="Compute capability of a GPU, for example sm_89; may be repeated. Default: all "
            "GPUs that tensorrt_rtx supports in float32; with tensorrt, the GPU of this machine.",
        ),
    ] = None,
    batch: Annotated[
        str, _plans(metavar="MIN,OPT,MAX", help="Smallest, typical and largest batch, in rows.")
    ] = "1,16,64",
    prefix: Annotated[
        str | None,
        _plans(
            metavar="MIN..MAX",
            help="Range of the number of observed positions that run as one block; autoregressive "
            "models only. Default: up to the whole event.",
            show_default=False,
        ),
    ] = None,
    latents: Annotated[
        str,
        _plans(
            metavar="MIN,OPT,MAX",
            help="Smallest, typical and largest number of latents per event; latent variable "
            "models only.",
        ),
    ] = "1,16,64",
    graph: Annotated[
        list[str] | None,
        input_option(metavar="NAME", help="Graph to compile; may be repeated. Default: all."),
    ] = None,
    module: Annotated[
        str | None,
        _plans(
            metavar="NAME",
            help="tensorrt or tensorrt_rtx. Default: the first that is installed.",
            show_default=False,
        ),
    ] = None,
    memory: Annotated[
        float,
        _plans(
            metavar="GIB",
            help="Maximum scratch memory of a layer, in GiB; 0 for the library's default.",
        ),
    ] = 0.0,
    timeout: Annotated[
        float, _plans(metavar="SECONDS", help="Time limit for compiling one graph, in seconds.")
    ] = 3600.0,
    plugin: Annotated[
        bool,
        _plans("--plugin", help="Use our own kernel for causal attention; tensorrt only."),
    ] = False,
    json: Json = False,
) -> None:
    """Compile a bundle to TensorRT plans.

    Each graph is compiled in its own process, with TF32 off and in the types of the graph. A graph
    is refused if its plan would drop an input, change a type or copy its cache. tensorrt_rtx needs
    no GPU; tensorrt compiles on the GPU that the plan is for. Plans are kept for this user on this
    machine; to share a model, share its bundle.
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


def graphs_of(bundle: "Bundle", names: list[str] | None) -> tuple[str, ...]:
    """Return the graphs with these names, or all if `names` is None.

    Raises:
        InvalidInput: the bundle has no such graph.
    """
    graphs = tuple(bundle.manifest.graphs)
    unknown = sorted(set(names or ()) - set(graphs))
    if unknown:
        raise InvalidInput(
            f"--graph: expected one of {', '.join(graphs)}, got {', '.join(unknown)}"
        )
    return graphs if names is None else tuple(name for name in graphs if name in names)


def triple(option: str, text: str) -> tuple[int, int, int]:
    """Return the smallest, typical and largest size in a text like "1,16,64"; or one size, thrice.

    Raises:
        InvalidInput: the text does not have 1 or 3 integers.
    """
    numbers = decimals(option, text, "MIN,OPT,MAX, for example 1,16,64", (1, 3))
    return numbers[0], numbers[len(numbers) // 2], numbers[-1]


def span(option: str, text: str) -> tuple[int, int]:
    """Return both ends of a range in a text like "1..512"; or one length, twice.

    Raises:
        InvalidInput: the text does not have 1 or 2 integers.
    """
    numbers = decimals(option, text, "MIN..MAX, for example 1..512", (1, 2), "..")
    return numbers[0], numbers[-1]


def number(option: str, value: float, least: float = 0.0) -> float:
    """Return the value after checking that it is finite and at least `least`.

    Raises:
        InvalidInput: the value is not finite, or is less than `least`.
    """
    if not least <= value < math.inf:
        raise InvalidInput(f"{option}: expected a number >= {least:g}, got {value}")
    return value


def _compile(compiler: "Compiler", bundle: "Bundle", graph: str) -> tuple["PlanRecord", bool]:
    """Compile one graph, and report the result."""
    missed = compiler.store.missed(compiler.key(bundle, graph))
    with progress_bar(graph) as show:
        record, new = compiler.compile(
            bundle,
            graph,
            lambda step: show(step["step"], step["of"], step["phase"]),
            lambda: say(f"{graph}: waiting for another process that is compiling it"),
        )
    if new:
        changed = f" ({missed})" if missed else ""
        say(f"{graph}: compiled in {record.seconds:.1f} s{changed}")
    else:
        say(f"{graph}: already compiled, plan {record.key.digest[:12]}")
    return record, new
