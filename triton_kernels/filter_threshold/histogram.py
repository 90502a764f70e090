"""The threshold of top-p from a histogram of the mass, for rows that are too flat to be sorted.

Buckets of z have equal widths, from 0 down to a bound below which no threshold lies. The bucket
that contains the threshold is the first where the cumulative mass reaches P. The highest values of
this bucket and those below are sorted; the search ends if they have the mass that is missing before
the bucket. A bucket that is too late leaves nothing to find, so the row is undecided.
"""

from typing import Any

from onnx_ir import DataType

from ancestral.triton_kernels.onnx_nodes import Value, integer, ints, number

BUCKETS = 4096
"""Most buckets of a row."""
DEEPEST = -32.0
"""Lowest edge of a bucket but the last, in nats: a million values below have less than 1e-7."""
_SHALLOWEST = -1e-3
"""Highest edge of the last bucket: the width is above 0 where all logits are equal."""
UNDECIDED = 1.0
"""Stands for a threshold that is not known; every threshold is at most 0."""
_FAR = 1e30


def top_p_threshold(nodes: Any, z: Value, whole: Value, enough: Value, v: int) -> Value:
    """Return the threshold of top-p, or UNDECIDED, [n, 1].

    Args:
        nodes: where the nodes are written, `op` or a branch.
        z: logits minus their maximum, [n, v], not NaN.
        whole: mass of all values, [n, 1].
        enough: mass that top-p keeps, [n, 1], above 0; a row with 0 is undecided.
        v: number of values.
    """
    last, buckets, highest = ints(-1), min(v, BUCKETS), highest_of(v)
    # All values below the second bound have less mass than top-p drops.
    dropped = nodes.Mul(nodes.Sub(whole, enough), number(1.0 / v))
    least = nodes.Max(nodes.ReduceMin(z, last, keepdims=1), nodes.Log(dropped))
    least = nodes.Clip(least, number(DEEPEST), number(_SHALLOWEST))
    scale = nodes.Div(number(buckets - 1.0), least)
    scaled = nodes.Clip(nodes.Mul(z, scale), number(0.0), number(buckets - 1.0))
    # The conversion rounds towards 0, so a higher z is never in a later bucket.
    bucket = nodes.Cast(scaled, to=DataType.INT32)
    w = nodes.Exp(z)
    some = w if buckets == v else nodes.Slice(w, ints(0), ints(buckets), last)
    masses = nodes.ScatterElements(nodes.Sub(some, some), bucket, w, axis=-1, reduction="add")
    # In float64: sums of thousands of buckets in float32 would be off by more than one value.
    masses = nodes.Cast(masses, to=DataType.DOUBLE)
    sums, target = nodes.CumSum(masses, integer(-1)), nodes.Cast(enough, to=DataType.DOUBLE)
    first = nodes.ArgMax(nodes.Min(sums, target), axis=-1, keepdims=1)
    before = nodes.GatherElements(nodes.Sub(sums, masses), first, axis=-1)
    rest = nodes.Cast(nodes.Sub(target, before), to=DataType.FLOAT)
    start = nodes.Cast(first, to=DataType.FLOAT)
    # z in this bucket and below, a large negative number above; slower: a Where.
    above = nodes.Mul(nodes.Relu(nodes.Sub(start, scaled)), number(_FAR))
    below = nodes.Sub(z, above)
    ordered, _ = nodes.TopK(below, ints(highest), axis=-1)
    kept = nodes.Exp(ordered)
    inside = nodes.Less(nodes.CumSum(kept, integer(-1), exclusive=1), rest)
    nucleus = nodes.ReduceMin(nodes.Where(inside, ordered, number(float("inf"))), last, keepdims=1)
    # If the sum before the last value is not enough, values below it may be needed.
    end = nodes.Slice(inside, ints(highest - 1), ints(highest), last)
    decided = nodes.And(nodes.Not(end), nodes.Greater(enough, number(0.0)))
    return nodes.Where(decided, nucleus, number(UNDECIDED))


def highest_of(v: int) -> int:
    """Return how many values of the bucket and below are sorted."""
    return min(v, 16 if v <= 1024 else 48)
