"""How the site is built from these pages: scripts/docs, where every warning is an error."""

project = "Loom"
author = "The Loom authors"
extensions = ["myst_parser"]
html_theme = "furo"
html_title = "Loom"
myst_heading_anchors = 3
nitpicky = True
