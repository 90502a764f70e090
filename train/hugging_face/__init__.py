"""Checkpoint folders of Hugging Face transformers: GPT-2, ImageGPT, Llama-like models, GPT-NeoX."""

from ancestral.train.hugging_face.folder import Loaded, load_hugging_face
from ancestral.train.hugging_face.foreign import foreign, refuse_adapter

__all__ = ["Loaded", "foreign", "load_hugging_face", "refuse_adapter"]
