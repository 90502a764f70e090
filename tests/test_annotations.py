"""Every array type in a jaxtyping annotation is a class, as jaxtyping accepts classes everywhere.

With Python 3.12 or newer and numpy 2.5 or newer, NDArray is an alias and not a class, and
`Float[NDArray[np.float32], "..."]` raises at import.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("src/ancestral", "engine", "export", "train", "triton_kernels", "benchmarks", "tests")
CLASSES = {"Tensor", "np.ndarray"}


def wrong_annotations(source: str) -> Iterator[str]:
    """Yield a module's jaxtyping annotations whose array type is not one of `CLASSES`."""
    tree = ast.parse(source)
    shaped = {
        name.asname or name.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == "jaxtyping"
        for name in node.names
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Subscript) and ast.unparse(node.value) in shaped:
            array = node.slice.elts[0] if isinstance(node.slice, ast.Tuple) else node.slice
            if ast.unparse(array) not in CLASSES:
                yield f"line {node.lineno}: {ast.unparse(node)}"


@pytest.fixture(scope="module")
def sources() -> dict[Path, str]:
    """Return the text of each module that mentions jaxtyping; links are not followed."""
    files = [file for folder in FOLDERS for file in sorted((ROOT / folder).rglob("*.py"))]
    texts = {file.relative_to(ROOT): file.read_text() for file in files if file != Path(__file__)}
    return {file: text for file, text in texts.items() if "jaxtyping" in text}


def test_array_types_are_classes(sources: dict[Path, str]) -> None:
    assert len(sources) > 50
    found = [f"{file}, {bad}" for file, text in sources.items() for bad in wrong_annotations(text)]
    assert not found, f"expected one of {sorted(CLASSES)} as the array type: {found}"


def test_jaxtyping_is_imported_by_names(sources: dict[Path, str]) -> None:
    """Modules use `from jaxtyping import`, as the walk finds annotations by these names."""
    assert [file for file, text in sources.items() if "import jaxtyping" in text] == []


@pytest.mark.parametrize(
    "annotation",
    ['Float[NDArray[np.float32], "b"]', 'Float[Floats, "b"]', 'list[Float[NDArray, "b"] | None]'],
)
def test_alias_is_found(annotation: str) -> None:
    """The planted fault: NDArray itself, and another name for it."""
    source = f"from jaxtyping import Float\n\ndef f(x: {annotation}) -> None: ...\n"
    assert len(list(wrong_annotations(source))) == 1


def test_class_is_not_found() -> None:
    source = (
        'from jaxtyping import Float\n\nx: Float[np.ndarray, "b"]\ny: list[NDArray[np.int64]]\n'
    )
    assert list(wrong_annotations(source)) == []
