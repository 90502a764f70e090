"""How far apart two runtimes may be in a tensor: by the nodes that made it and what they read.

Each result is rounded to its type, and a sum is kept in float32: the relative error of a node is
its type's epsilon, and float32's times the square root of the length of the sum, for errors of
rounding add up like the steps of a random walk. So do the errors of several nodes.
"""

import math
from collections.abc import Iterable, Mapping, Sequence

from ancestral.export.trace.difference import (
    Comparison,
    compare,
    epsilon_of,
    is_floating,
    largest_of,
)
from ancestral.export.trace.graph import MOVES, Array, Node
from ancestral.parity import EPSILON, ROUNDINGS

_SUMS = {"Add", "Sub", "Sum", "Mean", "ReduceSum", "ReduceMean", "CumSum"}
_PROBABILITIES = {"Sigmoid", "Softmax"}
"""Runtimes are as exact as 1 asks for: ONNX Runtime's sigmoid of -20 is 0."""


def compared(
    got: Array,
    expected: Array,
    through: Sequence[Node],
    values: Mapping[str, Array],
    variance: float,
) -> Comparison:
    """Compare what a node made, with a limit by what it read.

    Args:
        got: what it made.
        expected: what it should be near.
        through: nodes in a row that made it, the last of them itself.
        values: inputs and tensors of its graph.
        variance: of the relative error, of these nodes or of all up to there.
    """
    # Where large numbers cancel, what is left is as far off as they are.
    sums = [node for node in through if node.op_type in _SUMS]
    summed = [name for node in sums for name in (*node.inputs, *node.outputs)]
    largest = largest_of(values[name] for name in summed if name in values)
    if through[-1].op_type in _PROBABILITIES:
        largest = max(largest, 1.0)
    relative = math.sqrt(max(variance, epsilon_of([got, expected]) ** 2))
    return compare(got, expected, ROUNDINGS * relative, largest=largest)


def error_variance(nodes: Iterable[Node], values: Mapping[str, Array]) -> float:
    """Of the relative error that nodes add: not those that only move numbers, or make integers."""
    total = 0.0
    for node in nodes:
        made = [values[name] for name in node.outputs if name in values]
        if node.op_type not in MOVES and any(map(is_floating, made)):
            read = (values[name] for name in node.inputs if name in values)
            longest = max((size for array in (*read, *made) for size in array.shape), default=1)
            total += epsilon_of(made) ** 2 + longest * EPSILON["float32"] ** 2
    return total
