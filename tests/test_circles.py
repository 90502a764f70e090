"""No module needs itself: the imports of the product, those of type checkers and functions too."""

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = {
    "src/ancestral": "ancestral",
    "benchmarks": "benchmarks",
    **{name: f"ancestral.{name}" for name in ("train", "export", "engine", "triton_kernels")},
}
LINKS = tuple(f"src/ancestral/{name}/" for name in FOLDERS)
LEFT = {
    frozenset({"ancestral.engine.backends", "ancestral.engine.backends.onnxruntime"}),
    frozenset(f"ancestral.engine.backends.tensorrt_{name}" for name in ("loop", "session")),
    frozenset(f"ancestral.engine.backends.triton_{name}" for name in ("loop", "session")),
    frozenset({"ancestral.train.state", "ancestral.train.state_content"}),
    frozenset({"ancestral.triton_kernels.linear", "ancestral.triton_kernels.linear.kernel"}),
}
"""Circles that are still there."""


def modules() -> dict[str, Path]:
    """The files of the product by the names that they are imported as."""
    found = {}
    for folder, package in FOLDERS.items():
        for path in (ROOT / folder).rglob("*.py"):
            if not path.relative_to(ROOT).as_posix().startswith(LINKS):
                parts = path.relative_to(ROOT / folder).with_suffix("").parts
                name = ".".join((package, *parts)).removesuffix(".__init__")
                found[name] = path
    return found


def imported(tree: ast.AST, package: str) -> Iterator[tuple[str, ...]]:
    """What a module imports anywhere: of `from a import b` the module a.b, or else a."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((each.name,) for each in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.rsplit(".", node.level - 1)[0] if node.level else ""
            base = ".".join(filter(None, (above, node.module)))
            yield from ((f"{base}.{each.name}", base) for each in node.names)


def edges(trees: Mapping[str, tuple[ast.AST, str]]) -> dict[str, set[str]]:
    """The modules of these that each of them imports."""
    return {
        name: {
            next((each for each in candidates if each in trees), name)
            for candidates in imported(tree, package)
        }
        - {name}
        for name, (tree, package) in trees.items()
    }


def circles(graph: Mapping[str, set[str]]) -> set[frozenset[str]]:
    """Modules that need each other."""

    def reached(start: str) -> set[str]:
        seen: set[str] = set()
        todo = [start]
        while todo:
            new = graph[todo.pop()] - seen
            seen |= new
            todo += new
        return seen

    needs = {name: reached(name) for name in graph}
    return {
        frozenset(other for other in needs[name] if name in needs[other])
        for name in graph
        if name in needs[name]
    }


def test_no_circles() -> None:
    trees = {
        name: (
            ast.parse(path.read_text()),
            name if path.name == "__init__.py" else name.rpartition(".")[0],
        )
        for name, path in modules().items()
    }
    assert circles(edges(trees)) == LEFT


def test_planted() -> None:
    """An import for type checkers, and one inside a function, close a circle."""
    sources = {
        "a.one": "if TYPE_CHECKING:\n    from a.two import Two\n",
        "a.two": "def late():\n    from a import one\n",
        "a.three": "import a.one\n",
    }
    trees = {name: (ast.parse(source), "a") for name, source in sources.items()}
    assert circles(edges(trees)) == {frozenset({"a.one", "a.two"})}
