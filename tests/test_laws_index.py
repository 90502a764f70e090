"""tests/laws/README.md names exactly the tests of the laws."""

import ast
import re
from pathlib import Path

LAWS = Path(__file__).parent / "laws"


def written() -> set[str]:
    """Return the tests in the page's tables, as "file: name"."""
    found: set[str] = set()
    for line in (LAWS / "README.md").read_text().splitlines():
        files = re.findall(r"\| (test_\w+\.py): ", line)
        if files:
            cells = line.split("|")[2:]
            # A path to another folder is a reference; a file's own name is not a test.
            words = re.sub(r"[\w/]+\.py", "", " ".join(cells))
            found |= {f"{files[0]}: {name}" for name in re.findall(r"\btest_\w+", words)}
    return found


def there() -> set[str]:
    """Return the tests in the folder's files, as "file: name"."""
    return {
        f"{file.name}: {node.name}"
        for file in LAWS.glob("test_*.py")
        for node in ast.parse(file.read_text()).body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }


def test_every_law_is_in_the_index() -> None:
    assert written() == there()
