"""The control of the fuzz: some cases are not changed, and their commands must succeed."""

import random

NOTHING = "nothing"
"""Description of the change of a case that is not changed."""
_SHARE = 0.04


def untouched(rng: random.Random) -> bool:
    """Draw whether a case is not changed."""
    return rng.random() < _SHARE
