"""Relative links of the Markdown pages lead to files, and their anchors to headings."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
LINK = re.compile(r"\]\(\s*<?([^)\s>]+)")
CODE = re.compile(r"^```.*?^```$|`[^`\n]*`", flags=re.MULTILINE | re.DOTALL)


def links(text: str) -> list[str]:
    """Where the links and images of a page lead, without those to other sites and those in code."""
    found: list[str] = LINK.findall(CODE.sub("", text))
    return [link for link in found if not re.match(r"[a-z]+:", link)]


def anchors(page: Path) -> set[str]:
    """The anchors that the headings of a page make."""
    found = re.findall(r"^#+ (.*)$", CODE.sub("", page.read_text()), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in found}


def broken(page: Path) -> Iterator[str]:
    """The links of a page that lead nowhere."""
    for link in links(page.read_text()):
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            yield link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    assert list(broken(page)) == []


def test_pages_have_links() -> None:
    names = {page.relative_to(ROOT).as_posix() for page in PAGES}
    assert {"README.md", "CONTRIBUTING.md", "docs/own-model.md"} < names
    assert sum(len(links(page.read_text())) for page in PAGES) > 20


def test_a_broken_link_is_found(tmp_path: Path) -> None:
    """The planted faults: a page that is not there, a picture, and a heading."""
    (tmp_path / "there.md").write_text("# A heading, say\n")
    page = tmp_path / "page.md"
    page.write_text(
        "[a](there.md), [b](there.md#a-heading-say), [c](https://host/x.md), `[d](code.md)`,\n"
        "![e](gone.png), [f](../gone.md), [g](there.md#another)\n"
    )
    assert list(broken(page)) == ["gone.png", "../gone.md", "there.md#another"]
