"""Checkpoints of other kinds than those that are read: what each is, and how to convert it."""

import contextlib
from pathlib import Path

from ancestral.arrays import shown
from ancestral.errors import CheckpointError
from ancestral.train.hugging_face.json_object import read_object

ADAPTER = "adapter_config.json"
_ADAPTER_WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
_SAVE = "from_pretrained({folder!r}{how}).save_pretrained(OUT) of transformers"


def refuse_adapter(folder: Path) -> None:
    """Refuse a folder of an adapter (LoRA and its kin), which changes the weights of another model.

    Raises:
        CheckpointError: it is one, with base weights beside it or without.
    """
    if not any((folder / name).is_file() for name in (ADAPTER, *_ADAPTER_WEIGHTS)):
        return
    base = None
    with contextlib.suppress(CheckpointError):
        # An adapter that names no base is one too.
        values = read_object(folder / ADAPTER, "the config of an adapter")
        base = values.get("base_model_name_or_path")
    named = f", made for {shown(base)}" if isinstance(base, str) and base else ""
    beside = (folder / "config.json").is_file()
    holds = "base weights and an adapter beside them" if beside else "an adapter only"
    raise CheckpointError(
        f"{folder}: expected a model's own weights, got {holds} ({ADAPTER}{named}): without the "
        f"adapter it would be another model; merge it with peft: PeftModel.from_pretrained(base, "
        f"{str(folder)!r}).merge_and_unload().save_pretrained(OUT), and export OUT"
        + (f"; or move {ADAPTER} away to export the base weights" if beside else "")
    )


def foreign(path: Path) -> str | None:
    """What a file or a folder is that cannot be read, and how to convert it; None where unknown.

    Args:
        path: a file, or a folder without weights that can be read.
    """
    names = _names(path)
    folder = str(path if path.is_dir() else path.parent)
    for name in names:
        match Path(name).suffix.lower():
            case ".gguf":
                how = _SAVE.format(folder=folder, how=f", gguf_file={name!r}")
                return (
                    f"{name} is a GGUF file of llama.cpp, whose weights are mostly quantised: "
                    f"fetch the folder that it was made from, or try AutoModelForCausalLM.{how}"
                )
            case ".h5" | ".hdf5" | ".keras":
                how = _SAVE.format(folder=folder, how=", from_tf=True")
                return f"{name} is of TensorFlow, in HDF5: AutoModelForCausalLM.{how} 4 converts it"
            case ".msgpack":
                how = _SAVE.format(folder=folder, how=", from_flax=True")
                return f"{name} is a file of Flax: AutoModelForCausalLM.{how} 4 converts it"
    if "params.json" in names and any(name.startswith("consolidated") for name in names):
        return (
            f"params.json and consolidated.* are a model in the original form of Meta or Mistral: "
            f"python -m transformers.models.llama.convert_llama_weights_to_hf --input_dir "
            f"{folder} --output_dir OUT converts Llama's"
        )
    for name in names:
        match Path(name).suffix.lower():
            case ".bin" | ".pt" | ".pth" | ".ckpt" | ".pkl":
                return (
                    f"{name} is a pickle of PyTorch, which does not say its architecture: load it "
                    f"where you trust it, into the class that it was saved from, and write a "
                    f"folder with save_pretrained, or export that model with "
                    f"ancestral.export.bundle.export_bundle (docs/own-model.md)"
                )
            case ".safetensors" if path.is_file():
                return f"{name} is a file of weights: give the folder that has its config.json too"
            case ".onnx":
                return f"{name} is an ONNX graph: give the checkpoint that it was made from"
    return None


def _names(path: Path) -> list[str]:
    """Names of the files of a folder, or that of the file itself."""
    if path.is_file():
        return [path.name]
    return sorted(each.name for each in path.iterdir() if each.is_file()) if path.is_dir() else []
