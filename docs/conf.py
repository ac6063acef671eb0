"""The site: `python -m sphinx docs site` makes it of the pages of this folder. Nothing is loaded from a network.

The pages stay plain Markdown that GitHub shows, too. What the site has beyond that is derived here: the navigation from the links
of the indexes, the reference from docstrings, the claims from their experiments, pages of source code, and links between all of
these. With `-t quick` no experiment and no notebook is run.
"""
from __future__ import annotations

import gc
import os
import re
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from docutils import nodes
from jupyter_cache.executors import utils
from numpy.typing import ArrayLike, DTypeLike
from pages import Reference, found, line_of, plain, slug, write_claims
from sphinx.addnodes import desc_addname
from sphinx.util.typing import stringify_annotation

from tinygrad_relu.lab.experiments import CHAPTERS

gc.disable()        # it takes a fifth of the time of a build, to no avail: the trees of all pages live until its end
QUICK = tags.has("quick")      # Sphinx gives a conf.py its tags

project = "tinygrad_relu"
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.linkcode", "sphinx_copybutton"]
exclude_patterns = ["_templates", "_static"]
templates_path = ["_templates"]
default_role = "code"

html_theme = "pydata_sphinx_theme"
html_title = "tinygrad_relu"
html_static_path = ["_static"]
html_favicon = "_static/favicon.svg"
html_css_files = ["site.css"]
html_js_files = ["site.js"]
html_context = {"default_mode": "auto"}
html_show_sourcelink = False
html_use_index = False
html_sidebars = {"**": ["contents.html"]}
html_theme_options = {"show_prev_next": False, "navbar_center": [], "navbar_end": ["theme-switcher"], "footer_start": [],
                      "footer_end": [], "search_as_you_type": True, "pygments_light_style": "a11y-high-contrast-light",
                      "pygments_dark_style": "a11y-high-contrast-dark"}

autodoc_member_order = "bysource"
autodoc_preserve_defaults = not QUICK       # 1e-3 as it is written
autodoc_inherit_docstrings = False
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88

myst_heading_anchors = 4            # as GitHub has them
myst_url_schemes = {"http": None, "https": None, "mailto": None, "source": None}
nb_execution_mode = "off" if QUICK else "cache"
nb_execution_raise_on_error = True
utils.executenb = partial(utils.executenb, startup_timeout=600)        # seconds: a busy machine starts a kernel slowly
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

API = Reference((HERE / "api.md").read_text(encoding="utf-8"))
NAMED = re.compile(r"(?:[A-Za-z_]\w*\.)+\w+")
SHORT = {"tinygrad_relu.functional.": "F.", "tinygrad_relu.": "tg."}        # how signatures call the rooms
LONG = {re.escape(stringify_annotation(ArrayLike, "smart")): "ArrayLike",
        re.escape(stringify_annotation(DTypeLike, "smart")): "DTypeLike",
        r"~numpy\.ndarray\[tuple\[~typing\.Any, \.\.\.\], ~numpy\.dtype\[[~\w.]+\]\]": "Array"}
LINK = re.compile(r"^ *(`{3,}).*?^ *\1|`[^`\n]+`|\]\((?!\w+:|#)(?P<file>[^)#\s]+)(?:#[^)\s]*)?\)", re.M | re.S)
EXPERIMENT = re.compile(r"tinygrad_relu/lab/experiments/(\w+)/(\w+)\.py")


def make_pages(app) -> None:
    API.write(HERE / "made" / "reference")
    write_claims(HERE / "made" / "claims", run=not QUICK)


def read_page(app, docname, source) -> None:
    """Give a page its part of the navigation, and mark its links to files that are no pages."""
    if docname.startswith(("made/", "notebooks/")):
        return
    folder = Path(app.srcdir, docname).parent

    def marked(link) -> str:
        if link["file"] is None:                # code: x[0](y) is no link
            return link[0]
        path = Path(os.path.normpath(folder / link["file"]))
        if path.suffix in (".md", ".ipynb", ".png") and path.is_relative_to(app.srcdir):
            return link[0]
        return f"](source:{(path / '__init__.py' if path.is_dir() else path).relative_to(Path(app.srcdir).parent)})"

    text = LINK.sub(marked, source[0])
    for title, pages in sections(docname, text):
        text += "\n".join(["\n```{toctree}", ":hidden:", *[f":caption: {title}"] * bool(title), "", *pages, "```\n"])
    source[0] = text


