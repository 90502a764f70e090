"""A GPT-2 in the form in which onnxruntime-genai's model builder writes a Llama.

The graph is the one of our baseline (`benchmarks/plain_graph.py`): attention appends to the caches
in place and only the last logits are computed. `python -m benchmarks.peers.genai_graph W1` writes
it where the runner looks for it. Its inputs get the names and shapes that
onnxruntime-genai feeds: lengths come from the attention mask.
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

import onnx
from onnx import TensorProto, helper

from benchmarks.peers.worker import UNUSED
from benchmarks.peers.workloads import WORKLOADS, Workload, folder, weights

_MODEL = "model.onnx"


def write_genai_graph(work: Workload, out: Path) -> None:
    """Write the graph and its genai_config.json into a new folder."""
    from ancestral.train.models.transformer import Transformer
    from ancestral.train.open_checkpoint import open_checkpoint
    from benchmarks.plain_graph import export_plain

    made = open_checkpoint(weights(work)).model
    assert isinstance(made, Transformer)
    export_plain(made.eval(), out / _MODEL)
    # Only the graph is read and written again; the weights stay in their file.
    proto = onnx.load(out / _MODEL, load_external_data=False)
    adapt(proto.graph)
    onnx.save(proto, out / _MODEL)
    (out / "genai_config.json").write_text(json.dumps(genai_config(work), indent=2) + "\n")


def adapt(graph: Any) -> None:
    """Rename inputs and outputs of a graph of `export_plain`, and compute the lengths in it."""
    names = {"tokens": "input_ids", "slots": "position_ids", "logits": "last_logits"}
    for each in graph.input[4:]:
        part, layer = each.name.split("_")
        kind = {"k": "key", "v": "value"}[part]
        names[each.name] = f"past_key_values.{layer}.{kind}"
        names[f"{each.name}_next"] = f"present.{layer}.{kind}"
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
    caches = [*graph.input[4:], *graph.output[1:]]
    for each in caches:
        each.name = names[each.name]
        each.type.tensor_type.shape.dim[2].Clear()
        each.type.tensor_type.shape.dim[2].dim_param = "slots"
    levels = graph.output[0].type.tensor_type.shape.dim[1].dim_value
    integer, real = TensorProto.INT64, TensorProto.FLOAT
    inputs = [
        helper.make_tensor_value_info(name, integer, ["b", width])
        for name, width in (("input_ids", "s"), ("position_ids", "s"), ("attention_mask", "t"))
    ]
    outputs = [helper.make_tensor_value_info("logits", real, ["b", 1, levels])]
    for field, kept in (
        (graph.input, inputs + caches[: len(caches) // 2]),
        (graph.output, outputs + caches[len(caches) // 2 :]),
    ):
        kept = [onnx.ValueInfoProto.FromString(each.SerializeToString()) for each in kept]
        del field[:]
        field.extend(kept)
    constants = {"genai_one": [1]}
    graph.initializer.extend(
        helper.make_tensor(name, integer, [len(value)], value) for name, value in constants.items()
    )
    lengths = [
        helper.make_node("ReduceSum", ["attention_mask", "genai_one"], ["genai_sum"], keepdims=0),
        helper.make_node("Sub", ["genai_sum", "genai_one"], ["genai_last"]),
        helper.make_node("Cast", ["genai_last"], ["seqlens"], to=TensorProto.INT32),
        helper.make_node("Shape", ["attention_mask"], ["genai_columns"], start=1, end=2),
        helper.make_node("Squeeze", ["genai_columns"], ["genai_total"]),
        helper.make_node("Cast", ["genai_total"], ["total"], to=TensorProto.INT32),
    ]
    nodes = [*lengths, *graph.node]
    nodes.append(helper.make_node("Unsqueeze", ["last_logits", "genai_one"], ["logits"]))
    del graph.node[:]
    graph.node.extend(nodes)
    shapes = [each for each in graph.value_info if not re.match("logits|seqlens|total", each.name)]
    del graph.value_info[:]
    graph.value_info.extend(shapes)


def genai_config(work: Workload) -> dict[str, Any]:
    """Return the fields of genai_config.json."""
    decoder = {
        "session_options": {"log_id": "onnxruntime-genai", "provider_options": []},
        "filename": _MODEL,
        "head_size": work.width // work.heads,
        "hidden_size": work.width,
        "inputs": {
            "input_ids": "input_ids",
            "attention_mask": "attention_mask",
            "position_ids": "position_ids",
            "past_key_names": "past_key_values.%d.key",
            "past_value_names": "past_key_values.%d.value",
        },
        "outputs": {
            "logits": "logits",
            "present_key_names": "present.%d.key",
            "present_value_names": "present.%d.value",
        },
        "num_attention_heads": work.heads,
        "num_hidden_layers": work.layers,
        "num_key_value_heads": work.key_heads,
    }
    return {
        "model": {
            "bos_token_id": work.start,
            "context_length": work.length + 1,
            "decoder": decoder,
            "eos_token_id": UNUSED,
            "pad_token_id": UNUSED,
            "type": "llama",
            "vocab_size": work.levels,
        },
        "search": {"past_present_share_buffer": True, "max_length": work.length + 1},
    }


if __name__ == "__main__":
    chosen = WORKLOADS[sys.argv[1]]
    write_genai_graph(chosen, folder(chosen) / "genai-graph")
