"""`filter_threshold` in ONNX: from the highest values for ONNX Runtime, elsewhere by bisection.

The mass above a threshold decides each filter, so a bisection needs no sort: it works in TensorRT,
whose TopK ends at 3,840 values. ONNX Runtime's TopK is faster. Up to SORTED values it sorts all.
Above, it takes the HIGHEST, which are enough for a row where

    k <= HIGHEST, or top-k is off and one of: top-p is off; the HIGHEST have at least the mass P;
    min-p drops the last of them.

If any row of the batch needs more, an If runs the bisection, and only such rows take its threshold.
"""

from functools import partial
from typing import Any

import onnx_ir
from onnxscript.onnx_opset import opset24 as op

from ancestral.triton_kernels.filter_threshold import BISECTIONS, LOWEST, filter_threshold
from ancestral.triton_kernels.onnx_nodes import Form, Translations, Value, integer, ints, number

SORTED = 256
"""Most values that are sorted as a whole."""
HIGHEST = 256
"""Number of values that are sorted if there are more."""
_INFINITY = float("inf")


def translations(form: Form) -> Translations:
    """Return the ONNX nodes of the operator in one form."""
    nodes = _highest if form == "onnxruntime" else _portable
    return {filter_threshold._opoverload: nodes}


def _portable(z: Value, w: Value, top_k: Value, top_p: Value, min_p: Value) -> Value:
    return _bisected(op, z, w, top_k, top_p, min_p)


def _highest(z: Value, w: Value, top_k: Value, top_p: Value, min_p: Value) -> Value:
    """The threshold from the sorted highest values."""
    v = z.shape[-1] if z.shape is not None else None
    if not isinstance(v, int):
        return _bisected(op, z, w, top_k, top_p, min_p)
    whole, count = v <= SORTED, min(v, HIGHEST)
    axes, last, infinity = ints(1, 2), ints(-1), number(_INFINITY)
    k, p = op.Unsqueeze(top_k, axes), op.Unsqueeze(top_p, axes)
    lowest = op.Log(op.Unsqueeze(min_p, axes))
    ordered, _ = op.TopK(z, ints(v if whole else count), axis=-1)
    rank = ints(*range(v if whole else count))
    least = op.ReduceMin(op.Where(op.Less(rank, k), ordered, infinity), last, keepdims=1)
    open_end = op.GreaterOrEqual(k, integer(v))
    if not whole:
        least = op.Where(open_end, number(-_INFINITY), least)
    kept = op.Where(op.GreaterOrEqual(ordered, least), op.Exp(ordered), number(0.0))
    mass = op.ReduceSum(kept, last, keepdims=1)
    total = mass
    if not whole:
        above = op.Where(op.GreaterOrEqual(z, least), w, number(0.0))
        total = op.ReduceSum(above, last, keepdims=1)
    enough = op.Mul(p, total)
    inside = op.Less(op.CumSum(kept, integer(-1), exclusive=1), enough)
    nucleus = op.ReduceMin(op.Where(inside, ordered, infinity), last, keepdims=1)
    narrow = op.Less(p, number(1.0))
    nucleus = op.Where(narrow, nucleus, number(-_INFINITY))
    threshold = op.Max(least, nucleus, lowest)
    if whole:
        return threshold
    end = op.Slice(ordered, ints(count - 1), ints(count), last)
    reached = op.Or(op.GreaterOrEqual(mass, enough), op.Less(end, lowest))
    reached = op.And(open_end, op.Or(op.Not(narrow), reached))
    sure = op.Or(op.LessOrEqual(k, integer(count)), reached)
    return _completed(threshold, sure, (z, w, top_k, top_p, min_p))


def _completed(threshold: Value, sure: Value, inputs: tuple[Value, ...]) -> Value:
    """Replace the thresholds that are not sure by those of a bisection, if there are any."""
    every = op.Cast(op.ReduceMin(op.Cast(sure, to=onnx_ir.DataType.INT32), keepdims=0), to=9)
    same, other = _Nodes(), _Nodes()
    found = _bisected(other, *inputs)
    return op.If(
        every,
        then_branch=same.graph("sure", same.Identity(threshold)),
        else_branch=other.graph("bisected", other.Where(sure, threshold, found)),
    )


class _Nodes:
    """The nodes of a branch; like `op`, it has a method for each operator."""

    def __init__(self) -> None:
        self._nodes: list[onnx_ir.Node] = []

    def __getattr__(self, operator: str) -> Any:
        def add(*inputs: Value, **attributes: Any) -> Value:
            node = onnx_ir.node(operator, inputs, attributes)
            self._nodes.append(node)
            return node.outputs[0]

        return add

    def graph(self, name: str, output: Value) -> onnx_ir.Graph:
        """Return the branch, which has no inputs and one float32 output."""
        for i, node in enumerate(self._nodes):
            node.name = f"{name}.{i}"
            node.outputs[0].name = f"{name}.{i}.y"
        output.type = onnx_ir.TensorType(onnx_ir.DataType.FLOAT)
        return onnx_ir.Graph([], [output], nodes=self._nodes, name=name)


def _bisected(nodes: Any, z: Value, w: Value, top_k: Value, top_p: Value, min_p: Value) -> Value:
    """The threshold by bisection, with seven nodes per halving."""
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
    return nodes.ReduceMin(nodes.Where(inside, z, number(_INFINITY)), last, keepdims=1)


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
