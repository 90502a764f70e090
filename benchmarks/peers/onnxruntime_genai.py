"""onnxruntime-genai: its Generator; Llama by its model builder, GPT-2 by `genai_graph`.

The builder has no GPT-2.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers.worker import SEED, UNUSED, Array, Settings, log_p_of, main


class OnnxruntimeGenAI:
    """A model of onnxruntime-genai."""

    model: Any = None
    length = 0

    def load(self, folder: Path, threads: int) -> None:
        """Load the model, with the threads in its configuration."""
        import onnxruntime_genai

        config = json.loads((folder / "genai_config.json").read_text())
        self.length = config["model"]["context_length"]
        self.model = None
        chosen = onnxruntime_genai.Config(str(folder))
        options = {"intra_op_num_threads": threads}
        chosen.overlay(json.dumps({"model": {"decoder": {"session_options": options}}}))
        self.model = onnxruntime_genai.Model(chosen)

    def _generator(self, rows: int, length: int, **search: Any) -> Any:
        import onnxruntime_genai

        params = onnxruntime_genai.GeneratorParams(self.model)
        params.set_search_options(batch_size=rows, max_length=length, **search)
        return onnxruntime_genai.Generator(self.model, params)

    def draw(self, prompt: Array, new: int, settings: Settings) -> Array:
        """Draw after the prompts."""
        rows, given = prompt.shape
        generator = self._generator(
            rows,
            given + new,
            # Some value has to end a row; before this length it is never drawn.
            min_length=given + new,
            do_sample=True,
            temperature=settings.temperature,
            top_p=settings.top_p,
            top_k=0,
            random_seed=SEED,
        )
        generator.append_tokens(prompt.astype(np.int32))
        for _ in range(new):
            generator.generate_next_token()
        return np.array([generator.get_sequence(row)[given:] for row in range(rows)])

    def log_p(self, tokens: Array) -> Array:
        """Return the log-probabilities token by token: the model gives the last logits only."""
        generator = self._generator(1, len(tokens) + 1, do_sample=False)
        logits = []
        for token in tokens[:-1]:
            generator.append_tokens(np.array([[token]], np.int32))
            logits.append(np.array(generator.get_logits()).reshape(-1))
        return log_p_of(np.stack(logits), tokens[1:])


def convert(weights: Path, folder: Path) -> None:
    """Build a model, and let its sequences contain the start token as well as all positions."""
    config = json.loads((weights / "config.json").read_text())
    if config["model_type"] == "gpt2":
        shutil.copytree(weights.parent / "genai-graph", folder)
        return
    builder = [sys.executable, "-P", "-m", "onnxruntime_genai.models.builder"]
    source = folder / "source"
    _with_tokenizer(weights, source, config["vocab_size"])
    places = ["-i", str(source), "-o", str(folder), "-c", str(folder / "cache")]
    done = subprocess.run([*builder, *places, "-p", "fp32", "-e", "cpu"], check=False)
    if done.returncode:
        # The builder has printed its error.
        sys.exit(done.returncode)
    path = folder / "genai_config.json"
    built = json.loads(path.read_text())
    built["model"]["context_length"] += 1
    built["model"] |= {"eos_token_id": UNUSED, "pad_token_id": UNUSED}
    path.write_text(json.dumps(built, indent=2) + "\n")


def _with_tokenizer(weights: Path, source: Path, levels: int) -> None:
    """Make a folder of the weights and a tokenizer of numbers: the builder requires one."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    source.mkdir(parents=True)
    for file in weights.iterdir():
        (source / file.name).symlink_to(file)
    table = models.WordLevel({str(token): token for token in range(levels)}, unk_token="0")
    # The builder requires an end token too; `convert` removes it again.
    made = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(table), eos_token="0")
    made.save_pretrained(source)


if __name__ == "__main__":
    main(OnnxruntimeGenAI(), ("onnxruntime-genai",), convert)
