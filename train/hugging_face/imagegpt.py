"""ImageGPT: a GPT-2 over the colours of pixels, with a start token, RMSNorm and another GELU.

Its vocabulary is the colours and, last, the start token, which no position can be: levels are the
colours alone. Its LayerNorm subtracts no mean, which is RMSNorm.

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
    """The fields of an ImageGPT."""
    levels = fields.whole("vocab_size", 513, least=2) - 1
    context = fields.whole("n_positions", 1024)
    shape = read_body(fields, width=512, layers=24, heads=8, activation="quick_gelu")
    # The embedding has a row more than the output map.
    fields.only("tie_word_embeddings", False)
    factors = query_factors(fields, shape)
    fields.finish()
    config = TransformerConfig(**shape, norm="rms", bias=("qkv", "out", "feed"), start="learned")
    side = math.isqrt(context)
    image = (side, side) if side * side == context else None
    return Network(config, levels, context, image=image, query_factors=factors)


def read_palette(folder: Path, levels: int) -> tuple[tuple[int, int, int], ...] | None:
    """The colour of each level, red, green and blue in 0 .. 255; None where the folder has none.

    Raises:
        CheckpointError: the clusters are no colours, or not one a level.
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
            f"{path}: expected the field clusters to be {levels} colours of three numbers in "
            f"-1 .. 1, one a level of config.json; fetch the folder anew"
        )
    return tuple((_byte(red), _byte(green), _byte(blue)) for red, green, blue in clusters)


def _is_colour(value: object) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 3
        and all(type(each) in (int, float) and abs(each) <= 1 for each in value)
    )


def _byte(value: float) -> int:
    """Of a colour in -1 .. 1, as transformers' image processor scales them."""
    return round((value + 1) * 127.5)


IMAGEGPT = replace(GPT2, read=read_imagegpt, bos=None, eos=None)
"""Its start token is the last row of the embedding."""
