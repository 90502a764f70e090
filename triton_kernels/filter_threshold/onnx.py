"""`filter_threshold` in ONNX: from the highest values for ONNX Runtime, elsewhere by bisection.

The mass above a threshold decides each filter, so a bisection needs no sort: it works in TensorRT,
whose TopK ends at 3,840 values. ONNX Runtime's TopK is faster. Up to SORTED values it sorts all,
and up to SORTED_IF_FEW in batches of fewer than MANY rows. Otherwise a row takes the first of these
stages that decides it:

    highest     TopK of the highest values, if the threshold is above the last of them
    histogram   top-p without top-k, if one bucket holds few values
    complete    a sort of all up to SORTABLE values, else a bisection

The first is left out if it can decide no row of the batch: all rows keep a mass of more than
`flat_from`, without top-k. Only undecided rows enter the others, and which stages a row takes
depends on the settings and logits of this row.
"""

from typing import Any

from onnx_ir import DataType
from onnxscript.onnx_opset import opset24 as op

from ancestral.triton_kernels.filter_threshold import filter_threshold
from ancestral.triton_kernels.filter_threshold.bisected import bisected
from ancestral.triton_kernels.filter_threshold.branch import Branch
from ancestral.triton_kernels.filter_threshold.histogram import UNDECIDED, top_p_threshold
from ancestral.triton_kernels.onnx_nodes import Form, Translations, Value, integer, ints, number

SORTED = 64
"""Most values that are always sorted as a whole."""
SORTED_IF_FEW = 256
"""Most values that are sorted as a whole in a small batch, where nodes cost more than the sort."""
MANY = 8
"""Number of rows from which a batch is not small."""
SORTABLE = 1024
"""Most values that are sorted as a whole, rather than bisected, in undecided rows."""
_INFINITY = float("inf")


def translations(form: Form) -> Translations:
    """Return the ONNX nodes of the operator in one form."""
    nodes = _onnxruntime if form == "onnxruntime" else _portable
    return {filter_threshold._opoverload: nodes}


def highest_of(v: int) -> int:
    """Return how many values the first stage sorts."""
    return min(v, 64 if v <= SORTABLE else 256)


def flat_from(v: int) -> float:
    """Return the mass to keep, relative to the highest value, above which a row is flat."""
    return 0.0 if v <= SORTABLE else 16.0


def _portable(z: Value, w: Value, top_k: Value, top_p: Value, min_p: Value) -> Value:
    return bisected(op, z, w, top_k, top_p, min_p)


def _onnxruntime(z: Value, w: Value, top_k: Value, top_p: Value, min_p: Value) -> Value:
    v = z.shape[-1] if z.shape is not None else None
    given = (z, w, top_k, top_p, min_p)
    if not isinstance(v, int):
        return bisected(op, *given)
    if v <= SORTED:
        return _sorted(op, *given, v)
    if v > SORTED_IF_FEW:
        return _staged(op, *given, v)
    few, many = Branch("few"), Branch("many")
    return op.If(
        op.Less(op.Size(top_k), integer(MANY)),
        then_branch=few.graph(_sorted(few, *given, v)),
        else_branch=many.graph(_staged(many, *given, v)),
    )


def _staged(
    nodes: Any, z: Value, w: Value, top_k: Value, top_p: Value, min_p: Value, v: int
) -> Value:
    """The threshold of each row, from the first stage that decides it."""
    axes, given = ints(1, 2), (z, w, top_k, top_p, min_p)
    k, p = nodes.Unsqueeze(top_k, axes), nodes.Unsqueeze(top_p, axes)
    lowest = nodes.Log(nodes.Unsqueeze(min_p, axes))
    narrow, open_end = nodes.Less(p, number(1.0)), nodes.GreaterOrEqual(k, integer(v))
    whole = nodes.ReduceSum(w, ints(-1), keepdims=1)
    enough = nodes.Mul(p, whole)
    # The mass that top-p keeps, in rows without top-k.
    mass = nodes.Where(nodes.And(narrow, open_end), enough, number(0.0))
    flat = number(flat_from(v))
    skipped, first = Branch("flat"), Branch("highest")
    found = _highest(first, z, w, k, p, lowest, narrow, open_end, mass, v)
    threshold = nodes.If(
        nodes.Greater(nodes.ReduceMin(mass, keepdims=0), flat),
        then_branch=skipped.graph(skipped.Identity(mass)),
        else_branch=first.graph(found),
    )
    undecided = nodes.Greater(threshold, number(0.0))
    done, rest = Branch("done"), Branch("rest")
    return nodes.If(
        _any(nodes, undecided),
        then_branch=rest.graph(_rest(rest, threshold, undecided, (whole, mass), lowest, given, v)),
        else_branch=done.graph(done.Identity(threshold)),
    )


