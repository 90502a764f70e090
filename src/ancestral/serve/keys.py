"""API keys: read from a file, and compared in constant time."""

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ancestral.errors import InvalidInput
from ancestral.files.input_file import read_bounded, unreadable

LEAST = 16
"""Fewest characters of a key."""
_FILE = 2**20


@dataclass(frozen=True, slots=True)
class Keys:
    """API keys that are valid; only their hashes are kept.

    Attributes:
        keys: the keys.
    """

    keys: Sequence[str] = field(repr=False)
    _digests: tuple[bytes, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_digests", tuple(map(_digest, self.keys)))
        object.__setattr__(self, "keys", ())

    def __bool__(self) -> bool:
        return bool(self._digests)

    def scope(self, key: str) -> str | None:
        """Return a name of a valid key, which does not reveal it; None if it is not valid.

        Every key is compared, so that the time does not depend on which one is equal.
        """
        digest = _digest(key)
        equal = [hmac.compare_digest(digest, each) for each in self._digests]
        return digest.hex()[:16] if any(equal) else None

    @classmethod
    def read(cls, path: Path) -> "Keys":
        """Read a file with one key per line; empty lines, and lines that begin with #, are skipped.

        Raises:
            InvalidInput: the file cannot be read, has no key, or a key is short or not ASCII.
        """
        try:
            lines = read_bounded(path, _FILE).decode("ascii").splitlines()
        except OSError as error:
            raise InvalidInput(unreadable(path, error)) from error
        except UnicodeDecodeError as error:
            raise InvalidInput(f"{path}: expected keys in ASCII characters") from error
        keys = []
        for number, line in enumerate(map(str.strip, lines), 1):
            if not line or line.startswith("#"):
                continue
            if len(line) < LEAST or not line.isprintable() or " " in line:
                raise InvalidInput(
                    f"{path}, line {number}: expected a key of {LEAST} characters or more without "
                    f"blanks; make one with: openssl rand -hex 24"
                )
            keys.append(line)
        if not keys:
            raise InvalidInput(f"{path}: expected one key per line, the file has no key")
        return cls(tuple(keys))


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()


NO_KEYS = Keys(())
"""No keys: every client may call."""
