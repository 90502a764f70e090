"""The networks and lengths that are compared, and their weights as folders of transformers."""

import hashlib
import inspect
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from benchmarks.machine import CHECKOUT
from benchmarks.peers.worker import UNUSED

FOLDER = CHECKOUT / ".peers"
"""Folder of the environments and of the converted models; git ignores it."""
LOGIT_SPREAD = 3.0
"""Standard deviation of the random logits: a perplexity of a few hundred at 50,257 values.

The weights of a fresh network would make p(x_t | x_<t) nearly uniform, which no trained model is.
"""


@dataclass(frozen=True, slots=True)
class Workload:
    """A network, and how it is sampled.

    Attributes:
        name: name on the command line and in the rows.
        about: description.
        kind: `model_type` of transformers, "gpt2" or "llama".
        width: width of the residual stream.
        layers: number of layers.
        heads: number of heads.
        levels: number of values.
        length: number of positions, those of the prompt included.
        prefix: number of values in the prompt, after the start token.
        start: id of the start token.
        batches: batch sizes.
    """

    name: str
    about: str
    kind: str
    width: int
    layers: int
    heads: int
    levels: int
    length: int
    prefix: int = 0
    start: int = 0
    batches: tuple[int, ...] = (1,)

    @property
    def new(self) -> int:
        """Number of values to draw."""
        return self.length - self.prefix

    @property
    def hidden(self) -> int:
        """Width of the feed-forward part: 4 d, or the multiple of 16 near 8/3 d with gates."""
        return 4 * self.width if self.kind == "gpt2" else math.ceil(self.width / 6) * 16

    @property
    def key_heads(self) -> int:
        """Number of key/value heads; only a Llama shares them, by two."""
        return self.heads if self.kind == "gpt2" else self.heads // 2

    def values(self, rows: int, columns: int) -> NDArray[np.int64]:
        """Return uniform values [rows, columns] other than `UNUSED`, the same each time."""
        found = np.random.default_rng(1).integers(0, self.levels, (rows, columns))
        found[found == UNUSED] = UNUSED + 1
        return found

    def prompt(self, rows: int) -> NDArray[np.int64]:
        """Return the start token and the given values of each row, [rows, 1 + prefix]."""
        return np.insert(self.values(rows, self.prefix), 0, self.start, axis=1)

    def given(self, most: int) -> NDArray[np.int64]:
        """Return the start token and at most so many given values: a sequence to score."""
        return np.insert(self.values(1, min(most, self.length))[0], 0, self.start)


_ALL = (
    Workload(
        "W1",
        "GPT-2 small's shape: 12 layers, width 768, 12 heads, 50,257 values; 16 + 64",
        *("gpt2", 768, 12, 12, 50_257, 80, 16, 50_256),
        batches=(1, 8, 32),
    ),
    Workload(
        "W2",
        "GPT-2's architecture: 4 layers, width 128, 4 heads, 256 values, 784 positions",
        *("gpt2", 128, 4, 4, 256, 784),
        batches=(1, 16, 64),
    ),
    Workload(
        "W3",
        "Llama's architecture: 4 layers, width 256, 8 heads, 1,024 values, 512 positions",
        *("llama", 256, 4, 8, 1024, 512),
        batches=(1, 16),
    ),
)
WORKLOADS = {each.name: each for each in _ALL}


def key(work: Workload) -> str:
    """Return 12 hex digits that hash a workload's network and the code that draws its weights."""
    drawing = inspect.getsource(tensors)
    return hashlib.sha256(json.dumps([config(work), drawing]).encode()).hexdigest()[:12]


def folder(work: Workload) -> Path:
    """Return the folder of a workload's models, those of the peers included."""
    return FOLDER / "models" / f"{work.name}-{key(work)}"


def weights(work: Workload) -> Path:
    """Return the folder of transformers that all peers load; write it if it is missing."""
    path = folder(work) / "weights"
    if not path.is_dir():
        part = path.with_suffix(".part")
        part.mkdir(parents=True, exist_ok=True)
        save_file(dict(tensors(work)), part / "model.safetensors", {"format": "pt"})
        (part / "config.json").write_text(json.dumps(config(work), indent=2) + "\n")
        part.rename(path)
    return path


def config(work: Workload) -> dict[str, Any]:
    """Return the fields of config.json; no token ends a text."""
    shared = {
        "vocab_size": work.levels,
        "bos_token_id": work.start,
        "eos_token_id": None,
        "dtype": "float32",
        "model_type": work.kind,
    }
    if work.kind == "gpt2":
        return shared | {
            "architectures": ["GPT2LMHeadModel"],
            "n_embd": work.width,
            "n_layer": work.layers,
            "n_head": work.heads,
            "n_positions": work.length,
            "activation_function": "gelu_new",
        }
    return shared | {
        "architectures": ["LlamaForCausalLM"],
        "hidden_size": work.width,
        "num_hidden_layers": work.layers,
        "num_attention_heads": work.heads,
        "num_key_value_heads": work.key_heads,
        "head_dim": work.width // work.heads,
        "intermediate_size": work.hidden,
        "max_position_embeddings": work.length,
        "hidden_act": "silu",
        "rms_norm_eps": 1e-6,
        "rope_theta": 10_000.0,
        "tie_word_embeddings": False,
    }


def tensors(work: Workload) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Yield the names and random values of all tensors, from a fixed seed.

    Maps keep the size of what passes through them, so that every part of the network changes the
    log-probabilities.
    """
    random, d = np.random.default_rng(0), work.width

    def drawn(*shape: int, spread: float) -> NDArray[np.float32]:
        return random.standard_normal(shape, np.float32) * np.float32(spread)

    ones, by_width = np.ones(d, np.float32), LOGIT_SPREAD / d**0.5
    if work.kind == "gpt2":
        yield "transformer.wte.weight", drawn(work.levels, d, spread=by_width)
        yield "transformer.wpe.weight", drawn(work.length, d, spread=by_width)
        for layer in range(work.layers):
            at = f"transformer.h.{layer}"
            for norm in ("ln_1", "ln_2"):
                yield f"{at}.{norm}.weight", ones
                yield f"{at}.{norm}.bias", drawn(d, spread=0.02)
            for name, into, out in (
                ("attn.c_attn", d, 3 * d),
                ("attn.c_proj", d, d),
                ("mlp.c_fc", d, work.hidden),
                ("mlp.c_proj", work.hidden, d),
            ):
                yield f"{at}.{name}.weight", drawn(into, out, spread=into**-0.5)
                yield f"{at}.{name}.bias", drawn(out, spread=0.02)
        yield "transformer.ln_f.weight", ones
        yield "transformer.ln_f.bias", drawn(d, spread=0.02)
        return
    keys = d // work.heads * work.key_heads
    yield "model.embed_tokens.weight", drawn(work.levels, d, spread=1.0)
    for layer in range(work.layers):
        at = f"model.layers.{layer}"
        yield f"{at}.input_layernorm.weight", ones
        yield f"{at}.post_attention_layernorm.weight", ones
        for name, into, out in (
            ("self_attn.q_proj", d, d),
            ("self_attn.k_proj", d, keys),
            ("self_attn.v_proj", d, keys),
            ("self_attn.o_proj", d, d),
            ("mlp.gate_proj", d, work.hidden),
            ("mlp.up_proj", d, work.hidden),
            ("mlp.down_proj", work.hidden, d),
        ):
            yield f"{at}.{name}.weight", drawn(out, into, spread=into**-0.5)
    yield "model.norm.weight", ones
    yield "lm_head.weight", drawn(work.levels, d, spread=by_width)
