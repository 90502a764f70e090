"""Data sets, one module per source, each split into three parts by stored indices."""

from ancestral.train.data.dataset import Dataset, Part, Split
from ancestral.train.data.digits import load_digits
from ancestral.train.data.idx import load_idx
from ancestral.train.data.npz import load_npz
from ancestral.train.data.python_source import load_python
from ancestral.train.data.text import load_text

__all__ = [
    "Dataset",
    "Part",
    "Split",
    "load_digits",
    "load_idx",
    "load_npz",
    "load_python",
    "load_text",
]
