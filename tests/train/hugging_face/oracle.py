"""Small models of transformers, the oracle: wide weights, folders, and log-probabilities."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from transformers import PreTrainedModel

KINDS = {
    "gpt2": ("GPT2Config", "GPT2LMHeadModel"),
    "imagegpt": ("ImageGPTConfig", "ImageGPTForCausalImageModeling"),
    "llama": ("LlamaConfig", "LlamaForCausalLM"),
    "mistral": ("MistralConfig", "MistralForCausalLM"),
    "qwen2": ("Qwen2Config", "Qwen2ForCausalLM"),
    "qwen3": ("Qwen3Config", "Qwen3ForCausalLM"),
    "gpt_neox": ("GPTNeoXConfig", "GPTNeoXForCausalLM"),
}
"""Names of the classes; transformers is not imported here, because that takes seconds."""
LIMIT = 1e-4
"""Limit on |delta log p|, in nats per token; measured: 3e-5."""
LEVELS = 101
CONTEXT = 24
_GPT2 = {
    "vocab_size": LEVELS,
    "n_positions": CONTEXT,
    "n_embd": 48,
    "n_layer": 3,
    "n_head": 2,
    "bos_token_id": 5,
    "eos_token_id": 7,
}
_LLAMA = {
    "vocab_size": LEVELS,
    "max_position_embeddings": CONTEXT,
    "hidden_size": 48,
    "intermediate_size": 40,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "bos_token_id": 5,
    "eos_token_id": 7,
}
_NEOX = {name: value for name, value in _LLAMA.items() if name != "num_key_value_heads"} | {
    "num_attention_heads": 2
}
_SCALING = {
    "rope_type": "llama3",
    "rope_theta": 10_000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "gpt2": ("gpt2", _GPT2),
    "gpt2-untied": ("gpt2", _GPT2 | {"tie_word_embeddings": False, "n_inner": 56}),
    "gpt2-scaled": (
        "gpt2",
        _GPT2
        | {
            "scale_attn_by_inverse_layer_idx": True,
            "scale_attn_weights": False,
            "reorder_and_upcast_attn": True,
            "activation_function": "gelu",
            "layer_norm_epsilon": 0.02,
        },
    ),
    "imagegpt": (
        "imagegpt",
        {"vocab_size": 18, "n_positions": 25, "n_embd": 48, "n_layer": 3, "n_head": 2},
    ),
    "imagegpt-sequence": (
        "imagegpt",
        {
            "vocab_size": 18,
            "n_positions": 22,
            "n_embd": 48,
            "n_layer": 2,
            "n_head": 3,
            "scale_attn_by_inverse_layer_idx": True,
        },
    ),
    "llama": ("llama", _LLAMA),
    "llama-one-group": (
        "llama",
        _LLAMA
        | {
            "num_key_value_heads": 1,
            "head_dim": 24,
            "tie_word_embeddings": True,
            "attention_bias": True,
            "mlp_bias": True,
            "rope_parameters": _SCALING,
        },
    ),
    "llama-linear": (
        "llama",
        _LLAMA | {"rope_parameters": {"rope_type": "linear", "factor": 3.0, "rope_theta": 500.0}},
    ),
    "mistral": ("mistral", _LLAMA | {"sliding_window": 5, "head_dim": 24}),
    "mistral-whole": ("mistral", _LLAMA | {"sliding_window": None}),
    "qwen2": ("qwen2", _LLAMA | {"tie_word_embeddings": True}),
    "qwen2-windows": (
        "qwen2",
        _LLAMA | {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 1},
    ),
    "qwen3": ("qwen3", _LLAMA | {"head_dim": 24, "rms_norm_eps": 0.01}),
    "qwen3-windows": (
        "qwen3",
        _LLAMA
        | {
            "head_dim": 12,
            "attention_bias": True,
            "tie_word_embeddings": True,
            "use_sliding_window": True,
            "sliding_window": 6,
            "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
        },
    ),
    "gpt_neox": ("gpt_neox", _NEOX),
    "gpt_neox-serial": (
        "gpt_neox",
        _NEOX
        | {
            "use_parallel_residual": False,
            "attention_bias": False,
            "tie_word_embeddings": True,
            "hidden_act": "gelu_new",
            "rope_parameters": {"rope_theta": 200.0, "partial_rotary_factor": 0.5},
        },
    ),
}
"""Kind and fields of each model."""


def make(name: str, **changes: Any) -> "PreTrainedModel":
    """Return a model of the table with wide weights, in evaluation mode."""
    import transformers

    kind, fields = MODELS[name]
    config_class, model_class = (getattr(transformers, each) for each in KINDS[kind])
    config = config_class(**(fields | changes))
    config._attn_implementation = "eager"
    model = model_class(config).eval()
    widen(model)
    return model


_FEED_OUTPUTS = ("mlp.c_proj", "mlp.dense_4h_to_h", "mlp.down_proj")


def widen(model: "PreTrainedModel") -> None:
    """Draw weights so wide that attention and predictions are far from even.

    Maps have a deviation of 2 / sqrt(fan in); the output map has 4 / sqrt(fan in), and the last map
    of a feed-forward part 6 / sqrt(fan in), so that two forms of GELU differ. Embeddings have 1,
    tied ones that of the output map. Norms and biases are random too.
    """
    from transformers.pytorch_utils import Conv1D

    generator = torch.Generator().manual_seed(20)

    def draw(weight: Tensor, scale: float, mean: float = 0.0) -> None:
        weight.data.copy_(torch.randn(weight.shape, generator=generator) * scale + mean)

    head = model.get_output_embeddings()
    assert isinstance(head, nn.Linear)
    for name, module in model.named_modules():
        weight, bias = getattr(module, "weight", None), getattr(module, "bias", None)
        if weight is head.weight:
            draw(head.weight, 4 * head.in_features**-0.5)
        elif isinstance(module, nn.Embedding):
            draw(module.weight, 1.0)
        elif isinstance(module, nn.Linear | Conv1D):
            fan = module.weight.shape[0 if isinstance(module, Conv1D) else 1]
            draw(module.weight, (6 if name.endswith(_FEED_OUTPUTS) else 2) * fan**-0.5)
        elif isinstance(weight, nn.Parameter):
            draw(weight, 0.3, 1.0)
        if isinstance(bias, nn.Parameter):
            draw(bias, 0.3)


def write(model: "PreTrainedModel", folder: Path, **files: Any) -> Path:
    """Write a folder with save_pretrained, and further JSON files into it; return the folder."""
    model.save_pretrained(folder)
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    return folder


@torch.no_grad()
def log_probs(model: "PreTrainedModel", x: Tensor, start: int | None) -> Tensor:
    """Return log p(x_t | x_<t) of each position, [b, t], in nats; 0 at x_0 without a start.

    The oracle computes in float32: its norms and one of its attentions support nothing wider.
    """
    fed = x if start is None else torch.nn.functional.pad(x, (1, 0), value=start)[:, :-1]
    logits = model(input_ids=fed, use_cache=False).logits
    table = logits.double().log_softmax(-1)
    if start is not None:
        return table.gather(-1, x[..., None])[..., 0]
    after = table[:, :-1].gather(-1, x[:, 1:, None])[..., 0]
    return torch.nn.functional.pad(after, (1, 0))
