"""The number of CPU threads as users give it: a number, "measure", or None."""

from typing import Literal, TypeGuard

ThreadCount = int | Literal["measure"] | None
"""A number of threads; "measure" to measure it for each batch; None: the runtime chooses."""
MEASURE: Literal["measure"] = "measure"


def is_measured(threads: object) -> TypeGuard[Literal["measure"]]:
    """Return whether a number of threads is to be measured."""
    return isinstance(threads, str) and threads == MEASURE
