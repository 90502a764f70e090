"""Record of the files that a data set was made of, to compare with those of another machine."""

import hashlib
from typing import Annotated, Literal

from pydantic import Field

from ancestral.errors import InvalidInput
from ancestral.signature import Record

Hash = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class SourceFile(Record):
    """A file of a data set.

    Attributes:
        path: path from the root of the source, with slashes.
        part: the part of the data that its bytes belong to.
        size: number of bytes.
        sha256: SHA-256 of its bytes.
    """

    path: Annotated[str, Field(max_length=4096)]
    part: Literal["train", "validation", "test"]
    size: Annotated[int, Field(ge=0)]
    sha256: Hash


class SourceRecord(Record):
    """The files that a data set was made of.

    Attributes:
        python: version of the Python whose standard library the files are.
        files: the files of all parts, in the order of their paths.
    """

    python: Annotated[str, Field(max_length=100)]
    files: Annotated[tuple[SourceFile, ...], Field(min_length=1, max_length=100_000)]

    @property
    def sha256(self) -> str:
        """SHA-256 of the paths, the parts and the hashes of all files."""
        lines = (f"{each.sha256} {each.part} {each.path}\n" for each in self.files)
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    def count(self, part: str) -> tuple[int, int]:
        """Return the number of files of a part, and of their bytes."""
        sizes = [each.size for each in self.files if each.part == part]
        return len(sizes), sum(sizes)

    def check(self, expected: "SourceRecord") -> None:
        """Check that these files are those of another record.

        The version of Python is not compared: two versions may share all files.

        Raises:
            InvalidInput: a file is missing, is new, has other bytes or is in another part.
        """
        if self.sha256 == expected.sha256:
            return
        ours, theirs = ({each.path: each for each in record.files} for record in (self, expected))
        paths = sorted(ours.keys() | theirs.keys())
        different = [path for path in paths if ours.get(path) != theirs.get(path)]
        raise InvalidInput(
            f"data python: expected the corpus of the checkpoint, {expected.words}, got "
            f"{self.words}, {len(different):,} files differ, the first {different[0]!r}; use "
            f"Python {expected.python} or train again"
        )

    @property
    def words(self) -> str:
        """The number of files, the version of Python, and the hash of the corpus."""
        return f"{len(self.files):,} files of Python {self.python} (SHA-256 {self.sha256[:12]})"
