"""The field `logit_bias` of a body: nats to add to the logits of some values."""

import math
from typing import Annotated, Any

from pydantic import PlainValidator, WithJsonSchema

from ancestral.sampling import MOST_BIAS

_LONGEST = 19
"""Most digits of an id."""
_NATS = {"type": "number", "minimum": -MOST_BIAS, "maximum": MOST_BIAS}


def _bias(given: Any) -> dict[int, float] | None:
    """Return the bias of a body; it ends at the first wrong entry, of which there may be millions.

    Raises:
        ValueError: it is not an object of ids and numbers.
    """
    if given is None:
        return None
    if not isinstance(given, dict):
        raise ValueError("expected an object of ids and numbers")
    found = {}
    for key, nats in given.items():
        if not (key.isascii() and key.isdecimal() and len(key) <= _LONGEST):
            raise ValueError("expected ids, which are texts of digits, and numbers")
        if nats is not None and not (
            type(nats) in (int, float) and -MOST_BIAS <= nats <= MOST_BIAS
        ):
            raise ValueError(f"expected numbers in [{-MOST_BIAS:g}, {MOST_BIAS:g}], or null")
        found[int(key)] = -math.inf if nats is None else nats
    return found


Bias = Annotated[
    dict[int, float] | None,
    PlainValidator(_bias),
    WithJsonSchema(
        {
            "anyOf": [
                {
                    "type": "object",
                    "propertyNames": {"pattern": f"^[0-9]{{1,{_LONGEST}}}$"},
                    "additionalProperties": {"anyOf": [_NATS, {"type": "null"}]},
                },
                {"type": "null"},
            ]
        }
    ),
]
"""Nats to add to the logits of values, by their ids; null as a number bans a value, which is -inf
here. None means that all logits stay."""
