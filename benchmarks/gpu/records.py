"""Files of lines that a process writes until it ends or is killed.

This module imports nothing of ancestral: a plugin of pytest that did would keep jaxtyping from
checking its annotations.
"""

from pathlib import Path


def whole_lines(file: Path) -> list[str]:
    """Return the whole lines of a file whose process may have been killed; none without a file."""
    text = file.read_text() if file.exists() else ""
    return text[: text.rfind("\n") + 1].splitlines()
