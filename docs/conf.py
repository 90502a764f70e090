"""Sphinx configuration of the documentation site; `make docs` builds it."""

import sys
from pathlib import Path

import ancestral

sys.path.append(str(Path(__file__).parent / "_extensions"))

project = "ancestral"
release = ancestral.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx_copybutton",
    # in docs/_extensions
    "command_help",
    "plain_docstrings",
    "root_pages",
]
# Not installed with the site; only names are documented.
autodoc_mock_imports = ["ray"]
exclude_patterns = ["_extensions"]
# Smart quotes would turn the two dashes of `--option` into one.
smartquotes = False

# Markdown: the anchors of headings are those of GitHub, so that links work in both places.
myst_heading_anchors = 4
# A block without a language is output, or a command line.
highlight_language = "none"
copybutton_prompt_text = "$ "

# The Python reference. A name in single backticks is code, and a link if the name is documented.
default_role = "py:obj"
autodoc_default_options = {"exclude-members": "model_config, kind, advice"}
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
maximum_signature_line_length = 80

# A reference to a name of ours must lead somewhere. The build needs no network, so names of other
# packages are not looked up; nor are names in backticks, which may be options or values.
nitpicky = True
nitpick_ignore = [("py:class", "ancestral.engine.open.E")]
nitpick_ignore_regex = [("py:obj", ".*"), (r"py:\w+", r"(?!ancestral\b).*")]

html_theme = "furo"
html_title = "ancestral"
html_copy_source = False
html_show_copyright = False

# `make docs-links` follows the links to other sites.
linkcheck_timeout = 20
linkcheck_retries = 2
linkcheck_anchors = False
