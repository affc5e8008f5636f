"""How Sphinx builds the documents: ``make docs``."""

project = "ironnode"
extensions = ["myst_parser"]
root_doc = "docs/index"
include_patterns = ["README.md", "CHANGELOG.md", "bench/README.md", "docs/*.md", "docs/*/*.md", "deploy/*/README.md"]
myst_heading_anchors = 3
html_theme = "alabaster"
html_theme_options = {"page_width": "1300px", "sidebar_width": "260px"}
