"""Random changes of bytes: flipped bits, cuts, pieces that are repeated or overwritten."""

import random

from tests.fuzz.control import NOTHING, untouched


def changed(content: bytes, rng: random.Random) -> tuple[bytes, str]:
    """Return changed bytes and a description of the changes.

    Half of the changes are in the first 512 bytes, where headers are.
    """
    if untouched(rng):
        return content, NOTHING
    data = bytearray(content)
    notes = []
    for _ in range(rng.choice((1, 1, 2, 4))):
        if not data:
            break
        at = rng.randrange(min(len(data), 512) if rng.random() < 0.5 else len(data))
        size = rng.choice((1, 2, 4, 8, 64, 4096))
        match rng.randrange(7):
            case 0:
                del data[at:]
                notes.append(f"cut at {at}")
            case 1:
                data[at : at + size] = b"\xff" * size
                notes.append(f"{size} of ff at {at}")
            case 2:
                data[at : at + size] = b""
                notes.append(f"{size} removed at {at}")
            case 3:
                data[at:at] = data[at : at + size]
                notes.append(f"{size} repeated at {at}")
            case 4:
                data[at : at + size] = rng.randbytes(size)
                notes.append(f"{size} random at {at}")
            case _:
                bit = rng.randrange(8)
                data[at] ^= 1 << bit
                notes.append(f"bit {bit} at {at}")
    return bytes(data), "; ".join(notes)
