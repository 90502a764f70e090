"""The threshold by bisection: standard operators without a sort or a loop."""

from functools import partial
from typing import Any

import onnx_ir

from ancestral.triton_kernels.filter_threshold import BISECTIONS, LOWEST
from ancestral.triton_kernels.onnx_nodes import Value, ints, number


def bisected(nodes: Any, z: Value, w: Value, top_k: Value, top_p: Value, min_p: Value) -> Value:
    """Return the threshold [b, s, 1], with seven nodes per halving.

    Args:
        nodes: where the nodes are written, `op` or a branch.
        z: logits minus their maximum, [b, s, v].
        w: exp z.
        top_k: number of values that top-k keeps, [b].
        top_p: mass that top-p keeps, [b].
        min_p: least probability that min-p keeps, [b].
    """
    axes, last = ints(1, 2), ints(-1)
    z = nodes.Max(z, number(LOWEST))
    k = nodes.Cast(nodes.Unsqueeze(top_k, axes), to=onnx_ir.DataType.FLOAT)
    p, m = nodes.Unsqueeze(top_p, axes), nodes.Unsqueeze(min_p, axes)
    count = partial(nodes.GreaterOrEqual, z)
    least = _threshold(nodes, count, number(1.0), k)
    kept = nodes.Where(nodes.GreaterOrEqual(z, least), w, number(0.0))
    enough = nodes.Mul(p, nodes.ReduceSum(kept, last, keepdims=1))
    above = _threshold(nodes, partial(nodes.Greater, z), kept, enough)
    inside = nodes.Or(nodes.Greater(z, above), nodes.GreaterOrEqual(p, number(1.0)))
    lowest = nodes.Max(least, nodes.Log(m))
    inside = nodes.And(inside, nodes.GreaterOrEqual(z, lowest))
    return nodes.ReduceMin(nodes.Where(inside, z, number(float("inf"))), last, keepdims=1)


def _threshold(nodes: Any, above: Any, w: Value, mass: Value) -> Value:
    """The largest t in [LOWEST, 0] such that the sum of w over `above(t)` is at least `mass`.

    No loop, which would rule out CUDA graphs.
    """
    low = number(LOWEST)
    for halving in range(1, BISECTIONS + 1):
        width = number(-LOWEST * 2.0**-halving)
        middle = nodes.Add(low, width)
        sums = nodes.ReduceSum(nodes.Where(above(middle), w, number(0.0)), ints(-1), keepdims=1)
        low = nodes.Add(low, nodes.Where(nodes.GreaterOrEqual(sums, mass), width, number(0.0)))
    return low
