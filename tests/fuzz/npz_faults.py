"""Random changes of the arrays in an .npz, whose checksums fit."""

import io
import random
import struct
import zipfile

from tests.fuzz import byte_faults
from tests.fuzz.control import NOTHING, untouched

_DTYPES = ("<i8", "|O", "<f4", "|S3", "<U2", "|V8", ">u2", "|b1", "<c16", "<M8[s]", "[('a','<i8')]")
_SHAPES = ("(3, 3, 3)", "(2**40,)", "(4294967296, 4)", "(-1, 9)", "()", "(0, 3, 3)", "(27,)", "3")
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)


def changed(content: bytes, rng: random.Random) -> tuple[bytes, str]:
    """Return a changed .npz, and a description of the change."""
    if untouched(rng):
        return content, NOTHING
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = rng.choice(sorted(members))
    match rng.randrange(5):
        case 0:
            members[name], note = byte_faults.changed(members[name], rng)
        case 1:
            text = f"{{'descr': '{rng.choice(_DTYPES)}', 'fortran_order': False, "
            text += f"'shape': {rng.choice(_SHAPES)}, }}"
            members[name], note = _with_header(members[name], text), text
        case 2:
            text = rng.choice(("(" * 5000, "{'a':", "[" * 900 + "]" * 900, "\\x1b[31m", "{}", "-1"))
            members[name], note = _with_header(members[name], text), f"header {text[:20]}"
        case 3:
            new = rng.choice(("x.npy", "../x.npy", "\x1b[2J.npy", "z.npy", "x", "x" * 5000))
            members[new], note = members.pop(name), f"renamed to {new[:20]!r}"
        case _:
            members[name], note = members[name] * rng.choice((0, 2)), "emptied or repeated"
    made, method = io.BytesIO(), rng.choice(_METHODS)
    with zipfile.ZipFile(made, "w", method) as archive:
        for each, data in members.items():
            archive.writestr(each, data)
    return made.getvalue(), f"{name}: {note}, packed by method {method}"


def _with_header(array: bytes, text: str) -> bytes:
    """Return an .npy with another text as its header."""
    size = struct.unpack("<H", array[8:10])[0]
    header = text.encode() + b"\n"
    return array[:8] + struct.pack("<H", len(header)) + header + array[10 + size :]
