"""Checkpoints of kinds that are not supported: what they are, and how to convert them."""

import contextlib
from pathlib import Path

from ancestral.arrays import shown
from ancestral.errors import CheckpointError
from ancestral.train.hugging_face.json_object import read_object

ADAPTER = "adapter_config.json"
_ADAPTER_WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
_SAVE = "from_pretrained({folder!r}{how}).save_pretrained(OUT) of transformers"


def refuse_adapter(folder: Path) -> None:
    """Refuse the folder of an adapter (such as LoRA), which changes the weights of another model.

    Raises:
        CheckpointError: the folder has an adapter, with or without base weights.
    """
    if not any((folder / name).is_file() for name in (ADAPTER, *_ADAPTER_WEIGHTS)):
        return
    base = None
    with contextlib.suppress(CheckpointError):
        # An adapter that names no base model is refused too.
        values = read_object(folder / ADAPTER, "the config of an adapter")
        base = values.get("base_model_name_or_path")
    named = f", made for {shown(base)}" if isinstance(base, str) and base else ""
    has_base = (folder / "config.json").is_file()
    holds = "base weights and an adapter" if has_base else "only an adapter"
    raise CheckpointError(
        f"{folder}: expected a whole model, got {holds} ({ADAPTER}{named}); merge "
        f"it with peft: PeftModel.from_pretrained(base, {str(folder)!r}).merge_and_unload()."
        f"save_pretrained(OUT)"
        + (f", or move {ADAPTER} away to export the base weights" if has_base else "")
    )


def foreign(path: Path) -> str | None:
    """Return how to convert a file or folder that cannot be read, and what it is.

    Args:
        path: path of a file, or of a folder without weights that can be read.

    Returns:
        The text for a message; None if the kind is unknown.
    """
    names = _names(path)
    folder = str(path if path.is_dir() else path.parent)
    for name in names:
        match Path(name).suffix.lower():
            case ".gguf":
                how = _SAVE.format(folder=folder, how=f", gguf_file={name!r}")
                return (
                    f"download the folder that {name}, a GGUF file of llama.cpp with mostly "
                    f"quantised weights, was made from, or try AutoModelForCausalLM.{how}"
                )
            case ".h5" | ".hdf5" | ".keras":
                how = _SAVE.format(folder=folder, how=", from_tf=True")
                return (
                    f"convert {name}, a TensorFlow file in HDF5, with AutoModelForCausalLM.{how} 4"
                )
            case ".msgpack":
                how = _SAVE.format(folder=folder, how=", from_flax=True")
                return f"convert {name}, a Flax file, with AutoModelForCausalLM.{how} 4"
    if "params.json" in names and any(name.startswith("consolidated") for name in names):
        return (
            f"convert params.json and consolidated.*, the original format of Meta or Mistral, for "
            f"Llama with: python -m transformers.models.llama.convert_llama_weights_to_hf "
            f"--input_dir {folder} --output_dir OUT"
        )
    for name in names:
        match Path(name).suffix.lower():
            case ".bin" | ".pt" | ".pth" | ".ckpt" | ".pkl":
                return (
                    f"load {name}, a PyTorch pickle without the architecture, into its class if "
                    f"you trust the file, then write a folder with save_pretrained, or export the "
                    f"model with ancestral.export_bundle (docs/own-model.md)"
                )
            case ".safetensors" if path.is_file():
                return f"pass the folder that has {name}, a file of weights, and its config.json"
            case ".onnx":
                return f"pass the checkpoint that {name}, an ONNX graph, was made from"
    return None


def _names(path: Path) -> list[str]:
    """Return the names of the files of a folder, or of the file itself."""
    if path.is_file():
        return [path.name]
    return sorted(each.name for each in path.iterdir() if each.is_file()) if path.is_dir() else []
