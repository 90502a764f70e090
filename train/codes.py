"""The codes of a VQ-VAE as data, for the model that becomes its prior."""

import numpy as np
import torch
from numpy.typing import NDArray

from ancestral.train.data.dataset import Dataset, Part
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
    training = model.training
    model.eval()
    parts = [
        Part(_codes(model, part.x), part.label) for part in (data.train, data.validation, data.test)
    ]
    model.train(training)
    return Dataset(spec, data.split, *parts)


@torch.no_grad()
def _codes(model: VQVAE, x: NDArray[np.int64]) -> NDArray[np.int64]:
    device = next(model.parameters()).device
    # Of a density the middle of each level's interval: data are levels.
    shift = 0.5 if model.observation.continuous else 0
    parts = [
        model.encode((torch.from_numpy(x[i : i + _ROWS]) + shift).to(device))[0].cpu()
        for i in range(0, len(x), _ROWS)
    ]
    return torch.cat(parts).numpy()
