"""The site of docs/: it is built without a warning, each link leads somewhere, nothing comes from a network, and the search finds."""
from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from browser import CHROMIUM, browser, page

ROOT = Path(__file__).parents[1]


class Links(HTMLParser):
    """The anchors of a page, and what it links to and loads."""

    def __init__(self, text):
        super().__init__()
        self.anchors, self.links, self.loads = set(), set(), set()
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.anchors |= {attributes.get("id"), attributes.get("name")}
        for address in filter(None, (attributes.get("href"), attributes.get("src"))):
            (self.links if tag == "a" else self.loads).add(address)


def broken(site):
    """The links of all pages below `site` that lead nowhere, and what is loaded from elsewhere."""
    pages = {file: Links(file.read_text(encoding="utf-8")) for file in site.rglob("*.html") if "_static" not in file.parts}
    for file, links in pages.items():
        for address in links.links | links.loads:
            url = urlsplit(address)
            if url.netloc or url.scheme:
                if url.scheme not in (("data",) if address in links.loads else ("http", "https")):
                    yield f"{file.relative_to(site)} loads {address}"
                continue
            target = Path(os.path.normpath(file.parent / unquote(url.path))) if url.path else file
            if not target.is_file() or (url.fragment and target in pages and unquote(url.fragment) not in pages[target].anchors):
                yield f"{file.relative_to(site)} links to {address}"


def test_the_site(tmp_path):
    """One test, since the build takes most of its time. Without Chromium, the search is not used."""
    for entry in ROOT.iterdir():            # the build writes pages into docs
        if entry.name != "docs" and not entry.name.startswith("."):
            (tmp_path / entry.name).symlink_to(entry)
    shutil.copytree(ROOT / "docs", tmp_path / "docs", ignore=shutil.ignore_patterns("made"))
    built = subprocess.run([sys.executable, "-m", "sphinx", "-W", "-q", "-t", "quick", "docs", "out"], cwd=tmp_path,
                           capture_output=True, text=True)
    assert not built.returncode, built.stderr
    site = tmp_path / "out"
    assert not [*broken(site)]
    code = re.sub("<[^>]+>", "", (site / "book/20-capture.html").read_text(encoding="utf-8"))
    assert "model[0](digits.x)" in code             # this is no link
    assert (site / "source/tinygrad_relu/tensor.py.html").is_file() and 'href="made/claims/dying.html#experiment-rank"' in (
        site / "claims.html").read_text()
    if CHROMIUM:
        searched(site)


def searched(site):
    """Type into the search of a page, and follow a hit."""
    with browser() as chromium, page(chromium) as opened:
        opened.goto((site / "index.html").as_uri())
        opened.locator(".search-button-field:visible").click()
        opened.keyboard.type("lethal rate")
        opened.locator("a[href$='#tinygrad_relu.lab.LethalRates']:visible").first.click()      # more hits may still arrive
        opened.wait_for_url("**/made/reference/dead-units.html*#tinygrad_relu.lab.LethalRates")
        assert "the next step" in opened.locator("dl.py.class", has_text="LethalRates").first.inner_text()


@pytest.mark.parametrize("text, wrong", [
    ('<a href="b.html#here">', []), ('<a href="#below"><p id="below">', []), ('<a href="https://docs.python.org">', []),
    ('<a href="c.html">', ["a.html links to c.html"]), ('<a href="b.html#there">', ["a.html links to b.html#there"]),
    ('<img src="no.png">', ["a.html links to no.png"]), ('<script src="https://x.org/a.js">', ["a.html loads https://x.org/a.js"]),
    ('<link href="//fonts.org/a.css">', ["a.html loads //fonts.org/a.css"])])
def test_a_broken_link_is_found_out(text, wrong, tmp_path):
    (tmp_path / "a.html").write_text(text)
    (tmp_path / "b.html").write_text('<h1 id="here">')
    assert [*broken(tmp_path)] == wrong
