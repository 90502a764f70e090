"""The control of the fuzz: some cases are not changed, and what they meet has to succeed."""

import random

NOTHING = "nothing"
"""What is said to be changed of a case that is not."""
_SHARE = 0.04


def untouched(rng: random.Random) -> bool:
    """Whether a case is left as it is."""
    return rng.random() < _SHARE