def sections(docname: str, text: str) -> list[tuple[str, list[str]]]:
    """What is below a page in the navigation: titles and pages. An index has a section for each heading with links below it."""
    if docname == "api":
        return [("", [f"{title} <made/reference/{slug(title)}>" for title in API.entries])]
    if docname == "claims":
        return [("", [f"{title} <made/claims/{chapter}>" for chapter, title in CHAPTERS.items()])]
    if not docname.endswith("index"):
        return []
    found = [(title, re.findall(r"^(-|\d+\.) +\[([^\]]+)\]\(([^)#:]+)\.(?:md|ipynb)\)", section, re.M))
             for title, section in re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", text, re.M | re.S)]
    return [(title, [f"{mark} {name} <{page}>".lstrip("- ") for mark, name, page in pages]) for title, pages in found if pages]


def read_docstring(app, what, name, obj, options, lines) -> None:
    """From the docstrings of this package to reStructuredText: signs mean themselves, and an indented paragraph is a formula."""
    read = []
    for paragraph in re.split(r"\n\s*\n", "\n".join(lines)):
        if ">>>" in paragraph:
            read.append(paragraph)
        elif paragraph.startswith("    "):
            read.append("::\n\n" * (not read or not read[-1].endswith("::")) + paragraph)
        else:
            read.append(escaped(paragraph))
    lines[:] = [*"\n\n".join(read).split("\n"), ""]


def escaped(text: str) -> str:
    """`plain`, but for the code in it."""
    return re.sub(r"`+[^`]*`+|[*|]|_(?!\w)", lambda sign: sign[0] if sign[0][0] == "`" else plain(sign[0]), text)


def read_signature(app, what, name, obj, options, signature, returns) -> tuple[str | None, str | None]:
    """Call the types of arrays by their names."""
    for long, short in LONG.items():
        signature, returns = (text and re.sub(long, short, text) for text in (signature, returns))
    return signature, returns


def linkcode_resolve(domain: str, info: dict[str, str]) -> str | None:
    place = line_of(found(f"{info['module']}.{info['fullname']}")[1])
    return place and f"source:{place}"


def link(app, doctree, docname) -> None:
    """Inline code that is a public name leads to its entry; a link to source code, to its page or to the experiment in it."""
    for addname in doctree.findall(desc_addname):           # signatures call the rooms as the examples do
        addname[:] = [nodes.Text(SHORT.get(addname.astext(), addname.astext().removeprefix("tinygrad_relu.")))]
    entries = app.env.get_domain("py").objects
    for code in list(doctree.findall(nodes.literal)):
        if NAMED.fullmatch(code.astext()) and not isinstance(code.parent, nodes.reference | nodes.title):
            entry = entries.get(API.home(code.astext()))
            if entry is not None:
                uri = app.builder.get_relative_uri(docname, entry.docname) + "#" + entry.node_id
                code.replace_self(nodes.reference("", "", code.deepcopy(), refuri=uri, internal=True))
    for reference in doctree.findall(nodes.reference):
        if reference.get("refuri", "").startswith("source:"):
            path, _, line = reference["refuri"].removeprefix("source:").partition("#")
            experiment = EXPERIMENT.fullmatch(path)
            if experiment and docname == "claims":
                page, line = f"made/claims/{experiment[1]}", f"experiment-{experiment[2].replace('_', '-')}"
            else:
                page = f"source/{path}"
                app.env.source_files.add(path)
            reference["refuri"] = app.builder.get_relative_uri(docname, page) + f"#{line}" * bool(line)
            reference["internal"] = True


def begin(app, env, docnames) -> None:
    env.source_files = getattr(env, "source_files", set())


def source_pages(app) -> Iterator[tuple[str, dict[str, str], str]]:
    """A page for each file that a page or an entry links to."""
    for path in sorted(app.env.source_files):
        text = (HERE.parent / path).read_text(encoding="utf-8")
        if QUICK:           # nothing but the targets of the links
            page = Path(app.outdir, "source", f"{path}.html")
            page.parent.mkdir(parents=True, exist_ok=True)
            page.write_text("".join(f'<a id="L-{n}"></a>' for n in range(1, text.count("\n") + 2)))
        else:
            language = "python" if path.endswith(".py") else "text"
            body = app.builder.highlighter.highlight_block(text, language, linenos="inline", lineanchors="L")
            yield f"source/{path}", {"title": path, "body": f'<h1 class="source-file">{path}</h1>\n{body}'}, "page.html"


def setup(app) -> None:
    app.connect("builder-inited", make_pages)
    app.connect("env-before-read-docs", begin)
    app.connect("source-read", read_page)
    app.connect("autodoc-process-docstring", read_docstring)
    app.connect("autodoc-process-signature", read_signature)
    app.connect("doctree-resolved", link)
    app.connect("html-collect-pages", source_pages)
