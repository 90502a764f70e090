"""Rules for graphs: no operator or attribute that a runtime ignores or misreads without an error.

Each message says what TensorRT's ONNX parser does (tensorrt_rtx 1.7.1); docs/tensorrt.md lists the
rules with their reasons. A rule can go when TensorRT builds and runs such a graph correctly.
"""

from collections.abc import Iterator

import numpy as np
import onnx_ir
from onnx_ir import DataType

from ancestral.export.operators import Form
from ancestral.export.passes.last_projection import (
    PRODUCTS,
    before_results,
    is_float,
    is_rearrangement,
    kind,
)
from ancestral.export.passes.sixteen_bits import OPERANDS, REFUSED, WIDE
from ancestral.export.weights import PREFIX
from ancestral.signature import GraphSignature, Update

_RANDOM = {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}
_REFUSED = dict.fromkeys(("Multinomial", "Bernoulli", "Unique"), "") | {
    "NonZero": "; a boolean mask as an index (x[mask]) and nonzero() make it; compute at all "
    "positions and choose with torch.where"
}
_APPENDS = {"TensorScatter", "ScatterElements", "GroupQueryAttention"}
_MAX_TOP_K = 3840
_NONPAD_KV_SEQLEN = 6
"""Index of this input of ONNX Attention; inputs 4 and 5 are the past key and value."""


def lint(model: onnx_ir.Model, form: Form, signature: GraphSignature) -> list[str]:
    """Return a message for each rule that a graph breaks: the node and the reason.

    All rules apply to the forms that TensorRT may read. The onnxruntime form has fewer rules: noise
    is an input, operators are standard or ONNX Runtime's own, and appends and 16 bits are as in the
    other forms.

    Args:
        model: graph to check.
        form: form of the graph.
        signature: signature of the graph, in the type of the bundle.
    """
    found = [
        f"{node.name or node.op_type}: {problem}"
        for node in model.graph
        for problem in _problems(node, form, model.graph)
    ]
    return [*found, *_appends(model.graph, signature), *_sixteen_bits(model.graph, signature)]


def _appends(graph: onnx_ir.Graph, signature: GraphSignature) -> Iterator[str]:
    """Check that operators that only append make the outputs that are declared as appends.

    Such an output may share the memory of its input.
    """
    inputs = {value.name: value for value in graph.inputs}
    outputs = {value.name: value for value in graph.outputs}
    for pair in signature.carried:
        if pair.update is not Update.APPEND:
            continue
        node = outputs[pair.output].producer()
        if node is None or node.op_type not in _APPENDS or inputs[pair.input] not in node.inputs:
            yield (
                f"{pair.output}: declared as an append to {pair.input}, but made by "
                f"{node.op_type if node is not None else 'no node'}; declare it as Update.REPLACE, "
                f"or append with cached_attention or append"
            )


def _sixteen_bits(graph: onnx_ir.Graph, signature: GraphSignature) -> Iterator[str]:
    """Check which tensors are in 16 bits, and that no node mixes types."""
    fed = {pair.output for pair in signature.carried}
    caches = {spec.name for spec in signature.outputs if spec.dtype in {"float16", "bfloat16"}}
    for name in sorted(caches - fed):
        yield f"{name}: expected float32 for log-probabilities and draws, got 16 bits"
    for name, value in graph.initializers.items():
        weight = name.startswith(PREFIX)
        tensor = None if weight or not _narrow(value) else value.const_value
        if tensor is not None and not np.isfinite(tensor.numpy().astype(np.float32)).all():
            yield f"{name}: a constant is not finite in {_name(value)}"
    last = before_results(graph, caches, lambda value: is_rearrangement(value, _is_stored))
    for node in graph:
        for problem in _types(node, node in last):
            yield f"{node.name or node.op_type}: {problem}"


