"""Files that are not arrays but are passed as such, and files built to harm their reader."""

import gzip
import io
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

X = np.arange(64).reshape(8, 2, 4) % 3


def npy(array: np.ndarray, version: tuple[int, int] | None = None) -> bytes:
    content = io.BytesIO()
    np.lib.format.write_array(content, array, version)
    return content.getvalue()


def headed(header: str, data: bytes = b"", version: int = 1) -> bytes:
    """Return an .npy with this header."""
    text = header.encode()
    length = struct.pack("<H" if version == 1 else "<I", len(text))
    return b"\x93NUMPY" + bytes([version, 0]) + length + text + data


def shaped(shape: str, descr: str = "'<i8'", data: bytes = bytes(64)) -> bytes:
    return headed(f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n", data)


def zipped(content: bytes, method: int = zipfile.ZIP_STORED, name: str = "x.npy") -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        archive.writestr(name, content)
    return file.getvalue()


def replaced(content: bytes, *changes: tuple[int, bytes]) -> bytes:
    for offset, data in changes:
        content = content[:offset] + data + content[offset + len(data) :]
    return content


def entry_changed(content: bytes, local: int, central: int, data: bytes) -> bytes:
    """Return an archive of one entry with a field changed in both headers."""
    return replaced(content, (local, data), (content.rindex(b"PK\x01\x02") + central, data))


def bomb(size: int) -> bytes:
    """Return an archive of zeros, packed to a thousandth of their size."""
    file = io.BytesIO()
    with (
        zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("x.npy", "w", force_zip64=True) as entry,
    ):
        entry.write(shaped(f"({size // 8},)", data=b""))
        for _ in range(size // 2**24):
            entry.write(bytes(2**24))
    return file.getvalue()


def picture(form: str) -> bytes:
    content = io.BytesIO()
    Image.new("L", (28, 28)).save(content, form)
    return content.getvalue()


def torch_checkpoint() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("model/data.pkl", pickle.dumps({}, 2))
        archive.writestr("model/data/0", bytes(8))
    return file.getvalue()


_WHOLE = zipped(npy(X))
_PACKED = zipped(npy(np.random.default_rng(0).integers(0, 256, 4096)), zipfile.ZIP_DEFLATED)
_SHORT = shaped("(512,)", data=bytes(64))
_LZMA = zipped(npy(X), zipfile.ZIP_LZMA)

DAMAGED: dict[str, tuple[bytes, str]] = {
    "one flipped byte": (
        replaced(_PACKED, (900, bytes([_PACKED[900] ^ 4]))),
        "a damaged archive (Error -3",
    ),
    "checksum when packed": (entry_changed(_PACKED, 14, 16, bytes(4)), "Bad CRC"),
    "checksum": (replaced(_WHOLE, (300, b"\x55")), "Bad CRC"),
    "truncated": (
        _WHOLE[:-30],
        "damaged archive (File is not a zip file); copy or download it again",
    ),
    "fewer bytes than declared": (
        entry_changed(
            zipped(_SHORT, zipfile.ZIP_DEFLATED), 22, 24, struct.pack("<I", len(_SHORT) + 4032)
        ),
        "expected 4,096 bytes of values, got 64; the file is truncated",
    ),
    "truncated npy": (npy(X)[:-9], "got 503; the file is truncated"),
    "longer npy": (npy(X) + npy(X), "expected 512 bytes for shape (8, 2, 4) of int64"),
    "lzma": (_LZMA, "compression method 14"),
    "damaged lzma": (replaced(_LZMA, (60, b"\xff\xff")), "compression method 14"),
    "bzip2": (zipped(npy(X), zipfile.ZIP_BZIP2), "compression method 12"),
    "unknown method": (entry_changed(_WHOLE, 8, 10, b"\x61\0"), "compression method 97"),
    "encrypted": (entry_changed(_WHOLE, 6, 8, b"\x01\0"), "encrypted; decrypt the file"),
    "future version": (entry_changed(_WHOLE, 4, 6, b"\xff"), "zip file version"),
    "34 GB": (shaped(f"({2**32},)"), "at most 4 GiB"),
    "34 GB in an archive": (zipped(shaped(f"({2**32},)")), "at most 4 GiB"),
    "shape beyond 8 EiB": (shaped(f"({2**62}, {2**62})"), "more than 8 EiB"),
    "shape of thousands of digits": (shaped(f"({'9' * 4000},)"), "expected a shape"),
    "shape of many digits": (shaped(f"({'9' * 4400},)"), "expected the header"),
    "no values, absurd axes": (shaped(f"(0, {2**62}, {2**62})", data=b""), "fits in memory"),
    "65 axes": (shaped(f"({'1, ' * 65})", data=bytes(8)), "at most 64 axes"),
    "negative": (shaped("(-1,)"), "expected a shape"),
    "truth": (shaped("(True,)", data=bytes(8)), "expected a shape"),
    "nested": (headed("(" * 9000), "expected the header"),
    "nested signs": (headed("-" * 9000 + "1"), "expected the header"),
    "unterminated": (headed("{'descr': '''"), "expected the header"),
    "indented": (headed("{\n  (\n 'a"), "expected the header"),
    "NUL": (headed("{\0}"), "expected the header"),
    "call": (headed("__import__('os').abort()"), "expected the header"),
    "a list": (headed("[1, 2]"), "expected the header"),
    "unhashable": (headed("{[]: 1}"), "expected the header"),
    "long header": (headed("{}" + " " * 70000, version=2), "at most 10,000 bytes"),
    "endless header": (b"\x93NUMPY\x02\0\xff\xff\xff\xff", "at most 10,000 bytes"),
    "no header": (b"\x93NUMPY", "expected an .npy"),
    "no length": (b"\x93NUMPY\x01\0\x40", "truncated header"),
    "cut header": (npy(X)[:40], "truncated header"),
    "version": (b"\x93NUMPY\x09\0" + bytes(90), "got 9.0"),
    "objects": (zipped(npy(np.array([{}], object))), "got Python objects"),
    "records": (npy(np.zeros(3, [("a", int), ("b", float)])), "a table of named columns"),
    "text array": (npy(np.array(["a", "b"])), "got text ('<U1')"),
    "bytes": (npy(np.array([b"a"])), "got bytes"),
    "dates": (npy(np.zeros(2, "datetime64[D]")), "got dates"),
    "raw": (shaped("(4,)", "'<V2'", bytes(8)), "cast it to float32"),
    "no such width": (shaped("(4,)", "'<i7'", bytes(28)), "an unknown dtype ('<i7')"),
    "several types": (shaped("(4,)", "'i8,i8'"), "an unknown dtype"),
    "sub-arrays": (shaped("(1,)", "('<i8', (8,))"), "an unknown dtype"),
    "no npy inside": (zipped(b"text"), "expected an .npy, got"),
    "names without arrays": (zipped(b"text", name="a.txt"), "['a.txt']"),
    "no arrays": (b"PK\x05\x06" + bytes(18), "an empty zip archive"),
    "checkpoint": (torch_checkpoint(), "a PyTorch checkpoint"),
    "PNG": (picture("png"), "a PNG picture; turn its pixels"),
    "JPEG": (picture("jpeg"), "a JPEG picture; turn its pixels"),
    "GIF": (picture("gif"), "a GIF picture"),
    "TIFF": (picture("tiff"), "a TIFF picture"),
    "WebP": (b"RIFF\x24\0\0\0WEBPVP8 ", "a WebP picture"),
    "pickle": (pickle.dumps({"x": [1]}), "a pickle; pickles can run code"),
    "safetensors": (struct.pack("<Q", 60) + b'{"x":{"dtype":"F32"}}', "a safetensors file"),
    "HDF5": (b"\x89HDF\r\n\x1a\n" + bytes(40), "an HDF5 file"),
    "Parquet": (b"PAR1" + bytes(40), "a Parquet file"),
    "CSV": (b"a,b\n1,2\n", "text; load it, for example with numpy.loadtxt"),
    "UTF-8": ("zażółć\n".encode()[:-2], "text; "),
    "gzip": (gzip.compress(npy(X)), "a gzip archive; unpack it"),
    "IDX": (b"\0\0\x08\x03" + bytes(12), "an IDX file"),
    "empty": (b"", "an empty file"),
    "anything": (
        b"\xde\xad\xbe\xef" * 4,
        "unknown kind of file that begins with the bytes de ad be ef",
    ),
}
"""By name: the content, and part of the error message."""

ODD: dict[str, Callable[[Path], object]] = {
    "a pipe": os.mkfifo,
    "a device": lambda path: path.symlink_to("/dev/zero"),
    "a folder": Path.mkdir,
}
"""Functions that create a file that is not a regular file, by its name in error messages."""
