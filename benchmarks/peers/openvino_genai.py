"""OpenVINO GenAI: its LLMPipeline; the model by optimum-intel, in float32."""

from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers.worker import SEED, Array, Settings, log_p_of, main


class OpenVinoGenAI:
    """A pipeline without a tokenizer, and the same model for log-probabilities."""

    pipeline: Any = None
    folder: Path = Path()

    def load(self, folder: Path, threads: int) -> None:
        """Load the model for ids."""
        import openvino_genai

        self.pipeline, self.folder = None, folder
        self.pipeline = openvino_genai.LLMPipeline(
            str(folder), "CPU", INFERENCE_NUM_THREADS=threads, INFERENCE_PRECISION_HINT="f32"
        )

    def draw(self, prompt: Array, new: int, settings: Settings) -> Array:
        """Draw after the prompts."""
        import openvino
        import openvino_genai

        config = openvino_genai.GenerationConfig(
            max_new_tokens=new,
            eos_token_id=0,  # required, and ignored
            ignore_eos=True,
            do_sample=True,
            temperature=settings.temperature,
            top_p=settings.top_p,
            rng_seed=SEED,
        )
        inputs = openvino_genai.TokenizedInputs(
            openvino.Tensor(prompt), openvino.Tensor(np.ones_like(prompt))
        )
        return np.array(self.pipeline.generate(inputs, config).tokens)

    def log_p(self, tokens: Array) -> Array:
        """Return the log-probabilities in one pass of the model that the pipeline runs."""
        import openvino

        request = openvino.Core().compile_model(
            self.folder / "openvino_model.xml", "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
        )
        ids = tokens[None, :-1].astype(np.int64)
        given = {
            "input_ids": ids,
            "attention_mask": np.ones_like(ids),
            "position_ids": np.arange(ids.shape[1])[None],
            "beam_idx": np.zeros(1, np.int32),
        }
        names = {name for each in request.inputs for name in each.names}
        found = request.create_infer_request().infer(
            {name: value for name, value in given.items() if name in names}
        )
        return log_p_of(np.asarray(found["logits"])[0], tokens[1:])


def convert(weights: Path, folder: Path) -> None:
    """Export the model with its caches as states."""
    from optimum.intel import OVModelForCausalLM

    OVModelForCausalLM.from_pretrained(
        weights, export=True, compile=False, load_in_8bit=False, use_cache=True
    ).save_pretrained(folder)


if __name__ == "__main__":
    main(OpenVinoGenAI(), ("openvino-genai", "openvino"), convert)
