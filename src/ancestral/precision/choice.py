"""Plans from the cheapest bytes to the smallest loss.

The first plan has every weight in its fewest bytes. Each further plan moves one weight to a larger
form: the move that saves the most nats per byte. Of the forms of a weight only those are used that
no mixture of two others beats, so the moves of a weight become less worthwhile one after another,
and every plan has the smallest predicted loss of all plans of its size.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from ancestral.bundles.quantisation import QuantisedTensor


class Form(NamedTuple):
    """A form of a weight.

    Attributes:
        how: bits, group and symmetry; None for float32.
        size: bytes of the weight.
        cost: expected loss, in nats per position, not below 0.
    """

    how: QuantisedTensor | None
    size: int
    cost: float


class Move(NamedTuple):
    """A change of one weight to a larger form.

    Attributes:
        saved: nats per position that it saves for each byte.
        name: the weight.
        form: its new form.
    """

    saved: float
    name: str
    form: Form


Plan = Mapping[str, Form]
"""Form of each weight, by its name."""


def worthwhile(forms: Sequence[Form]) -> list[Form]:
    """Return the forms that no mixture of others beats, smallest first: a lower convex hull."""
    found: list[Form] = []
    for form in sorted(forms, key=lambda form: (form.size, form.cost)):
        if found and (form.cost > found[-1].cost or form.size == found[-1].size):
            continue
        while len(found) > 1 and _saved(found[-1], form) >= _saved(found[-2], found[-1]):
            found.pop()
        found.append(form)
    return found


def plans(forms: Mapping[str, Sequence[Form]]) -> Iterator[Plan]:
    """Yield plans of growing size and falling loss.

    Args:
        forms: forms of each weight; the one in float32 has cost 0, so the last plan has only it.
    """
    hulls = {name: worthwhile(each) for name, each in forms.items()}
    plan = {name: hull[0] for name, hull in hulls.items()}
    yield dict(plan)
    moves = [
        Move(_saved(before, after), name, after)
        for name, hull in hulls.items()
        for before, after in pairwise(hull)
    ]
    # The sort is stable: moves that save the same keep the order of the model and of sizes.
    for move in sorted(moves, key=lambda move: -move.saved):
        plan[move.name] = move.form
        yield dict(plan)


def tensors_of(plan: Plan) -> dict[str, QuantisedTensor]:
    """Return the weights of a plan that are quantised."""
    return {name: form.how for name, form in plan.items() if form.how is not None}


def _saved(before: Form, after: Form) -> float:
    return (before.cost - after.cost) / (after.size - before.size)
