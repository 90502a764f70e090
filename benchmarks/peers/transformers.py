"""Hugging Face transformers: `generate` of PyTorch modules, with its default cache."""

from pathlib import Path
from typing import Any

from benchmarks.peers.worker import Array, Settings, log_p_of, main


class Transformers:
    """A model of transformers, in evaluation mode."""

    model: Any = None

    def load(self, folder: Path, threads: int) -> None:
        """Load the folder of transformers itself."""
        import torch
        from transformers import AutoModelForCausalLM, logging

        logging.set_verbosity_error()
        torch.set_num_threads(threads)
        self.model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()

    def draw(self, prompt: Array, new: int, settings: Settings) -> Array:
        """Draw after the prompts."""
        import torch

        tokens = torch.from_numpy(prompt)
        with torch.inference_mode():
            drawn = self.model.generate(
                tokens,
                attention_mask=torch.ones_like(tokens),
                max_new_tokens=new,
                do_sample=True,
                temperature=settings.temperature,
                top_p=settings.top_p,
                top_k=0,
                eos_token_id=None,
                pad_token_id=0,
            )
        return drawn[:, prompt.shape[1] :].numpy()

    def log_p(self, tokens: Array) -> Array:
        """Return the log-probabilities in one pass."""
        import torch

        with torch.inference_mode():
            logits = self.model(torch.from_numpy(tokens[None, :-1])).logits
        return log_p_of(logits[0].numpy(), tokens[1:])


def convert(weights: Path, folder: Path) -> None:
    """Link to the weights, which are in the peer's own form."""
    folder.symlink_to(weights, target_is_directory=True)


if __name__ == "__main__":
    main(Transformers(), ("transformers", "torch"), convert)
