"""The sizes that a plan serves: a profile is a least, a best and a largest size of each axis."""

from ancestral.errors import InvalidInput
from ancestral.plans.key import Range
from ancestral.signature import GraphSignature
from ancestral.step_tensors import U

Profile = dict[str, Range]
BATCH: Range = (1, 16, 64)
"""Of b, where nobody asks for another."""
LATENTS: Range = (1, 16, 64)
"""Of k."""


def profiles(
    signature: GraphSignature,
    length: int,
    batch: Range = BATCH,
    latents: Range = LATENTS,
    prefix: tuple[int, int] | None = None,
) -> tuple[Profile, ...]:
    """The profiles of a graph.

    A step graph that takes blocks gets two in one plan: one position at a time, and blocks of a
    prefix; each is compiled at its own best sizes.

    Args:
        signature: of the graph; its named axes are b, k, s (a block, a prefix) and t (an event).
        length: positions of an event.
        batch: sizes of b.
        latents: sizes of k.
        prefix: shortest and longest block; up to the whole event where None.

    Raises:
        InvalidInput: a range that is no range, or a prefix longer than an event.
    """
    for name, sizes in (("--batch", batch), ("--latents", latents)):
        if len(sizes) != 3 or not 1 <= sizes[0] <= sizes[1] <= sizes[2]:
            raise InvalidInput(
                f"{name}: expected a least, a best and a largest size that do not fall, 1,16,64 "
                f"say, got {','.join(map(str, sizes))}"
            )
    shortest, longest = (1, length) if prefix is None else prefix
    if not 1 <= shortest <= longest <= length:
        raise InvalidInput(
            f"--prefix: expected positions in 1 .. {length}, the first not above the last, "
            f"got {shortest}..{longest}"
        )
    axes = {axis for spec in signature.inputs for axis in spec.axes if isinstance(axis, str)}
    known: dict[str, Range] = {
        "b": batch,
        "k": latents,
        "s": (shortest, longest, longest),
        "t": (1, length, length),
    }
    unknown = sorted(axes - set(known))
    if unknown:
        raise InvalidInput(f"axes: expected some of {sorted(known)}, got {unknown}")
    whole = {axis: known[axis] for axis in sorted(axes)}
    if "s" in axes and any(spec.name == U for spec in signature.inputs):
        single: Profile = {**whole, "s": (1, 1, 1)}
        return (single,) if longest == 1 else (single, whole)
    return (whole,)
