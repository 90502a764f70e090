"""What a config.json says, in the spellings of transformers 4 and 5, or why it is refused."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ancestral.errors import CheckpointError
from ancestral.train.hugging_face import is_hugging_face, load_hugging_face
from ancestral.train.hugging_face.architecture import Network
from ancestral.train.hugging_face.known import KNOWN, find, network_of
from ancestral.train.models.transformer_config import TransformerConfig

Values = dict[str, Any]
PATH = Path("folder/config.json")
_RMS = TransformerConfig(
    positions="rotary", norm="rms", norm_epsilon=1e-6, activation="swiglu", bias=(), start=None
)
# As published checkpoints have them, by transformers 4; what no field of ours follows is shortened.
LLAMA: Values = {
    "architectures": ["LlamaForCausalLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "bos_token_id": 128_000,
    "eos_token_id": [128_001, 128_008, 128_009],
    "hidden_act": "silu",
    "hidden_size": 4096,
    "initializer_range": 0.02,
    "intermediate_size": 14_336,
    "max_position_embeddings": 131_072,
    "mlp_bias": False,
    "model_type": "llama",
    "num_attention_heads": 32,
    "num_hidden_layers": 32,
    "num_key_value_heads": 8,
    "pretraining_tp": 1,
    "rms_norm_eps": 1e-05,
    "rope_scaling": {
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
        "rope_type": "llama3",
    },
    "rope_theta": 500_000.0,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.43.0.dev0",
    "use_cache": True,
    "vocab_size": 128_256,
}
MISTRAL: Values = {
    "model_type": "mistral",
    "hidden_act": "silu",
    "hidden_size": 4096,
    "intermediate_size": 14_336,
    "max_position_embeddings": 32_768,
    "num_attention_heads": 32,
    "num_hidden_layers": 32,
    "num_key_value_heads": 8,
    "rms_norm_eps": 1e-05,
    "rope_theta": 10_000.0,
    "sliding_window": 4096,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "vocab_size": 32_000,
}
QWEN2: Values = {
    "model_type": "qwen2",
    "attention_dropout": 0.0,
    "bos_token_id": 151_643,
    "hidden_act": "silu",
    "hidden_size": 896,
    "intermediate_size": 4864,
    "max_position_embeddings": 32_768,
    "max_window_layers": 24,
    "num_attention_heads": 14,
    "num_hidden_layers": 24,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-06,
    "rope_theta": 1_000_000.0,
    "sliding_window": 32_768,
    "tie_word_embeddings": True,
    "use_mrope": False,
    "use_sliding_window": False,
    "vocab_size": 151_936,
}
QWEN3: Values = {
    "model_type": "qwen3",
    "attention_bias": False,
    "head_dim": 128,
    "hidden_act": "silu",
    "hidden_size": 1024,
    "intermediate_size": 3072,
    "max_position_embeddings": 40_960,
    "max_window_layers": 28,
    "num_attention_heads": 16,
    "num_hidden_layers": 28,
    "num_key_value_heads": 8,
    "rms_norm_eps": 1e-06,
    "rope_scaling": None,
    "rope_theta": 1_000_000,
    "sliding_window": None,
    "tie_word_embeddings": True,
    "use_sliding_window": False,
    "vocab_size": 151_936,
}
PYTHIA: Values = {
    "model_type": "gpt_neox",
    "bos_token_id": 0,
    "eos_token_id": 0,
    "hidden_act": "gelu",
    "hidden_size": 512,
    "intermediate_size": 2048,
    "layer_norm_eps": 1e-05,
    "max_position_embeddings": 2048,
    "num_attention_heads": 8,
    "num_hidden_layers": 6,
    "rotary_emb_base": 10_000,
    "rotary_pct": 0.25,
    "tie_word_embeddings": False,
    "use_parallel_residual": True,
    "vocab_size": 50_304,
}
GPT2: Values = {
    "activation_function": "gelu_new",
    "architectures": ["GPT2LMHeadModel"],
    "attn_pdrop": 0.1,
    "bos_token_id": 50_256,
    "embd_pdrop": 0.1,
    "eos_token_id": 50_256,
    "initializer_range": 0.02,
    "layer_norm_epsilon": 1e-05,
    "model_type": "gpt2",
    "n_ctx": 1024,
    "n_embd": 768,
    "n_head": 12,
    "n_layer": 12,
    "n_positions": 1024,
    "resid_pdrop": 0.1,
    "summary_activation": None,
    "summary_first_dropout": 0.1,
    "summary_proj_to_labels": True,
    "summary_type": "cls_index",
    "summary_use_proj": True,
    "task_specific_params": {"text-generation": {"do_sample": True, "max_length": 50}},
    "vocab_size": 50_257,
}
IMAGEGPT: Values = {
    "activation_function": "quick_gelu",
    "layer_norm_epsilon": 1e-05,
    "model_type": "imagegpt",
    "n_embd": 512,
    "n_head": 8,
    "n_inner": 2048,
    "n_layer": 24,
    "n_positions": 1024,
    "reorder_and_upcast_attn": False,
    "scale_attn_by_inverse_layer_idx": False,
    "scale_attn_weights": True,
    "tie_word_embeddings": False,
    "use_cache": True,
    "vocab_size": 513,
}
_LARGE = replace(_RMS, width=4096, layers=32, heads=32, kv_heads=8, head_width=128, hidden=14_336)
NETWORKS: dict[str, tuple[Values, Network]] = {
    "Llama 3.1 8B": (
        LLAMA,
        Network(
            replace(
                _LARGE,
                norm_epsilon=1e-5,
                rotary_base=500_000.0,
                rotary_scaling=(8.0, 1.0, 4.0, 8192.0),
            ),
            levels=128_256,
            context=131_072,
        ),
    ),
    "Mistral 7B": (
        MISTRAL,
        Network(replace(_LARGE, norm_epsilon=1e-5, window=4096), levels=32_000, context=32_768),
    ),
    "Qwen2.5 0.5B": (
        QWEN2,
        Network(
            replace(
                _RMS,
                width=896,
                layers=24,
                heads=14,
                kv_heads=2,
                head_width=64,
                hidden=4864,
                rotary_base=1e6,
                bias=("qkv",),
                tied=True,
            ),
            levels=151_936,
            context=32_768,
        ),
    ),
    "Qwen3 0.6B": (
        QWEN3,
        Network(
            replace(
                _RMS,
                width=1024,
                layers=28,
                heads=16,
                kv_heads=8,
                head_width=128,
                hidden=3072,
                rotary_base=1e6,
                head_norms=True,
                tied=True,
            ),
            levels=151_936,
            context=40_960,
        ),
    ),
    "Pythia 70M": (
        PYTHIA,
        Network(
            TransformerConfig(
                width=512,
                layers=6,
                heads=8,
                hidden=2048,
                positions="rotary",
                rotary_width=16,
                norm_epsilon=1e-5,
                bias=("qkv", "out", "feed", "norm"),
                parallel=True,
                start=None,
            ),
            levels=50_304,
            context=2048,
        ),
    ),
    "GPT-2": (
        GPT2,
        Network(
            TransformerConfig(
                width=768,
                layers=12,
                heads=12,
                norm_epsilon=1e-5,
                activation="gelu_tanh",
                bias=("qkv", "out", "feed", "norm"),
                tied=True,
                start=None,
            ),
            levels=50_257,
            context=1024,
        ),
    ),
    "ImageGPT small": (
        IMAGEGPT,
        Network(
            TransformerConfig(
                width=512,
                layers=24,
                heads=8,
                hidden=2048,
                norm="rms",
                norm_epsilon=1e-5,
                activation="gelu_quick",
                bias=("qkv", "out", "feed"),
                start="learned",
            ),
            levels=512,
            context=1024,
            image=(32, 32),
        ),
    ),
}


def read(values: Values) -> Network:
    return network_of(PATH, values, find(PATH, values))


def refusal(values: Values) -> str:
    with pytest.raises(CheckpointError) as refused:
        read(values)
    return str(refused.value)


@pytest.mark.parametrize("name", NETWORKS)
def test_published(name: str) -> None:
    """Every field of ours, exactly: an epsilon of 1e-6 moves log p too little to be seen there."""
    values, expected = NETWORKS[name]
    assert read(values) == expected


def test_all_kinds_are_published() -> None:
    assert {values["model_type"] for values, _ in NETWORKS.values()} == set(KNOWN)


@pytest.mark.parametrize(
    ("values", "old", "new"),
    [
        (LLAMA, ("rope_scaling", "rope_theta"), {**LLAMA["rope_scaling"], "rope_theta": 500_000.0}),
        (MISTRAL, ("rope_theta",), {"rope_type": "default", "rope_theta": 10_000.0}),
        (
            PYTHIA,
            ("rotary_pct", "rotary_emb_base"),
            {"rope_theta": 10_000, "partial_rotary_factor": 0.25, "rope_type": "default"},
        ),
    ],
    ids=["llama", "mistral", "gpt_neox"],
)
def test_spelling_of_version_5(values: Values, old: tuple[str, ...], new: Values) -> None:
    changed = {name: value for name, value in values.items() if name not in old}
    changed = {**changed, "rope_parameters": new, "dtype": "bfloat16"}
    assert read(changed) == read(values)
    # Both, as some versions write them.
    assert read({**changed, **{name: values[name] for name in old if "theta" in name}})


def test_older_spelling_of_linear() -> None:
    made = read(MISTRAL | {"rope_scaling": {"type": "linear", "factor": 2.0}})
    assert made.config.rotary_scaling == (2.0,)


def test_what_is_left_out_has_the_default_of_transformers() -> None:
    left = {name: value for name, value in PYTHIA.items() if "rotary" not in name}
    assert read(left) == read(PYTHIA)
    plain = read({"model_type": "mistral"})
    assert (plain.config.kv_heads, plain.config.window) == (8, 4096)
    assert read({"model_type": "gpt2"}) == read(GPT2)


@pytest.mark.parametrize(
    ("changes", "window", "windowed"),
    [
        ({"use_sliding_window": True, "sliding_window": 64}, None, None),
        ({"use_sliding_window": True, "max_window_layers": 0}, 32_768, None),
        ({"use_sliding_window": True, "max_window_layers": 22}, 32_768, (22, 23)),
        ({"max_window_layers": 22}, None, None),
        (
            {
                "use_sliding_window": True,
                "layer_types": ["full_attention", "sliding_attention"] * 12,
            },
            32_768,
            tuple(range(1, 24, 2)),
        ),
        ({"layer_types": ["full_attention"] * 24}, None, None),
    ],
)
def test_windows_of_layers(
    changes: Values, window: int | None, windowed: tuple[int, ...] | None
) -> None:
    config = read(QWEN2 | changes).config
    assert (config.window, config.windowed) == (window, windowed)


@pytest.mark.parametrize(
    ("values", "changes", "words"),
    [
        (LLAMA, {"rope_scaling": {"rope_type": "yarn", "factor": 4.0}}, "got 'yarn'"),
        (LLAMA, {"rope_scaling": {"type": "dynamic", "factor": 4.0}}, "got 'dynamic'"),
        (LLAMA, {"rope_scaling": {"rope_type": "linear"}}, "factor: expected a number > 0"),
        (LLAMA, {"rope_scaling": "linear"}, "rope_scaling: expected an object"),
        (
            LLAMA,
            {"rope_scaling": LLAMA["rope_scaling"] | {"low_freq_factor": 4.0}},
            "high_freq_factor: expected more than low_freq_factor",
        ),
        (
            LLAMA,
            {"rope_scaling": LLAMA["rope_scaling"] | {"attention_factor": 2.0}},
            "attention_factor: no parameter",
        ),
        (LLAMA, {"rope_parameters": {"rope_theta": 1.0}}, "rope_scaling: expected what"),
        (
            MISTRAL,
            {"rope_parameters": {"rope_theta": 20.0}},
            "rope_theta: expected one value",
        ),
        (LLAMA, {"partial_rotary_factor": 0.5}, "partial_rotary_factor: expected 1.0"),
        (LLAMA, {"hidden_act": "gelu"}, "hidden_act: expected 'silu'"),
        (LLAMA, {"num_key_value_heads": 5}, "num_key_value_heads: expected a divisor of 32"),
        (LLAMA, {"sliding_window": 8}, "sliding_window: expected None, got 8"),
        (LLAMA, {"num_attention_heads": 33}, "num_attention_heads: expected a divisor of 4096"),
        (LLAMA, {"head_dim": 7}, "even"),
        (LLAMA, {"rope_theta": -1.0}, "rope_theta: expected a number > 0"),
        (LLAMA, {"vocab_size": "many"}, "vocab_size: expected a whole number >= 1, got 'many'"),
        (LLAMA, {"hidden_size": True}, "hidden_size: expected a whole number"),
        (LLAMA, {"num_attention_heads": None}, "num_attention_heads: expected a whole number"),
        (LLAMA, {"attention_bias": 1}, "attention_bias: expected true or false"),
        (LLAMA, {"quantization_config": {"bits": 4}}, "quantization_config: expected None"),
        (LLAMA, {"logit_scale": 0.5}, "logit_scale: an unknown field, with the value 0.5"),
        (LLAMA, {"is_encoder_decoder": True}, "is_encoder_decoder: expected False"),
        (MISTRAL, {"layer_types": ["full_attention"] * 32}, "layer_types: expected None or"),
        (QWEN2, {"use_mrope": True}, "use_mrope: expected False"),
        (QWEN2, {"layer_types": ["sliding_attention"] * 24}, "without a sliding window"),
        (QWEN2, {"layer_types": ["full_attention"]}, "layer_types: expected 24 of"),
        (QWEN2, {"layer_types": ["chunked_attention"] * 24}, "layer_types: expected 24 of"),
        (PYTHIA, {"rotary_pct": 0.3}, "rotary_pct: expected an even number of the 64 features"),
        (PYTHIA, {"rotary_pct": 2.0}, "rotary_pct: expected"),
        (PYTHIA, {"partial_rotary_factor": 0.5}, "partial_rotary_factor: expected 0.25, as rotary"),
        (PYTHIA, {"rope_theta": 5e4}, "rope_theta: expected 10000.0, as rotary_emb_base or its"),
        (LLAMA, {"num_hidden_layers": 10**9}, "expected a whole number >= 1 and <= 10000"),
        (LLAMA, {"rms_norm_eps": 10**400}, "rms_norm_eps: expected a number > 0"),
        (PYTHIA, {"hidden_act": "relu"}, "hidden_act: expected one of"),
        (GPT2, {"add_cross_attention": True}, "add_cross_attention: expected False"),
        (GPT2, {"n_head": 11}, "n_head: expected a divisor of n_embd 768, got 11"),
        (GPT2, {"layer_norm_epsilon": 0}, "layer_norm_epsilon: expected a number > 0"),
        (GPT2, {"rope_theta": 1.0}, "rope_theta: an unknown field"),
        (GPT2, {"n_inner": 0}, "n_inner: expected a whole number >= 1"),
        (IMAGEGPT, {"tie_word_embeddings": True}, "tie_word_embeddings: expected False"),
    ],
)
def test_refused(values: Values, changes: Values, words: str) -> None:
    assert words in refusal(values | changes)


def test_everything_is_told_at_once() -> None:
    lines = refusal(
        LLAMA | {"hidden_act": "relu", "vocab_size": 0, "x": 1, "rope_scaling": {"type": "su"}}
    ).splitlines()
    assert len(lines) == 5
    assert lines[0] == "folder/config.json: not a model that can be read:"


@pytest.mark.parametrize("kind", ["gemma2", "mixtral", None, 7, ["gpt2"]])
def test_other_kinds(kind: object) -> None:
    words = "those that can: gpt2, imagegpt, llama, mistral, qwen2, qwen3, gpt_neox"
    message = refusal({"model_type": kind})
    assert f"model_type {kind!r} cannot be read; {words}" in message


def test_code_of_its_own_is_never_run(tmp_path: Path) -> None:
    values = GPT2 | {"auto_map": {"AutoModelForCausalLM": "modeling.Model"}}
    (tmp_path / "config.json").write_text(json.dumps(values))
    (tmp_path / "modeling.py").write_text(f"open({str(tmp_path / 'sprung')!r}, 'w')")
    with pytest.raises(CheckpointError, match="auto_map, which names Python files of the folder"):
        load_hugging_face(tmp_path)
    assert not (tmp_path / "sprung").exists()


def test_is_hugging_face(tmp_path: Path) -> None:
    assert not is_hugging_face(tmp_path)
    (tmp_path / "config.json").write_text("{")
    assert not is_hugging_face(tmp_path)
    (tmp_path / "config.json").write_text('{"format": "ancestral checkpoint"}')
    assert not is_hugging_face(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    assert is_hugging_face(str(tmp_path))
