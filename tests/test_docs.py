"""README.md and docs/*.md are true: every ```python block runs, and every doctest gives what it shows.

The blocks of a page run one after the other in one namespace, as a reader would type them. A block with ``>>>`` is a
doctest and its output is compared; any other block only has to run.
"""
from __future__ import annotations

import ast
import builtins
import doctest
import inspect
import re
import sys
import textwrap
from pathlib import Path
from types import ModuleType

import pytest
from spellings import differ, names_here, result, spellings

import tinygrad_relu as tg

ROOT = Path(__file__).parents[1]
PAGES = [page for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("**/*.md"))) if page.is_file()]
NAMES = [page.relative_to(ROOT).as_posix() for page in PAGES]

FENCE = re.compile(r"^ *(?P<fence>`{3,}|~{3,}) *(?P<language>[^\n`]*)\n(?P<code>.*?)^ *(?P=fence) *$", re.M | re.S)
LINK = re.compile(r"\]\((?!\w+:)(?P<file>[^)#\s]*)(?:#(?P<section>[^)\s]*))?\)")
OUTSIDE = re.compile(r"(?:^|[\s`'\"(=])(?:/(?:home|root|tmp|work|usr|opt|mnt)/|file://)|--(?:extra-)?index-url", re.M)


def blocks(page: Path) -> list[tuple[int, str]]:
    """The Python blocks of a page, each with the number of its first line."""
    text = page.read_text(encoding="utf-8")
    return [(text.count("\n", 0, found.start("code")) + 1, textwrap.dedent(found["code"])) for found in FENCE.finditer(text)
            if found["language"].split()[:1] in (["python"], ["py"], ["pycon"])]


def run(page: Path) -> list[str]:
    """Run the blocks of a page in a ``__main__`` of their own, as if they were typed in. Returns descriptions of the failures."""
    main, before = ModuleType("__main__"), sys.modules["__main__"]
    runner = doctest.DocTestRunner(verbose=False, optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS)
    complaints: list[str] = []
    sys.modules["__main__"] = main
    try:
        for line, code in blocks(page):
            if ">>>" in code:
                test = doctest.DocTestParser().get_doctest(code, {}, page.name, str(page), line - 1)
                test.globs = vars(main)
                runner.run(test, out=complaints.append, clear_globs=False)
            else:
                exec(compile("\n" * (line - 1) + code, str(page), "exec", dont_inherit=True), vars(main))
    finally:
        sys.modules["__main__"] = before
    return complaints


@pytest.fixture
def _elsewhere(tmp_path, monkeypatch):
    """A folder of its own for the files of a page; one thread, since the networks of the pages are small."""
    monkeypatch.chdir(tmp_path)
    threads = tg.get_num_threads()
    tg.set_num_threads(1)
    yield
    tg.set_num_threads(threads)


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
@pytest.mark.usefixtures("_elsewhere")
def test_what_a_page_shows_is_true(page):
    complaints = run(page)
    assert not complaints, "\n".join(complaints)


@pytest.mark.usefixtures("_elsewhere")
@pytest.mark.parametrize("code, wrong", [
    ("```python\nx = 2\n```\n\n```python\n>>> x + 1\n3\n```\n", 0),     # one namespace for the whole page
    ("```python\n>>> 1 + 1\n3\n```\n", 1),
    ("```python\n>>> 1 / 0\n```\n", 1),
    ("```sh\n>>> exit 1\n```\n\n```\n>>> no\n```\nno `code` at all\n", 0),
])
def test_a_false_page_is_found_out(code, wrong, tmp_path):
    page = tmp_path / "page.md"
    page.write_text(code)
    assert len(run(page)) == wrong


