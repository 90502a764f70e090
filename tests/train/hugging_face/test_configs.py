"""config.json is read in the spellings of transformers 4 and 5, or refused with the reason."""

import json
from pathlib import Path

import pytest

from ancestral.errors import CheckpointError
from ancestral.train.hugging_face import load_hugging_face
from ancestral.train.hugging_face.architecture import Network
from ancestral.train.hugging_face.known import KNOWN, read_config
from tests.train.hugging_face.published import (
    GPT2,
    IMAGEGPT,
    LLAMA,
    MISTRAL,
    NETWORKS,
    PATH,
    PYTHIA,
    QWEN2,
    Values,
)


def read(values: Values) -> Network:
    return read_config(PATH, values)[1]


def refusal(values: Values) -> str:
    with pytest.raises(CheckpointError) as refused:
        read(values)
    return str(refused.value)


@pytest.mark.parametrize("name", NETWORKS)
def test_published(name: str) -> None:
    """Every field is exact: log p would not show an epsilon of 1e-6."""
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
    # Some versions write both spellings.
    assert read({**changed, **{name: values[name] for name in old if "theta" in name}})


def test_older_spelling_of_linear() -> None:
    made = read(MISTRAL | {"rope_scaling": {"type": "linear", "factor": 2.0}})
    assert made.config.rotary_scaling == (2.0,)


def test_missing_fields_have_the_defaults_of_transformers() -> None:
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
            "attention_factor: not a parameter",
        ),
        (LLAMA, {"rope_parameters": {"rope_theta": 1.0}}, "rope_scaling: expected the same"),
        (
            MISTRAL,
            {"rope_parameters": {"rope_theta": 20.0}},
            "rope_theta: expected one value",
        ),
        (LLAMA, {"partial_rotary_factor": 0.5}, "partial_rotary_factor: expected 1.0"),
        (LLAMA, {"hidden_act": "gelu"}, "hidden_act: expected 'silu'"),
        (
            LLAMA,
            {"num_key_value_heads": 5},
            "num_key_value_heads: expected a divisor of num_attention_heads = 32",
        ),
        (LLAMA, {"num_key_value_heads": 0}, "num_key_value_heads: expected an integer >= 1"),
        (LLAMA, {"sliding_window": 8}, "sliding_window: expected None, got 8"),
        (
            LLAMA,
            {"num_attention_heads": 33},
            "num_attention_heads: expected a divisor of hidden_size = 4096",
        ),
        (LLAMA, {"head_dim": 7}, "even"),
        (LLAMA, {"rope_theta": -1.0}, "rope_theta: expected a number > 0"),
        (LLAMA, {"vocab_size": "many"}, "vocab_size: expected an integer >= 1, got 'many'"),
        (LLAMA, {"hidden_size": True}, "hidden_size: expected an integer"),
        (LLAMA, {"num_attention_heads": None}, "num_attention_heads: expected an integer"),
        (LLAMA, {"attention_bias": 1}, "attention_bias: expected true or false"),
        (LLAMA, {"quantization_config": {"bits": 4}}, "quantization_config: expected None"),
        (LLAMA, {"logit_scale": 0.5}, "logit_scale: unknown field, value 0.5"),
        (LLAMA, {"is_encoder_decoder": True}, "is_encoder_decoder: expected False"),
        (MISTRAL, {"layer_types": ["full_attention"] * 32}, "layer_types: expected None or"),
        (QWEN2, {"use_mrope": True}, "use_mrope: expected False"),
        (QWEN2, {"layer_types": ["sliding_attention"] * 24}, "without a sliding window"),
        (QWEN2, {"layer_types": ["full_attention"]}, "layer_types: expected a list of 24 of"),
        (
            QWEN2,
            {"layer_types": ["chunked_attention"] * 24},
            "layer_types: expected a list of 24 of",
        ),
        (PYTHIA, {"rotary_pct": 0.3}, "rotary_pct: expected an even number of the 64 features"),
        (PYTHIA, {"rotary_pct": 2.0}, "rotary_pct: expected"),
        (
            PYTHIA,
            {"partial_rotary_factor": 0.5},
            "partial_rotary_factor: expected 0.25, the value of",
        ),
        (
            PYTHIA,
            {"rope_theta": 5e4},
            "rope_theta: expected 10000.0, the value of rotary_emb_base or",
        ),
        (LLAMA, {"num_hidden_layers": 10**9}, "expected an integer >= 1 and <= 10000"),
        (LLAMA, {"rms_norm_eps": 10**400}, "rms_norm_eps: expected a number > 0"),
        (PYTHIA, {"hidden_act": "relu"}, "hidden_act: expected one of"),
        (GPT2, {"add_cross_attention": True}, "add_cross_attention: expected False"),
        (GPT2, {"n_head": 11}, "n_head: expected a divisor of n_embd = 768, got 11"),
        (GPT2, {"layer_norm_epsilon": 0}, "layer_norm_epsilon: expected a number > 0"),
        (GPT2, {"rope_theta": 1.0}, "rope_theta: unknown field"),
        (GPT2, {"n_inner": 0}, "n_inner: expected an integer >= 1"),
        (IMAGEGPT, {"tie_word_embeddings": True}, "tie_word_embeddings: expected False"),
    ],
)
def test_refused(values: Values, changes: Values, words: str) -> None:
    assert words in refusal(values | changes)


def test_every_problem_is_in_one_error() -> None:
    lines = refusal(
        LLAMA | {"hidden_act": "relu", "vocab_size": 0, "x": 1, "rope_scaling": {"type": "su"}}
    ).splitlines()
    assert len(lines) == 6
    assert lines[-1] == "pass --ignore-field x if it does not change what the model computes"
    assert lines[0] == "folder/config.json: this model is not supported:"


@pytest.mark.parametrize("kind", ["gemma2", "mixtral", None, 7, ["gpt2"]])
def test_other_kinds(kind: object) -> None:
    words = "use a model of type gpt2, imagegpt, llama, mistral, qwen2, qwen3, gpt_neox"
    message = refusal({"model_type": kind})
    assert f"model_type {kind!r} is not supported; {words}" in message


def test_code_of_its_own_is_never_run(tmp_path: Path) -> None:
    values = GPT2 | {"auto_map": {"AutoModelForCausalLM": "modeling.Model"}}
    (tmp_path / "config.json").write_text(json.dumps(values))
    (tmp_path / "modeling.py").write_text(f"open({str(tmp_path / 'sprung')!r}, 'w')")
    with pytest.raises(CheckpointError, match="auto_map names Python files of the folder"):
        load_hugging_face(tmp_path)
    assert not (tmp_path / "sprung").exists()
