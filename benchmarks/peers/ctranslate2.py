"""CTranslate2: its own engine; weights by its converter for transformers."""

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from benchmarks.peers.worker import Array, Settings, log_p_of, main


class CTranslate2:
    """A Generator, whose tokens are named by their ids."""

    generator: Any = None

    def load(self, folder: Path, threads: int) -> None:
        """Load the model."""
        import ctranslate2

        self.generator = ctranslate2.Generator(
            str(folder),
            device="cpu",
            compute_type=os.environ.get("COMPUTE_TYPE", "float32"),
            inter_threads=1,
            intra_threads=threads,
        )

    def draw(self, prompt: Array, new: int, settings: Settings) -> Array:
        """Draw after the prompts."""
        found = self.generator.generate_batch(
            [[str(token) for token in row] for row in prompt],
            max_length=new,
            end_token=[],
            include_prompt_in_result=False,
            sampling_topk=0,
            sampling_topp=settings.top_p,
            sampling_temperature=settings.temperature,
        )
        return np.array([each.sequences_ids[0] for each in found])

    def log_p(self, tokens: Array) -> Array:
        """Return the log-probabilities in one pass."""
        logits = self.generator.forward_batch([tokens[:-1].tolist()])
        return log_p_of(np.array(logits)[0], tokens[1:])


def convert(weights: Path, folder: Path) -> None:
    """Convert the weights, with ids in the place of a vocabulary."""
    from ctranslate2.converters import TransformersConverter
    from transformers import AutoConfig

    levels = AutoConfig.from_pretrained(weights).vocab_size
    tokenizer = SimpleNamespace(
        get_vocab=lambda: {str(token): token for token in range(levels)},
        bos_token="0",
        eos_token="0",
        unk_token="0",
    )

    class Converter(TransformersConverter):
        def load_tokenizer(self, *_: Any, **__: Any) -> Any:
            return tokenizer

    Converter(str(weights)).convert(str(folder))


if __name__ == "__main__":
    main(CTranslate2(), ("ctranslate2",), convert)
