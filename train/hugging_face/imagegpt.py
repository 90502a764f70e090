"""ImageGPT: a GPT-2 over the colours of pixels, with a start token, RMSNorm and another GELU.

The vocabulary has the colours and, last, the start token. No position can be the start token, so
the levels are the colours only. Its LayerNorm does not subtract the mean, which makes it RMSNorm.

References:
    Chen et al. (2020), Generative pretraining from pixels.
"""

import math
from dataclasses import replace
from pathlib import Path

from ancestral.errors import CheckpointError
from ancestral.train.hugging_face.architecture import Network
from ancestral.train.hugging_face.fields import Fields
from ancestral.train.hugging_face.gpt2 import GPT2, query_factors, read_body
from ancestral.train.hugging_face.json_object import read_object
from ancestral.train.models.transformer_config import TransformerConfig

PREPROCESSOR = "preprocessor_config.json"


def read_imagegpt(fields: Fields) -> Network:
    """Read the fields of an ImageGPT."""
    levels = fields.whole("vocab_size", 513, least=2) - 1
    context = fields.whole("n_positions", 1024)
    shape = read_body(fields, width=512, layers=24, heads=8, activation="quick_gelu")
    # The embedding has one row more than the output map, so the two cannot be tied.
    fields.only("tie_word_embeddings", False)
    factors = query_factors(fields, shape)
    fields.finish()
    config = TransformerConfig(**shape, norm="rms", bias=("qkv", "out", "feed"), start="learned")
    side = math.isqrt(context)
    image = (side, side) if side * side == context else None
    return Network(config, levels, context, image=image, query_factors=factors)


def read_palette(folder: Path, levels: int) -> tuple[tuple[int, int, int], ...] | None:
    """Return red, green and blue of each level, in 0 .. 255; None if there is no palette.

    Raises:
        CheckpointError: the clusters are not colours, or not one for each level.
    """
    path = folder / PREPROCESSOR
    if not path.is_file():
        return None
    clusters = read_object(path, "the settings of an image processor").get("clusters")
    if clusters is None:
        return None
    if (
        not isinstance(clusters, list)
        or len(clusters) != levels
        or not all(map(_is_colour, clusters))
    ):
        raise CheckpointError(
            f"{path}: clusters: expected {levels} colours of three numbers in -1 .. 1, one for "
            f"each level of config.json; download the folder again"
        )
    return tuple((_byte(red), _byte(green), _byte(blue)) for red, green, blue in clusters)


def _is_colour(value: object) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 3
        and all(type(each) in (int, float) and abs(each) <= 1 for each in value)
    )


def _byte(value: float) -> int:
    """Return a colour in -1 .. 1 as a byte, scaled as in transformers' image processor."""
    return round((value + 1) * 127.5)


IMAGEGPT = replace(GPT2, read=read_imagegpt, bos=None, eos=None)
"""The start token is the last row of the embedding."""
