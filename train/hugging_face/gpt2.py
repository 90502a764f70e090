"""GPT-2 and ImageGPT: learned positions, maps stored [in, out], one map for q, k and v.

ImageGPT is a GPT-2 over the colours of pixels, with a start token, RMSNorm and another GELU. Its
vocabulary is the colours and, last, the start token, which no position can be: levels are the
colours only. Its LayerNorm subtracts no mean, which is RMSNorm.

References:
    Radford et al. (2019), Language models are unsupervised multitask learners; Chen et al. (2020),
    Generative pretraining from pixels.
"""

import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from ancestral.errors import CheckpointError
from ancestral.train.hugging_face.architecture import ACTIVATIONS, Architecture, Network
from ancestral.train.hugging_face.fields import MOST_LAYERS, Fields
from ancestral.train.hugging_face.json_object import read_object
from ancestral.train.models.transformer_config import TransformerConfig


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


PREPROCESSOR = "preprocessor_config.json"


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