def _sorted(
    nodes: Any, z: Value, w: Value, top_k: Value, top_p: Value, min_p: Value, v: int
) -> Value:
    """The threshold from all values in order."""
    axes, last, infinity = ints(1, 2), ints(-1), number(_INFINITY)
    k, p = nodes.Unsqueeze(top_k, axes), nodes.Unsqueeze(top_p, axes)
    ordered, _ = nodes.TopK(z, ints(v), axis=-1)
    inside = nodes.Less(ints(*range(v)), k)
    least = nodes.ReduceMin(nodes.Where(inside, ordered, infinity), last, keepdims=1)
    kept = nodes.Where(nodes.GreaterOrEqual(ordered, least), nodes.Exp(ordered), number(0.0))
    enough = nodes.Mul(p, nodes.ReduceSum(kept, last, keepdims=1))
    inside = nodes.Less(nodes.CumSum(kept, integer(-1), exclusive=1), enough)
    nucleus = nodes.ReduceMin(nodes.Where(inside, ordered, infinity), last, keepdims=1)
    nucleus = nodes.Where(nodes.Less(p, number(1.0)), nucleus, number(-_INFINITY))
    return nodes.Max(least, nucleus, nodes.Log(nodes.Unsqueeze(min_p, axes)))


def _highest(  # noqa: PLR0913 - a row's settings in the forms that the stages share
    nodes: Any,
    z: Value,
    w: Value,
    k: Value,
    p: Value,
    lowest: Value,
    narrow: Value,
    open_end: Value,
    mass: Value,
    v: int,
) -> Value:
    """The threshold from the highest values, or UNDECIDED.

    If it is above the last of the highest values, all that stay are among them.
    """
    count, last, none = highest_of(v), ints(-1), number(-_INFINITY)
    ordered, _ = nodes.TopK(z, ints(count), axis=-1)
    inside = nodes.Where(nodes.Less(ints(*range(count)), k), ordered, number(0.0))
    least = nodes.Where(open_end, none, nodes.ReduceMin(inside, last, keepdims=1))
    # Over all values, a product takes a third of the time of a Where.
    above = nodes.Mul(w, nodes.Cast(nodes.GreaterOrEqual(z, least), to=DataType.FLOAT))
    enough = nodes.Mul(p, nodes.ReduceSum(above, last, keepdims=1))
    inside = nodes.Less(nodes.CumSum(nodes.Exp(ordered), integer(-1), exclusive=1), enough)
    # 0 is the highest z. A row of NaN keeps nothing, and is decided.
    inside = nodes.Where(inside, ordered, number(0.0))
    nucleus = nodes.Where(narrow, nodes.ReduceMin(inside, last, keepdims=1), none)
    threshold = nodes.Max(least, nucleus, lowest)
    end = nodes.Slice(ordered, ints(count - 1), ints(count), last)
    # Top-p needs the mass of all that top-k keeps. No comparison holds for NaN, so that such a row
    # enters no later stage.
    reached = nodes.LessOrEqual(nodes.Where(open_end, threshold, least), end)
    reached = nodes.And(reached, nodes.Greater(enough, number(0.0)))
    filtered = nodes.Or(narrow, nodes.Not(open_end))
    undecided = nodes.Or(nodes.And(reached, filtered), nodes.Greater(mass, number(flat_from(v))))
    return nodes.Where(undecided, number(UNDECIDED), threshold)


def _rest(
    nodes: Any,
    threshold: Value,
    undecided: Value,
    masses: tuple[Value, Value],
    lowest: Value,
    given: tuple[Value, ...],
    v: int,
) -> Value:
    """The thresholds, with the undecided ones from a histogram or from all values."""
    z, w, top_k, top_p, min_p = given
    at = nodes.Transpose(nodes.NonZero(nodes.Squeeze(undecided, ints(-1))), perm=[1, 0])
    rows, whole, enough = (nodes.GatherND(each, at) for each in (z, *masses))
    found = top_p_threshold(nodes, rows, whole, enough, v)
    wrong = nodes.Greater(found, number(0.0))
    threshold = nodes.Max(nodes.ScatterND(threshold, at, found), lowest)
    done, last = Branch("found"), Branch("complete")
    at = last.Compress(at, last.Squeeze(wrong, ints(-1)), axis=0)
    z, w = (last.Unsqueeze(last.GatherND(each, at), ints(1)) for each in (z, w))
    batch = last.Slice(at, ints(0), ints(1), ints(1))
    top_k, top_p, min_p = (last.GatherND(each, batch) for each in (top_k, top_p, min_p))
    if v <= SORTABLE:
        complete = _sorted(last, z, w, top_k, top_p, min_p, v)
    else:
        complete = bisected(last, z, w, top_k, top_p, min_p)
    complete = last.ScatterND(threshold, at, last.Squeeze(complete, ints(-1)))
    return nodes.If(
        _any(nodes, wrong),
        then_branch=last.graph(complete),
        else_branch=done.graph(done.Identity(threshold)),
    )


def _any(nodes: Any, condition: Value) -> Value:
    """Whether a condition is true anywhere."""
    return nodes.ReduceMax(condition, keepdims=0)
