"""The source files of Python's standard library, which every machine with Python has, as bytes."""

import hashlib
import platform
import sysconfig
from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np

from ancestral.dataspec import DataSpec
from ancestral.errors import InvalidInput
from ancestral.files.input_file import read_bounded, unreadable
from ancestral.train.data.dataset import PARTS, Dataset, Split, cut
from ancestral.train.data.source_record import SourceFile, SourceRecord
from ancestral.train.data.text import windows

PYTHON_WINDOW = 512
"""Length of a window, in bytes."""
LEFT_OUT = frozenset(
    {
        *("site-packages", "dist-packages", "test", "tests", "idle_test", "lib-dynload"),
        # Tables and texts that programs generated.
        *("encodings", "pydoc_data", "html/entities.py"),
        # Files of one machine.
        *("sitecustomize.py", "usercustomize.py"),
    }
)
"""Names of folders, and names or paths of files, that are not part of the corpus."""
_OF_THE_BUILD = ("_sysconfigdata", "config-")
"""How names begin of files and folders that the build of Python generates."""
_HUNDREDTHS = {"test": 5, "validation": 2}
"""Share of the files in a part, about, in hundredths; the rest is for training."""

PartName = Literal["train", "validation", "test"]


def load_python(
    length: int = PYTHON_WINDOW,
    *,
    expected: SourceRecord | None = None,
    root: Path | None = None,
) -> Dataset:
    """Load the standard library of the Python that runs, in windows of bytes.

    The part of a file is chosen by a hash of its path: about 5% of the files are for test, 2% for
    validation. The bytes of the files of a part are joined in the order of their paths and cut into
    consecutive windows; a shorter last window is left out. `Dataset.source` is the record of the
    files.

    Args:
        length: length of a window, in bytes.
        expected: record of the checkpoint that the data are for.
        root: folder of the files; None for the standard library.

    Raises:
        InvalidInput: the files are not the expected ones, a part is shorter than a window, or a
            file cannot be read.
    """
    if length < 1:
        raise InvalidInput(f"length: expected at least 1 byte, got {length}")
    root = root or Path(sysconfig.get_paths()["stdlib"])
    record, texts = _read(root)
    if expected is not None:
        record.check(expected)
    parts = [windows(np.frombuffer(b"".join(texts[part]), np.uint8), length) for part in PARTS]
    for name, part in zip(PARTS, parts, strict=True):
        if not len(part):
            raise InvalidInput(
                f"{root}: expected at least {length} bytes in the {name} part, got "
                f"{record.count(name)[1]}; use a Python with its standard library as files"
            )
    ends = np.cumsum([len(part) for part in parts])
    index = np.split(np.arange(ends[-1], dtype=np.int64), ends[:-1])
    spec = DataSpec(name="python", event_shape=(length,), levels=256, tokenizer="bytes")
    data = cut(spec, np.concatenate(parts), None, Split(*index))
    return replace(data, source=record)


def python_texts(
    part: PartName, *, expected: SourceRecord | None = None, root: Path | None = None
) -> dict[str, bytes]:
    """Return the files of one part by their paths; arguments as in `load_python`.

    Raises:
        InvalidInput: the files are not the expected ones, or one cannot be read.
    """
    record, texts = _read(root or Path(sysconfig.get_paths()["stdlib"]))
    if expected is not None:
        record.check(expected)
    paths = [each.path for each in record.files if each.part == part]
    return dict(zip(paths, texts[part], strict=True))


def python_files(root: Path, left_out: Collection[str]) -> Iterator[tuple[str, Path]]:
    """Yield the paths of Python files from a root, with slashes and sorted, and the files.

    Args:
        root: folder that is searched.
        left_out: names of folders and files, or paths from the root, that are left out.
    """
    found = sorted((path.relative_to(root).as_posix(), path) for path in root.rglob("*.py"))
    for name, path in found:
        if name not in left_out and not any(each in left_out for each in name.split("/")):
            yield name, path


def part_of(path: str) -> PartName:
    """Return the part that a file belongs to, by a hash of its path from the root."""
    bucket = int.from_bytes(hashlib.sha256(path.encode()).digest()[:8]) % 100
    if bucket < _HUNDREDTHS["test"]:
        return "test"
    return "validation" if bucket < sum(_HUNDREDTHS.values()) else "train"


def _read(root: Path) -> tuple[SourceRecord, dict[str, list[bytes]]]:
    """Return the record of the corpus, and the texts of each part in the order of the record."""
    files: list[SourceFile] = []
    texts: dict[str, list[bytes]] = {part: [] for part in PARTS}
    for name, path in python_files(root, LEFT_OUT):
        if any(each.startswith(_OF_THE_BUILD) for each in name.split("/")):
            continue
        try:
            text = read_bounded(path)
        except OSError as error:
            raise InvalidInput(unreadable(path, error)) from error
        part = part_of(name)
        digest = hashlib.sha256(text).hexdigest()
        files.append(SourceFile(path=name, part=part, size=len(text), sha256=digest))
        texts[part].append(text)
    if not files:
        raise InvalidInput(
            f"{root}: no Python files; use a Python with its standard library as files"
        )
    return SourceRecord(python=platform.python_version(), files=tuple(files)), texts