def _types(node: onnx_ir.Node, last: bool) -> Iterator[str]:
    """Check the rules of 16-bit graphs for one node."""
    operands = node.inputs[: OPERANDS.get(node.op_type, len(node.inputs))]
    floats = [value for value in operands if is_float(value)]
    if node.op_type == "Cast":
        return
    kinds = sorted({_name(value) for value in floats})
    if len(kinds) > 1:
        yield f"{node.op_type}: operands in {' and '.join(kinds)}; TensorRT refuses mixed types"
    narrow = [value for value in (*floats, *node.outputs) if _narrow(value)]
    if narrow and last:
        what = "" if node.op_type in PRODUCTS else f"{node.op_type} after "
        yield f"{what}the last projection: expected float32, got {_name(narrow[0])}"
    elif narrow and node.op_type in WIDE:
        yield f"{node.op_type}: expected float32, got {_name(narrow[0])}"
    if any(node.op_type in REFUSED[kind(value)] for value in narrow):
        yield f"{node.op_type} is in {_name(narrow[0])}; TensorRT cannot build it"


def _narrow(value: onnx_ir.Value) -> bool:
    return value.dtype in {DataType.FLOAT16, DataType.BFLOAT16}


def _is_stored(value: onnx_ir.Value) -> bool:
    """Whether a value is a weight, as stored or converted by a Cast."""
    node = value.producer()
    if node is not None and node.op_type == "Cast" and node.inputs[0] is not None:
        value = node.inputs[0]
    tensor = value.const_value if value.is_initializer() and is_float(value) else None
    return tensor is not None and tensor.size > 1


def _name(value: onnx_ir.Value) -> str:
    return value.dtype.name.lower() if value.dtype is not None else "unknown"


def _problems(node: onnx_ir.Node, form: Form, graph: onnx_ir.Graph) -> Iterator[str]:
    if node.op_type in _RANDOM | {"Multinomial", "Bernoulli"}:
        yield f"{node.op_type}: noise inside a graph is not reproducible; make it an input"
    if form == "onnxruntime":
        if node.domain not in {"", "com.microsoft"}:
            yield f"domain {node.domain!r} is not ONNX Runtime's"
        return
    if node.domain:
        yield f"domain {node.domain!r}: this form has standard operators only"
    match node.op_type:
        case "Attention":
            yield from _attention(node, form)
        case "TensorScatter":
            yield from _tensor_scatter(node, graph)
        case "TopK":
            k = node.inputs[1].const_value if node.inputs[1] is not None else None
            if k is None or int(k.numpy().max()) > _MAX_TOP_K:
                yield f"TopK: TensorRT supports a constant k up to {_MAX_TOP_K}"
        case name if name in _REFUSED:
            yield f"{name}: TensorRT cannot build it{_REFUSED[name]}"


def _attention(node: onnx_ir.Node, form: Form) -> Iterator[str]:
    inputs = list(node.inputs) + [None] * 7
    if inputs[_NONPAD_KV_SEQLEN] is not None:
        yield "Attention: TensorRT ignores nonpad_kv_seqlen without an error, and reads the padding"
    if inputs[4] is not None or inputs[5] is not None or len(node.outputs) > 1:
        yield "Attention: TensorRT refuses past and present; scatter into the cache instead"
    if node.attributes.get_int("is_causal", 0) and _from_cache(inputs[1]):
        yield "Attention: TensorRT aligns is_causal to the upper left, which is wrong over a cache"
    if node.attributes.get_float("softcap", 0.0) or "softmax_precision" in node.attributes:
        yield "Attention: TensorRT refuses softcap and softmax_precision"
    marked = "TRT_decomposable" in node.attributes
    if marked != (form == "tensorrt"):
        yield f"Attention: TRT_decomposable is {'set' if marked else 'missing'} in form {form}"


def _from_cache(key: onnx_ir.Value | None) -> bool:
    producer = key.producer() if key is not None else None
    return producer is not None and producer.op_type == "TensorScatter"


def _tensor_scatter(node: onnx_ir.Node, graph: onnx_ir.Graph) -> Iterator[str]:
    cache = node.inputs[0]
    if cache is None or cache.shape is None or len(cache.shape) != 4:
        yield "TensorScatter: TensorRT appends in place to 4-D caches only"
    elif not isinstance(cache.shape[2], int):
        yield "TensorScatter: expected a cache of fixed length"
    if node.attributes.get_int("axis", -2) != -2:
        yield "TensorScatter: expected axis -2"
    if node.attributes.get_string("mode", "linear") != "linear":
        yield "TensorScatter: TensorRT refuses mode circular"
    if cache not in graph.inputs or node.outputs[0] not in graph.outputs:
        yield "TensorScatter: the cache must go from a graph input to a graph output directly"
