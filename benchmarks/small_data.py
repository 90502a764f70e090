"""Data for the recipes for two cores, from installed packages; the same bytes on every machine.

    python -m benchmarks.small_data FOLDER

It writes digits-28.npz and docstrings.txt:

- scikit-learn's digits, enlarged from 8 x 8 to 28 x 28 pixels by bilinear interpolation in
  integers, with the same 17 levels and the same split;
- the docstrings of Python's standard library in the order of its files, each paragraph once, so
  that the test part does not repeat the training part. They differ between releases of Python, so
  a result belongs to one SHA-256.
"""

import argparse
import ast
import io
import sysconfig
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Int64

from ancestral.files.atomic import write_atomically
from ancestral.train.data import load_digits
from ancestral.train.data.python_source import python_files

SIDE = 28
DIGITS, TEXT = "digits-28.npz", "docstrings.txt"
_LEFT_OUT = {"site-packages", "dist-packages", "test", "tests", "idlelib", "lib2to3", "turtledemo"}
"""Folders of Python's installation that are not part of the standard library."""


def enlarged(images: Int64[np.ndarray, "n h h"], side: int = SIDE) -> Int64[np.ndarray, "n s s"]:
    """Resize square images by bilinear interpolation between the centres of pixels.

    Outside the outermost centres the nearest pixel is used. Halves are rounded up.

    Args:
        images: integer levels, of any range.
        side: height and width of the result, in pixels.
    """
    old = images.shape[1]
    # Centres in units of 1 / (2 side) of an old pixel: exact, as are the weights.
    unit = 2 * side
    centre = np.clip((2 * np.arange(side) + 1) * old - side, 0, unit * (old - 1))
    first = np.minimum(centre // unit, old - 2)
    weight = centre - first * unit
    maps = np.zeros((side, old), np.int64)
    maps[np.arange(side), first] = unit - weight
    maps[np.arange(side), first + 1] = weight
    summed = maps @ images @ maps.T
    return (2 * summed + unit**2) // (2 * unit**2)


def write_digits(folder: Path) -> Path:
    """Write the enlarged digits: x [1797, 28, 28], y, and the indices of the three parts."""
    from sklearn import datasets

    bunch, split = datasets.load_digits(), load_digits().split
    content = io.BytesIO()
    np.savez_compressed(
        content,
        x=enlarged(bunch.images.astype(np.int64)).astype(np.uint8),
        y=bunch.target.astype(np.uint8),
        train=split.train,
        validation=split.validation,
        test=split.test,
    )
    path = folder / DIGITS
    write_atomically(path, content.getvalue())
    return path


def write_text(folder: Path, root: Path | None = None) -> Path:
    """Write the paragraphs of all docstrings, one after another, in UTF-8.

    Args:
        folder: folder of the written file.
        root: folder of the Python files; None for the standard library.
    """
    path, root = folder / TEXT, root or Path(sysconfig.get_paths()["stdlib"])
    paragraphs = (each for text in _docstrings(root) for each in text.split("\n\n"))
    write_atomically(path, "\n\n".join(dict.fromkeys(paragraphs)).encode())
    return path


def _docstrings(root: Path) -> Iterator[str]:
    """Yield the docstrings of modules, classes and functions, file by file."""
    for _, path in python_files(root, _LEFT_OUT):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)
            tree = ast.parse(path.read_bytes())
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                text = ast.get_docstring(node)
                if text:
                    yield text


def main() -> None:
    """Write both files and print their names."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    for path in (write_digits(folder), write_text(folder)):
        print(path)


if __name__ == "__main__":
    main()
