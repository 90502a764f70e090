"""Small versions of the files and folders that the pages of the docs assume."""

from pathlib import Path

import numpy as np

from ancestral.cli.main import run
from tests.text_toys import SENTENCES, tokenizer_json
from tests.train.test_data import write_mnist


def make(name: str, folder: Path, tiny_bundle: Path) -> None:
    """Create a file or folder by its name.

    Raises:
        KeyError: there is no file or folder of this name.
    """
    match name:
        case "autoencoder-folder":
            write_autoencoder(folder / name)
        case "book.txt":
            (folder / name).write_text("\n".join(SENTENCES) * 30)
        case "bundle":
            (folder / name).symlink_to(tiny_bundle)
        case "data.npz":
            x = np.random.default_rng(0).integers(0, 17, (40, 8, 8))
            np.savez(folder / name, x=x)
        case "demo":
            write_demo(folder / name)
        case "gpt2" | "gpt2-folder":
            write_gpt2(folder / name)
        case "mnist":
            (folder / name).mkdir()
            write_mnist(folder / name, packed=True, shape=(8, 8))
        case _:
            raise KeyError(name)


def write_gpt2(folder: Path) -> None:
    """Write a small GPT-2 as transformers does, with the tokenizer of the text toy."""
    from tests.train.hugging_face import oracle

    sizes = {"vocab_size": 293, "n_positions": 64, "bos_token_id": 0, "eos_token_id": 0}
    oracle.write(oracle.make("gpt2", **sizes), folder)
    (folder / "tokenizer.json").write_bytes(tokenizer_json())


def write_autoencoder(folder: Path) -> None:
    """Write a small AutoencoderKL as diffusers does."""
    from ancestral.dataspec import DataSpec
    from ancestral.train.models.autoencoder_kl import AutoencoderKL
    from tests.train.test_diffusers_folder import SHAPE, SIZE, write

    folder.mkdir()
    data = DataSpec(name="images", event_shape=(3, *SIZE), levels=256)
    write(folder, dict(AutoencoderKL(SHAPE, data).state_dict()))


def write_demo(folder: Path) -> None:
    """Write the bundles of `make demo`, with small models that have hardly learned."""
    for model, name in (("transformer", "digits"), ("vae", "digits-vae")):
        checkpoint = folder / f"{name}-checkpoint"
        words = f"train --recipe tiny --model {model} --steps 20 --no-evaluate -o {checkpoint}"
        assert run(words.split()) == 0
        assert run(f"export --no-verify {checkpoint} -o {folder / name}".split()) == 0
