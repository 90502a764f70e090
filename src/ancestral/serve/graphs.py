"""Check that a bundle has the graphs that a request needs, before the engine looks for them.

An engine reports a missing graph as an error of its bundle, after which a server opens it anew. A
request that asks for what the bundle does not have is the client's fault and is refused instead.
"""

from ancestral.engine import Sampling, step_graph
from ancestral.engine.runner import Runner
from ancestral.serve.refused import Refused


def check_graphs(runner: Runner, *names: str) -> None:
    """Check that a bundle has some graphs.

    Args:
        runner: the engine, or the engine of the prior over codes.
        names: names of the graphs.

    Raises:
        Refused: it does not have one of them.
    """
    for name in names:
        if name not in runner.bundle.manifest.graphs:
            raise no_graph(f"graph {name!r}")


def check_sampling(runner: Runner, sampling: Sampling, logprobs: int = 0) -> None:
    """Check that a bundle can draw with some settings.

    Args:
        runner: the engine, or the engine of the prior over codes.
        sampling: temperature, filters, bias and penalties.
        logprobs: number of most probable values that are asked for.

    Raises:
        InvalidInput: its likelihood has no logits, or it does not have a value of the bias.
        Refused: it does not have the step graph that the settings need.
    """
    sampling.check(runner.data.levels)
    graphs = runner.bundle.manifest.graphs
    check_graphs(runner, step_graph.graph_of(sampling, graphs, logprobs))


def no_graph(graph: str) -> Refused:
    """Return the refusal of a request that needs a graph which the bundle does not have.

    Args:
        graph: words for the graph.
    """
    return Refused(
        400,
        f"model: expected a bundle with {graph} that this request needs; the bundle was exported "
        f"without it",
        code="no_graph",
        param="model",
    )
