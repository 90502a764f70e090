"""A toy for text: a byte-level tokenizer, and a start token that also ends a text."""

from pathlib import Path

import torch

from ancestral.dataspec import DataSpec
from ancestral.export.bundle import export_bundle
from ancestral.train.models.graphs import GraphName
from ancestral.train.models.transformer import Transformer
from ancestral.train.models.transformer_config import TransformerConfig
from tests.toys import widen

END = "<|endoftext|>"
CONTEXT = 24
LONG = 1024
"""Context of a model that draws for long enough to be interrupted."""
GRAPHS: tuple[GraphName, ...] = ("log_prob", "logits", "redraw", "top_log_prob", "step")
PADDED = 3
"""Number of levels beyond the tokenizer's ids, as in a padded vocabulary."""
SENTENCES = (
    "the cat sat on the mat and the dog sat on the log",
    "a café is not a cafeteria; naïve people say so, and 😀 laughs",
    "one two three four five six seven eight nine ten",
)


def tokenizer_json() -> bytes:
    """Return a byte-level BPE trained on a few sentences; END is a special token."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=290,
        special_tokens=[END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator(SENTENCES, trainer)
    # These settings are for training; they must not cut or pad samples.
    made.enable_truncation(4)
    made.enable_padding(length=40)
    return bytes(made.to_str(), "utf-8")


def make_text(context: int = CONTEXT) -> Transformer:
    """Return the model, always with the same weights."""
    data = DataSpec(
        name="text",
        event_shape=(context,),
        levels=290 + PADDED,
        tokenizer="tokenizers",
        stop=(0,),
    )
    torch.manual_seed(3)
    config = TransformerConfig(width=24, layers=1, heads=2, hidden=32, start=0)
    model = widen(Transformer(config, data)).eval()
    assert isinstance(model, Transformer)
    return model


def export_text(out: Path, context: int = CONTEXT) -> None:
    """Export the model with its tokenizer."""
    files = {"tokenizer.json": tokenizer_json()}
    export_bundle(make_text(context), out, graphs=GRAPHS, files=files)