def test_a_block_that_fails_names_its_line(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("one\n\n```python\nx = 1\ny = 1 / 0\n```\n")
    with pytest.raises(ZeroDivisionError) as caught:
        run(page)
    assert caught.traceback[-1].lineno + 1 == 5


def slug(heading: str) -> str:
    """The name that GitHub gives to the anchor of a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_the_links_of_a_page_lead_somewhere(page):
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    for link in LINK.finditer(text):
        target = page.parent / link["file"] if link["file"] else page
        assert target.exists(), f"{page.name} links to {link['file']}, which is not there"
        if link["section"] and target.suffix == ".md":
            headings = re.findall(r"^#+ +(.+?) *$", FENCE.sub("", target.read_text(encoding="utf-8")), re.M)
            assert link["section"] in map(slug, headings), f"{page.name} links to #{link['section']}, no heading of {target.name}"


def test_the_indexes_link_every_page():
    """docs/index.md links the pages beside it and the indexes of the folders, and these link theirs."""
    indexes = [page for page in PAGES if page.name == "index.md"]
    linked = {page.parent / link["file"] for page in indexes for link in LINK.finditer(page.read_text(encoding="utf-8"))}
    assert set(PAGES) - {ROOT / "README.md", ROOT / "docs/index.md"} <= linked


BOOK = ROOT / "docs/book"
CHAPTERS = re.findall(r"^(\d+)\. \[(.+)\]\((.+)\)$", (BOOK / "index.md").read_text(encoding="utf-8"), re.M)


def test_the_book_has_all_its_chapters_in_order():
    assert [int(number) for number, _, _ in CHAPTERS] == list(range(1, 21))
    assert [file for _, _, file in CHAPTERS] == sorted(page.name for page in BOOK.glob("[0-9]*.md"))


@pytest.mark.parametrize("number, title, file", CHAPTERS)
def test_a_chapter_of_the_book_has_its_parts(number, title, file):
    """Its title, a comparison with the engine that is checked, two exercises with solutions, and the way to its neighbours."""
    text = (BOOK / file).read_text(encoding="utf-8")
    assert text.startswith(f"# {number}. {title}\n")
    engine = re.search(r"^## The engine.*?(?=^## )", text, re.M | re.S)
    assert engine and re.search("assert|>>>", engine[0])
    parts = re.findall(r"^\*\*Exercise (\d)\.\*\*|^<details><summary>(Solution)</summary>$", text, re.M)
    assert parts == [("1", ""), ("", "Solution"), ("2", ""), ("", "Solution")]
    at = [each for _, _, each in CHAPTERS].index(file)
    near = [CHAPTERS[i][2] for i in (at - 1, at + 1) if 0 <= i < len(CHAPTERS)]
    assert re.findall(r"\(([^)]+)\)", text.splitlines()[-1]) == near


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_a_page_names_no_place_of_the_machine_it_was_written_on(page):
    found = OUTSIDE.search(page.read_text(encoding="utf-8"))
    assert not found, f"{page.name} has {found[0]!r}"


# -- docs/coming-from.md ----------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("_elsewhere")
@pytest.mark.parametrize("library, theirs, ours", [(library, *row) for library in ("NumPy", "PyTorch", "MyGrad")
                                                   for row in spellings(library)])
def test_a_spelling_of_another_library_has_the_one_that_the_page_names(library, theirs, ours):
    """The code runs, and gives NumPy's numbers. (tests/parity compares with PyTorch, if it is installed.)"""
    found = result(ours, names_here())
    assert library != "NumPy" or not differ(result(theirs, names_here()), found)


def test_a_wrong_spelling_is_found_out():
    assert differ(result("a.sum(axis=0)", names_here()), result("x.sum(axis=1)", names_here()))
    assert not differ(result("a.T", names_here()), result("x.T", names_here())) and spellings("NumPy") and spellings("MyGrad")


# -- docstrings -------------------------------------------------------------------------------------------------------------

CUSTOMARY: dict[str, object] = {}
exec(blocks(ROOT / "docs/index.md")[0][1], CUSTOMARY)


def unknown(examples: str) -> set[str]:
    """The names that examples use, and that neither they nor the imports which docs/index.md names have made."""
    nodes = [*ast.walk(ast.parse(examples))]
    made = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    made |= {node.arg for node in nodes if isinstance(node, ast.arg)} | {getattr(node, "name", None) for node in nodes}
    made |= {alias.asname or alias.name for node in nodes if isinstance(node, (ast.Import, ast.ImportFrom)) for alias in node.names}
    return {node.id for node in nodes if isinstance(node, ast.Name)} - made - {*CUSTOMARY, *vars(builtins)}


def test_examples_of_public_names_need_only_the_customary_imports():
    rooms = [CUSTOMARY[room] for room in ("tg", "F", "nn", "optim", "lab", "data")]
    public = {name: thing for room in rooms for name, thing in vars(room).items() if name in getattr(room, "__all__", vars(room))
              and getattr(thing, "__module__", "").startswith("tinygrad_relu") and not inspect.ismodule(thing)}
    found = {test.name: unknown("".join(example.source for example in test.examples))
             for name, thing in public.items() for test in doctest.DocTestFinder().find(thing, name)}
    assert len(found) > 400 and not any(found.values()), {name: names for name, names in found.items() if names}
    assert unknown("matmul(Tensor([x]), y)") == {"matmul", "x", "y"}
