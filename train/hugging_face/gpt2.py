"""GPT-2: learned positions, LayerNorm, maps stored [in, out], one map for q, k and v.

References:
    Radford et al. (2019), Language models are unsupervised multitask learners.
"""

import re
from collections.abc import Mapping
from typing import Any, Literal

from ancestral.train.hugging_face.architecture import Architecture, Network
from ancestral.train.hugging_face.fields import MOST_LAYERS, Fields
from ancestral.train.models.transformer_config import TransformerConfig

Activation = Literal["gelu", "gelu_tanh", "gelu_quick"]
ACTIVATIONS: Mapping[str, Activation] = {
    "gelu": "gelu",
    "gelu_python": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_python_tanh": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu_accurate": "gelu_tanh",
    "quick_gelu": "gelu_quick",
}
"""Feed-forward activations without gates, by transformers' names; some names mean the same."""


def read_gpt2(fields: Fields) -> Network:
    """Read the fields of a GPT-2."""
    fields.ignore("summary_type", "summary_use_proj", "summary_activation", "n_ctx")
    fields.ignore("summary_first_dropout", "summary_proj_to_labels")
    levels = fields.whole("vocab_size", 50_257)
    context = fields.whole("n_positions", 1024)
    shape = read_body(fields, width=768, layers=12, heads=12, activation="gelu_new")
    tied = fields.flag("tie_word_embeddings", True)
    factors = query_factors(fields, shape)
    fields.finish()
    config = TransformerConfig(**shape, bias=("qkv", "out", "feed", "norm"), tied=tied, start=None)
    return Network(config, levels, context, query_factors=factors)


def read_body(
    fields: Fields, *, width: int, layers: int, heads: int, activation: str
) -> dict[str, Any]:
    """Read the fields that GPT-2 and ImageGPT share, with the defaults of one of them."""
    # `reorder_and_upcast_attn` changes only the arithmetic, not the function.
    fields.ignore("reorder_and_upcast_attn", "resid_pdrop", "embd_pdrop", "attn_pdrop")
    shape: dict[str, Any] = {
        "width": fields.whole("n_embd", width),
        "layers": fields.whole("n_layer", layers, most=MOST_LAYERS),
        "heads": fields.whole("n_head", heads),
        "hidden": fields.whole_or_none("n_inner"),
        "activation": fields.choice("activation_function", activation, ACTIVATIONS),
        "norm_epsilon": fields.number("layer_norm_epsilon", 1e-5),
    }
    if shape["width"] % shape["heads"]:
        fields.fail(
            f"n_head: expected a divisor of n_embd = {shape['width']}, got {shape['heads']}"
        )
    return shape


def query_factors(fields: Fields, shape: dict[str, Any]) -> tuple[float, ...]:
    """Return the factor of each layer's queries, in addition to 1 / sqrt(head width)."""
    scaled = fields.flag("scale_attn_weights", True)
    by_layer = fields.flag("scale_attn_by_inverse_layer_idx", False)
    if scaled and not by_layer:
        return ()
    factor = 1.0 if scaled else (shape["width"] // shape["heads"]) ** 0.5
    return tuple(factor / (layer + 1 if by_layer else 1) for layer in range(shape["layers"]))


GPT2 = Architecture(
    read=read_gpt2,
    embedding="wte",
    position="wpe",
    norm="ln_f",
    layer="h",
    attention_norm="ln_1",
    qkv=("attn.c_attn",),
    out="attn.c_proj",
    feed_norm="ln_2",
    up=("mlp.c_fc",),
    down="mlp.c_proj",
    transposed=False,
    prefix="transformer.",
    # The causal mask and its fill value, which older versions stored with the weights.
    ignored=re.compile(r"h\.\d+\.attn\.(bias|masked_bias)"),
    bos=50_256,
    eos=50_256,
)
