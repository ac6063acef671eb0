"""The site: `python -m sphinx docs site` makes it of the pages of this folder. Nothing is loaded from a network.

The pages stay plain Markdown that GitHub shows, too. What a site needs beyond that is derived here: the navigation from the links
of index.md.
"""
from __future__ import annotations

import re

project = "tinygrad_relu"
extensions = ["myst_nb", "sphinx_copybutton"]
exclude_patterns = ["_templates", "_static"]
templates_path = ["_templates"]
nitpicky = True

html_theme = "pydata_sphinx_theme"
html_title = "tinygrad_relu"
html_static_path = ["_static"]
html_show_sourcelink = False
html_sidebars = {"**": ["contents.html"]}
html_theme_options = {"navbar_center": [], "navbar_end": ["theme-switcher"], "footer_start": [], "footer_end": [],
                      "search_as_you_type": True}

myst_heading_anchors = 4            # as GitHub has them
nb_execution_mode = "off"
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True


def navigation(app, docname, source) -> None:
    """Give an index the toctrees that its links imply: one for each section, with the section's title."""
    if not docname.endswith("index"):
        return
    for title, section in re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", source[0], re.M | re.S):
        pages = re.findall(r"^(?:-|\d+\.) +\[[^\]]+\]\(([^)#:]+)\.(?:md|ipynb)\)", section, re.M)
        if pages:
            source[0] += "\n".join(["\n```{toctree}", ":hidden:", f":caption: {title}", *pages, "```\n"])


def setup(app) -> None:
    app.connect("source-read", navigation)
