"""The codes of a VQ-VAE as data, for the model that becomes its prior."""

import numpy as np
import torch
from numpy.typing import NDArray

from ancestral.train.bounds import level_centres
from ancestral.train.data.dataset import Dataset, Part
from ancestral.train.evaluation import evaluating
from ancestral.train.models.vqvae import VQVAE

PRIOR = "prior"
"""Folder, inside a checkpoint, of the checkpoint of its prior."""
_ROWS = 1024


def encoded(model: VQVAE, data: Dataset) -> Dataset:
    """Every event as its codes, with its label, cut as the data are.

    Args:
        model: its mode, training or not, is the same afterwards.
        data: the events, with labels where the prior is to know them.
    """
    spec = model.code_data.model_copy(update={"num_classes": data.spec.num_classes})
    parts = (
        Part(_codes(model, part.x), part.label) for part in (data.train, data.validation, data.test)
    )
    return Dataset(spec, data.split, *parts)


def _codes(model: VQVAE, x: NDArray[np.int64]) -> NDArray[np.int64]:
    with evaluating(model) as device:
        parts = [
            model.encode(level_centres(model, x[i : i + _ROWS]).to(device))[0].cpu()
            for i in range(0, len(x), _ROWS)
        ]
    return torch.cat(parts).numpy()
