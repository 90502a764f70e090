"""Links to and from the Markdown files outside of docs, which the site includes in docs/project.

Their relative links, and the links of other pages to them, are those that work on GitHub. Each is
resolved in the folder of its file and changed to the page of the site that shows the target.
"""

import re
from pathlib import Path

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx

DOCS = Path(__file__).resolve().parents[1]
INCLUDED = re.compile(r"^```\{include\} (\S+)$", flags=re.MULTILINE)


def included() -> dict[str, Path]:
    """Return the file that each page of docs/project includes, by the name of the page."""
    found = {}
    for page in sorted((DOCS / "project").glob("*.md")):
        path = INCLUDED.search(page.read_text())
        if path:
            name = page.relative_to(DOCS).with_suffix("").as_posix()
            found[name] = (page.parent / path[1]).resolve()
    return found


def resolve(app: Sphinx, doctree: nodes.document) -> None:
    """Change the relative links of a page to the pages of the site that show their targets."""
    files = included()
    pages = {file: page for page, file in files.items()} | {DOCS.parent / "README.md": "index"}
    name = app.env.docname
    folder = files.get(name, DOCS / name).parent
    for link in doctree.findall(addnodes.pending_xref):
        if link.get("reftype") != "myst":
            continue
        path, _, anchor = link["reftarget"].partition("#")
        if link["refdomain"] == "doc":
            target, anchor = (DOCS / f"{path}.md").resolve(), link["reftargetid"]
        else:
            target = (folder / path).resolve()
        page = pages.get(target) or app.env.path2doc(target)
        if page in app.env.found_docs:
            link["refdomain"], link["reftarget"], link["reftargetid"] = "doc", page, anchor or None


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the extension."""
    app.connect("doctree-read", resolve)
    return {"parallel_read_safe": True}
