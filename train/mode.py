"""Evaluation mode within a scope."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def evaluating(module: nn.Module | None) -> Iterator[torch.device]:
    """Evaluation mode without gradients; afterwards each part is in its own mode again.

    Args:
        module: what is evaluated; nothing is changed where None.

    Yields:
        The device of the module's first tensor; the CPU where it has none.
    """
    parts = [] if module is None else [(part, part.training) for part in module.modules()]
    tensors = [] if module is None else [*module.parameters(), *module.buffers()]
    for part, _ in parts:
        part.training = False
    try:
        with torch.no_grad():
            yield tensors[0].device if tensors else torch.device("cpu")
    finally:
        for part, training in parts:
            part.training = training
