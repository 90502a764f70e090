"""GPT-2, ImageGPT and GPT-NeoX: LayerNorm, GELU, one map for queries, keys and values.

GPT-2 has learned positions and maps stored [in, out]. ImageGPT is a GPT-2 over the colours of
pixels, with a start token, RMSNorm and another GELU. Its vocabulary is the colours and, last, the
start token, which no position can be: levels are the colours only. Its LayerNorm subtracts no
mean, which is RMSNorm. GPT-NeoX, with Pythia, has q, k and v of each head in turn, partial rotary
positions and parallel parts.

References:
    Radford et al. (2019), Language models are unsupervised multitask learners; Chen et al. (2020),
    Generative pretraining from pixels; Black et al. (2022), GPT-NeoX-20B, arXiv:2204.06745;
    Biderman et al. (2023), Pythia, arXiv:2304.01373.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from ancestral.errors import CheckpointError
from ancestral.train.hugging_face.architecture import Architecture, Network
from ancestral.train.hugging_face.fields import MOST_LAYERS, Fields
from ancestral.train.hugging_face.json_object import read_object
from ancestral.train.hugging_face.rope import read_rope
from ancestral.train.models.transformer_config import Biased, TransformerConfig

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
"""Names in transformers of the functions of a feed-forward part without gates; some are one."""
PREPROCESSOR = "preprocessor_config.json"


def read_gpt2(fields: Fields) -> Network:
    """The fields of a GPT-2."""
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
    """Of a TransformerConfig: what GPT-2 and ImageGPT share, with other defaults."""
    # Reordered and wide attention is other arithmetic for the same numbers.
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
        fields.fail(f"n_head: expected a divisor of n_embd {shape['width']}, got {shape['heads']}")
    return shape


def query_factors(fields: Fields, shape: dict[str, Any]) -> tuple[float, ...]:
    """What each layer's queries are multiplied by, beside 1 / sqrt(head width)."""
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
    # The causal mask, and the number behind it, that older versions stored with the weights.
    ignored=re.compile(r"h\.\d+\.attn\.(bias|masked_bias)"),
    bos=50_256,
    eos=50_256,
)


def read_imagegpt(fields: Fields) -> Network:
    """The fields of an ImageGPT."""
    levels = fields.whole("vocab_size", 513, least=2) - 1
    context = fields.whole("n_positions", 1024)
    shape = read_body(fields, width=512, layers=24, heads=8, activation="quick_gelu")
    # The embedding has a row more than the output map.
    fields.only("tie_word_embeddings", False)
    factors = query_factors(fields, shape)
    fields.finish()
    config = TransformerConfig(**shape, norm="rms", bias=("qkv", "out", "feed"), start="learned")
    side = math.isqrt(context)
    image = (side, side) if side * side == context else None
    return Network(config, levels, context, image=image, query_factors=factors)


def read_palette(folder: Path, levels: int) -> tuple[tuple[int, int, int], ...] | None:
    """The colour of each level, red, green and blue in 0 .. 255; None where the folder has none.

    Raises:
        CheckpointError: the clusters are no colours, or not one a level.
    """
    path = folder / PREPROCESSOR
    if not path.is_file():
        return None
    clusters = read_object(path, "the settings of an image processor").get("clusters")
    if clusters is None:
        return None
    if (
        not isinstance(clusters, list)
        or len(clusters) != levels
        or not all(map(_is_colour, clusters))
    ):
        raise CheckpointError(
            f"{path}: expected the field clusters to be {levels} colours of three numbers in "
            f"-1 .. 1, one a level of config.json; fetch the folder anew"
        )
    return tuple((_byte(red), _byte(green), _byte(blue)) for red, green, blue in clusters)


def _is_colour(value: object) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 3
        and all(type(each) in (int, float) and abs(each) <= 1 for each in value)
    )


def _byte(value: float) -> int:
    """Of a colour in -1 .. 1, as transformers' image processor scales them."""
    return round((value + 1) * 127.5)


IMAGEGPT = replace(GPT2, read=read_imagegpt, bos=None, eos=None)
"""Its start token is the last row of the embedding."""


def read_gpt_neox(fields: Fields) -> Network:
    """The fields of a GPT-NeoX."""
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
        fields.fail(f"num_attention_heads: expected a divisor of {width}, got {heads}")
    rotated = int(width // heads * part)
    if rotated % 2 or not 0 < part <= 1:
        fields.fail(
            f"rotary_pct: expected an even number of the {width // heads} features of a head, "
            f"got {part}, which is {rotated}"
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
