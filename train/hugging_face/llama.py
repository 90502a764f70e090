"""Llama 2 and 3, Mistral, Qwen2 and Qwen3: rotary positions, RMSNorm, SwiGLU, grouped queries.

References:
    Touvron et al. (2023), arXiv:2307.09288 (Llama 2); Dubey et al. (2024), arXiv:2407.21783 (Llama
    3); Jiang et al. (2023), arXiv:2310.06825 (Mistral); Yang et al. (2024), arXiv:2407.10671
    (Qwen2); Yang et al. (2025), arXiv:2505.09388 (Qwen3).
"""

import re
from typing import Any, Literal

from ancestral.arrays import shown
from ancestral.train.hugging_face.architecture import Architecture, Network
from ancestral.train.hugging_face.fields import MOST_LAYERS, Fields
from ancestral.train.hugging_face.rope import read_rope
from ancestral.train.models.transformer_config import Biased, TransformerConfig

Kind = Literal["llama", "mistral", "qwen2", "qwen3"]
_DEFAULTS: dict[Kind, dict[str, int]] = {
    "llama": {"vocab": 32_000, "inner": 11_008, "context": 2048},
    "mistral": {"vocab": 32_000, "inner": 14_336, "context": 131_072, "groups": 8},
    "qwen2": {"vocab": 151_936, "inner": 22_016, "context": 32_768, "groups": 32},
    "qwen3": {"vocab": 151_936, "inner": 22_016, "context": 32_768, "groups": 32, "head": 128},
}
"""Defaults of transformers for fields that config.json leaves out."""
_STARTED = ("llama", "mistral")
"""Kinds whose start and end tokens are 1 and 2 if config.json has none."""
_SLIDING, _FULL = "sliding_attention", "full_attention"


def llama_like(kind: Kind) -> Architecture:
    """Return the architecture of Llama, or of a kind that differs from it in a few places."""
    return Architecture(
        read=lambda fields: _read(fields, kind),
        embedding="embed_tokens",
        norm="norm",
        layer="layers",
        attention_norm="input_layernorm",
        qkv=("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
        out="self_attn.o_proj",
        feed_norm="post_attention_layernorm",
        up=("mlp.gate_proj", "mlp.up_proj"),
        down="mlp.down_proj",
        head_norms=("self_attn.q_norm", "self_attn.k_norm"),
        prefix="model.",
        ignored=re.compile(r"(layers\.\d+\.self_attn\.)?rotary_emb\.inv_freq"),
        bos=1 if kind in _STARTED else None,
        eos=2 if kind in _STARTED else None,
    )


def _read(fields: Fields, kind: Kind) -> Network:
    """Read the fields of a Llama-like model."""
    fields.ignore("attention_dropout", "max_sequence_length")
    fields.only("hidden_act", "silu", "swish")
    defaults = _DEFAULTS[kind]
    levels = fields.whole("vocab_size", defaults["vocab"])
    context = fields.whole("max_position_embeddings", defaults["context"])
    shape = _shape(fields, defaults)
    biased = _biased(fields, kind)
    rotary, part = read_rope(fields)
    if part != 1.0:
        fields.fail(f"partial_rotary_factor: expected 1.0 for {kind}, got {part}")
    window, windowed = None, None
    if kind == "mistral":
        # All layers have the window, or none; layer_types, if stored, must agree.
        window = fields.whole_or_none("sliding_window", 4096)
        kinds = _FULL if window is None else _SLIDING
        fields.only("layer_types", None, [kinds] * shape["layers"])
    elif kind == "llama":
        fields.only("sliding_window", None)
        fields.only("layer_types", None, [_FULL] * shape["layers"])
    else:
        fields.only("use_mrope", False)
        window, windowed = _layer_windows(fields, shape["layers"])
    fields.finish()
    config = TransformerConfig(
        **shape,
        **rotary,
        window=window,
        windowed=windowed,
        norm="rms",
        activation="swiglu",
        bias=biased,
        head_norms=kind == "qwen3",
        start=None,
    )
    return Network(config, levels, context)


def _shape(fields: Fields, defaults: dict[str, int]) -> dict[str, Any]:
    """Read the sizes of a TransformerConfig."""
    shape: dict[str, Any] = {
        "width": fields.whole("hidden_size", 4096),
        "layers": fields.whole("num_hidden_layers", 32, most=MOST_LAYERS),
        "heads": fields.whole("num_attention_heads", 32),
        "kv_heads": fields.whole_or_none("num_key_value_heads", defaults.get("groups")),
        "head_width": fields.whole_or_none("head_dim", defaults.get("head")),
        "hidden": fields.whole("intermediate_size", defaults["inner"]),
        "norm_epsilon": fields.number("rms_norm_eps", 1e-6),
        "tied": fields.flag("tie_word_embeddings", False),
    }
    width, heads = shape["width"], shape["heads"]
    if shape["head_width"] is None:
        if width % heads:
            fields.fail(
                f"num_attention_heads: expected a divisor of hidden_size = {width}, got {heads}"
            )
        shape["head_width"] = max(width // heads, 1)
    groups = shape["kv_heads"]
    if groups and heads % groups:
        fields.fail(
            f"num_key_value_heads: expected a divisor of num_attention_heads = {heads}, got "
            f"{groups}"
        )
    return shape


def _biased(fields: Fields, kind: Kind) -> tuple[Biased, ...]:
    """Return which maps have a bias."""
    if kind == "qwen2":
        return ("qkv",)
    if kind == "mistral":
        return ()
    biased: tuple[Biased, ...] = ("qkv", "out") if fields.flag("attention_bias", False) else ()
    if kind == "llama" and fields.flag("mlp_bias", False):
        return (*biased, "feed")
    return biased


def _layer_windows(fields: Fields, layers: int) -> tuple[int | None, tuple[int, ...] | None]:
    """Return the window of a Qwen model, and the layers that have it.

    With use_sliding_window these are the layers from max_window_layers on, or those that
    layer_types names.
    """
    used = fields.flag("use_sliding_window", False)
    size = fields.whole_or_none("sliding_window", 4096)
    first = fields.whole("max_window_layers", 28, least=0)
    window = size if used else None
    windowed = tuple(range(min(first, layers), layers)) if window is not None else ()
    types = fields.raw("layer_types")
    if types is not None:
        if (
            not isinstance(types, list)
            or len(types) != layers
            or not all(each in (_SLIDING, _FULL) for each in types)
        ):
            fields.fail(
                f"layer_types: expected a list of {layers} of {[_FULL, _SLIDING]}, got "
                f"{shown(types)}"
            )
            return None, None
        windowed = tuple(layer for layer, kind in enumerate(types) if kind == _SLIDING)
    if not windowed:
        return None, None
    if window is None:
        fields.fail(
            f"layer_types: expected no {_SLIDING!r} without a sliding window, got {shown(types)}"
        )
        return None, None
    return window, None if len(windowed) == layers else windowed
