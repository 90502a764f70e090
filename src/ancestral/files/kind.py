"""Recognise a file by its first bytes, for the error about a file that is not arrays."""

from contextlib import suppress

FIRST_BYTES = 512
"""Number of bytes that `kind_of` looks at."""
_PIXELS = "turn its pixels into an array of levels, and save that with numpy.savez"
_UNPACK = "unpack it first"
_LOAD = "load it with its own library, and save the arrays with numpy.savez"
_PICKLE = "pickles can run code, so save plain arrays"
_KINDS: tuple[tuple[int, bytes, str, str], ...] = (
    (0, b"\x93NUMPY", "an .npy, one array without a name", "save it with numpy.savez"),
    (0, b"PK\x03\x04", "a zip archive", _UNPACK),
    (0, b"PK\x05\x06", "an empty zip archive", "save the arrays with numpy.savez"),
    (0, b"\x89PNG\r\n\x1a\n", "a PNG picture", _PIXELS),
    (0, b"\xff\xd8\xff", "a JPEG picture", _PIXELS),
    (0, b"GIF8", "a GIF picture", _PIXELS),
    (0, b"II*\0", "a TIFF picture", _PIXELS),
    (0, b"MM\0*", "a TIFF picture", _PIXELS),
    (8, b"WEBP", "a WebP picture", _PIXELS),
    (0, b"%PDF-", "a PDF", "pass arrays"),
    (0, b"\x89HDF\r\n\x1a\n", "an HDF5 file", _LOAD),
    (0, b"MATLAB 5.0 MAT-file", "a MATLAB file", "load it with scipy.io.loadmat"),
    (0, b"PAR1", "a Parquet file", _LOAD),
    (0, b"ARROW1", "an Arrow file", _LOAD),
    (0, b"SQLite format 3\0", "an SQLite database", _LOAD),
    (0, b"GGUF", "a GGUF file of weights", "pass data, not a model"),
    (8, b'{"', "a safetensors file", "load it with safetensors, and save it with numpy.savez"),
    (0, b"\x1f\x8b", "a gzip archive", _UNPACK),
    (0, b"BZh", "a bzip2 archive", _UNPACK),
    (0, b"\xfd7zXZ\0", "an xz archive", _UNPACK),
    (0, b"\x28\xb5\x2f\xfd", "a Zstandard archive", _UNPACK),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive", _UNPACK),
    (257, b"ustar", "a tar archive", _UNPACK),
    (0, b"\0\0\x08", "an IDX file, as MNIST has", "pass its folder as --data idx:FOLDER"),
    *((0, bytes([0x80, protocol]), "a pickle", _PICKLE) for protocol in (2, 3, 4, 5)),
)
"""Offset and bytes that mark each kind of file, its name, and what to do with it."""


def kind_of(start: bytes) -> str:
    r"""Describe what a file is and what to do with it.

    >>> kind_of(b"\x89PNG\r\n\x1a\n")[:13]
    'a PNG picture'
    >>> kind_of(b"")
    'an empty file'

    Args:
        start: first bytes of the file, up to FIRST_BYTES of them.
    """
    if not start:
        return "an empty file"
    for offset, magic, name, advice in _KINDS:
        if start.startswith(magic, offset):
            return f"{name}; {advice}"
    if _is_text(start):
        return "text; load it, for example with numpy.loadtxt, and save the array with numpy.save"
    return f"an unknown kind of file that begins with the bytes {start[:8].hex(' ')}"


def _is_text(start: bytes) -> bool:
    """Return whether bytes are UTF-8 text, in which the last character may be incomplete."""
    for cut in range(4):
        with suppress(UnicodeDecodeError):
            text = start[: len(start) - cut].decode("utf-8")
            return all(each.isprintable() or each.isspace() for each in text)
    return False
