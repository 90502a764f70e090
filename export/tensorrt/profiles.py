"""Optimisation profiles of a plan: the least, best and largest size of each named axis."""

from ancestral.errors import InvalidInput
from ancestral.plans.key import Range
from ancestral.signature import GraphSignature
from ancestral.step_tensors import U

Profile = dict[str, Range]
BATCH: Range = (1, 16, 64)
"""Default sizes of axis b, the rows of a batch."""
LATENTS: Range = (1, 16, 64)
"""Default sizes of axis k, the latents of an event."""


def profiles(
    signature: GraphSignature,
    length: int,
    batch: Range = BATCH,
    latents: Range = LATENTS,
    prefix: tuple[int, int] | None = None,
) -> tuple[Profile, ...]:
    """Return the profiles of a graph.

    The plan of a step graph that takes blocks gets two profiles: one position at a time, and
    blocks of a prefix. Each is compiled for its own best sizes.

    Args:
        signature: signature of the graph, with named axes among b (rows), k (latents), s (positions
            of a block or prefix) and t (positions of an event).
        length: positions of an event.
        batch: least, best and largest size of b.
        latents: least, best and largest size of k.
        prefix: shortest and longest block, in positions; None for 1 up to the whole event.

    Raises:
        InvalidInput: sizes of a range decrease or are less than 1, or a prefix is longer than an
            event.
    """
    for name, sizes in (("--batch", batch), ("--latents", latents)):
        if len(sizes) != 3 or not 1 <= sizes[0] <= sizes[1] <= sizes[2]:
            raise InvalidInput(
                f"{name}: expected MIN,OPT,MAX, 1 or more and not decreasing, for example "
                f"1,16,64, got {','.join(map(str, sizes))}"
            )
    shortest, longest = (1, length) if prefix is None else prefix
    if not 1 <= shortest <= longest <= length:
        raise InvalidInput(
            f"--prefix: expected MIN..MAX with 1 <= MIN <= MAX <= {length}, got "
            f"{shortest}..{longest}"
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
