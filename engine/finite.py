"""What a graph makes that has to be finite: no backend may return NaN in place of an error."""

from collections.abc import Collection, Mapping

import numpy as np

from ancestral.engine.session import Array
from ancestral.errors import InvalidInput


def check_outputs(
    name: str,
    rows: str,
    found: Mapping[str, Array],
    *,
    impossible: Collection[str] = (),
    start: int = 0,
) -> None:
    """Refuse outputs that are not finite.

    Args:
        name: argument that they come from.
        rows: what the argument holds, in the plural.
        found: outputs by name, [n, ...].
        impossible: names of those that may be -inf, the log of a probability that is 0.
        start: index of the first row.

    Raises:
        InvalidInput: an output is not finite.
    """
    for output, values in found.items():
        sound = np.isfinite(values)
        if output in impossible:
            sound |= np.isneginf(values)
        wrong = np.flatnonzero(~sound.reshape(len(values), -1).all(axis=1))
        if len(wrong):
            raise InvalidInput(
                f"{name}: expected {rows} that the model makes finite numbers of, got a {output} "
                f"that is not finite at index {start + wrong[0]} ({len(wrong)} of {len(values)} "
                f"{rows})"
            )
