"""How the site is built from these pages: scripts/docs, where every warning is an error."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "src"))

project = "Loom"
author = "The Loom authors"
extensions = ["myst_parser", "sphinx.ext.autodoc"]
html_theme = "furo"
html_title = "Loom"
myst_heading_anchors = 3
nitpicky = True
# Types in signatures are private for the most part. Links in pages are still checked.
nitpick_ignore_regex = [("py:.*", ".*")]
autodoc_member_order = "bysource"
default_role = "code"
