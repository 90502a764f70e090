"""Triton's interpreter, in which one thread at a time may run kernels."""

import threading
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final

_TURN: Final[AbstractContextManager[Any]] = threading.RLock()
"""The interpreter patches triton.language and keeps the index in the grid in objects of its module:
two kernels at a time would take each other's."""


def turn(device: str) -> AbstractContextManager[Any]:
    """Held while kernels run on a device: other threads wait on the CPU, nobody on a GPU."""
    return _TURN if device == "cpu" else nullcontext()
