"""A headless Chromium for the tests of pages, driven by Playwright; and a note of everything that a page asks for."""
from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any
from urllib.parse import urlsplit

NAMES = "chromium", "chromium-browser", "google-chrome"
OPTIONS = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
           "--disable-component-update", "--disable-sync")
CHROMIUM = next(filter(None, map(shutil.which, NAMES)), None) if find_spec("playwright") else None
PAGES = "test_*_in_browser.py"      # the tests that need a browser: conftest.py collects them where there is one
NEAR = {"127.0.0.1", "localhost", ""}


@contextmanager
def browser() -> Iterator[Any]:
    """Chromium, as an object of Playwright."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=[*OPTIONS])
        yield found
        found.close()


@contextmanager
def page(of: Any, *, wide: int = 1280, high: int = 900, dark: bool = False) -> Iterator[Any]:
    """A page that may only ask this computer, and must not report errors: an AssertionError at the end names what it did."""
    found = of.new_page(viewport={"width": wide, "height": high}, color_scheme="dark" if dark else "light")
    found.set_default_timeout(120_000)      # a machine may be slow
    wrong: list[str] = []
    found.on("request", lambda asked: wrong.append(f"asks for {asked.url}") if urlsplit(asked.url).hostname not in {*NEAR, None} else None)
    found.on("pageerror", lambda error: wrong.append(f"error: {error}"))
    found.on("console", lambda said: wrong.append(f"console: {said.text}") if said.type == "error" else None)
    yield found
    found.close()
    assert not wrong, wrong
