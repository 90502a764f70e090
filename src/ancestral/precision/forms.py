"""Forms of a weight: the bytes of each, and which are worth measuring."""

from collections.abc import Iterable

from torch import Tensor

from ancestral.bundles.quantisation import QuantisedTensor


def stored_bytes(matrix: Tensor, how: QuantisedTensor | None, half: bool) -> int:
    """Return the bytes of a weight [n, k] in a form.

    Args:
        matrix: the weight.
        how: its form; None for float32.
        half: whether scales are stored in float16.
    """
    n, k = matrix.shape
    if how is None:
        return 4 * n * k
    groups = -(-k // how.group)
    points = 0 if how.symmetric else -(-groups * how.bits // 8)
    return n * (groups * (how.group * how.bits // 8 + (2 if half else 4)) + points)


def tried(matrix: Tensor, forms: Iterable[QuantisedTensor], half: bool) -> list[QuantisedTensor]:
    """Return the forms that are worth measuring.

    Smaller groups lose less. They have more scales, but in a short row, which is filled up to whole
    groups, they may take fewer bytes: then longer groups are left out. With 8 bits all groups lose
    so little that only the one with the fewest bytes is tried.

    Args:
        matrix: the weight.
        forms: all forms.
        half: whether scales are stored in float16.
    """
    sizes = {how: stored_bytes(matrix, how, half) for how in forms}
    smallest = min((how for how in sizes if how.bits == 8), key=sizes.__getitem__, default=None)

    def beaten(how: QuantisedTensor) -> bool:
        return any(
            other.bits == how.bits and other.group < how.group and sizes[other] <= sizes[how]
            for other in sizes
        )

    return [how for how in sizes if how == smallest or (how.bits == 4 and not beaten(how))]
