"""GPT-NeoX and Pythia: q, k and v stored by head, partial rotary positions, parallel parts.

References:
    Black et al. (2022), GPT-NeoX-20B, arXiv:2204.06745; Biderman et al. (2023), Pythia,
    arXiv:2304.01373.
"""

import re
from typing import Any

from ancestral.train.hugging_face.architecture import Architecture, Network
from ancestral.train.hugging_face.fields import MOST_LAYERS, Fields
from ancestral.train.hugging_face.gpt2 import ACTIVATIONS
from ancestral.train.hugging_face.rope import read_rope
from ancestral.train.models.transformer_config import Biased, TransformerConfig


def read_gpt_neox(fields: Fields) -> Network:
    """Read the fields of a GPT-NeoX."""
    fields.ignore("attention_dropout", "hidden_dropout")
    fields.ignore("attention_probs_dropout_prob", "hidden_dropout_prob")
    levels = fields.whole("vocab_size", 50_432)
    context = fields.whole("max_position_embeddings", 2048)
    shape: dict[str, Any] = {
        "width": fields.whole("hidden_size", 6144),
        "layers": fields.whole("num_hidden_layers", 44, most=MOST_LAYERS),
        "heads": fields.whole("num_attention_heads", 64),
        "hidden": fields.whole("intermediate_size", 24_576),
        "activation": fields.choice("hidden_act", "gelu", ACTIVATIONS),
        "norm_epsilon": fields.number("layer_norm_eps", 1e-5),
        "parallel": fields.flag("use_parallel_residual", True),
        "tied": fields.flag("tie_word_embeddings", False),
    }
    width, heads = shape["width"], shape["heads"]
    attention: tuple[Biased, ...] = ("qkv", "out") if fields.flag("attention_bias", True) else ()
    rotary, part = read_rope(fields, ("rotary_emb_base", "rotary_pct"), 0.25)
    if width % heads:
        fields.fail(
            f"num_attention_heads: expected a divisor of hidden_size = {width}, got {heads}"
        )
    rotated = int(width // heads * part)
    if rotated % 2 or not 0 < part <= 1:
        fields.fail(
            f"rotary_pct: expected an even number of the {width // heads} features of a head, got "
            f"{part}, which gives {rotated}"
        )
    fields.finish()
    config = TransformerConfig(
        **shape,
        **rotary,
        rotary_width=rotated,
        bias=(*attention, "feed", "norm"),
        start=None,
    )
    return Network(config, levels, context)


GPT_NEOX = Architecture(
    read=read_gpt_neox,
    embedding="embed_in",
    norm="final_layer_norm",
    layer="layers",
    attention_norm="input_layernorm",
    qkv=("attention.query_key_value",),
    out="attention.dense",
    feed_norm="post_attention_layernorm",
    up=("mlp.dense_h_to_4h",),
    down="mlp.dense_4h_to_h",
    by_head=True,
    prefix="gpt_neox.",
    ignored=re.compile(r"layers\.\d+\.attention\.(bias|masked_bias|rotary_emb\.inv_freq)"),
    heads=("embed_out.weight", "lm_head.weight"),
    bos=0,
    eos=2,
)
