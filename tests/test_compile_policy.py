"""The cache on disk: a second process compiles nothing, an edit is noticed, and everything works without a folder too."""
from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tinygrad_relu
from tinygrad_relu.kernels.machine import cache as kept_kernels
from tinygrad_relu.kernels.machine.policy import Vector, kernel, scalar

HOUSE = Path(tinygrad_relu.__file__).parent

SCRIPT = """
import json, sys, warnings
with warnings.catch_warnings(record=True) as seen:
    warnings.simplefilter("always")
    import numpy as np
    import tinygrad_relu as tg
    from tinygrad_relu.kernels.loops.pointwise import swap
    from tinygrad_relu.kernels.machine import matmul
    from tinygrad_relu.kernels.machine import cache
    from tinygrad_relu.kernels.machine.slabs import slabs
    from tinygrad_relu.kernels.formulas import ACTIVATIONS
    from tinygrad_relu.kernels.loops.pointwise import loops
    x = tg.Tensor([[-2.0, 3.0]], requires_grad=True, dtype=sys.argv[1])
    y = tg.functional.leaky_relu(x, 0.5)
    (y @ y.T).backward()
used = [*loops(ACTIVATIONS["leaky_relu"])[:2], matmul.product, slabs, swap]
print(json.dumps({
    "value": y.data.tolist(), "slope": x.grad.tolist(), "digest": cache.versions(),
    "hits": sum(kernel.loaded for kernel in used),
    "misses": sum(kernel.compiled for kernel in used),
    "warnings": [str(w.message) for w in seen]}))
"""
RIGHT = {"value": [[-1.0, 3.0]], "slope": [[-1.0, 6.0]]}      # of (0.5 * -2)^2 + 3^2


def start(home: Path, cache: Path | None, script: str = SCRIPT, dtype: str = "float64", **environment: str):
    """A new Python process that imports the package from `home` and caches kernels in `cache`."""
    clean = {k: v for k, v in os.environ.items() if k not in ("NUMBA_CACHE_DIR", "XDG_CACHE_HOME", "PYTHONPATH")}
    clean |= {"PYTHONPATH": str(home), **({"NUMBA_CACHE_DIR": str(cache)} if cache else {}), **environment}
    return subprocess.Popen([sys.executable, "-c", script, dtype], env=clean, cwd=home, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def result(process):
    out, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    return json.loads(out)


def run(*arguments, **options):
    return result(start(*arguments, **options))


def kept(cache: Path) -> dict[str, int]:
    return {str(path.relative_to(cache)): path.stat().st_mtime_ns for path in cache.rglob("*.nbc")}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A copy of the package in a folder of its own, where no other test edits it."""
    home = tmp_path_factory.mktemp("home")
    shutil.copytree(HOUSE, home / "tinygrad_relu", ignore=shutil.ignore_patterns("__pycache__"))
    return home


@pytest.fixture(scope="module")
def warm(home, tmp_path_factory):
    """The cache folder after a first process, and the output of that process."""
    cache = tmp_path_factory.mktemp("cache")
    said = run(home, cache)
    return cache, said | {"files": [path.relative_to(cache.parent) for path in cache.rglob("*.nbc")]}


def test_a_second_process_compiles_nothing(home, warm):
    cache, first = warm
    before = kept(cache)
    second = run(home, cache)
    assert (first["hits"], first["misses"], second["hits"], second["misses"]) == (0, 5, 5, 0)
    assert kept(cache) == before and len(before) == 5       # none of them written again
    for said in (first, second):
        assert {key: said[key] for key in RIGHT} == RIGHT and said["warnings"] == []
    assert {Path(name).parts[:2] for name in before} == {("tinygrad_relu", first["digest"])}


def test_an_edited_formula_is_recompiled(home, warm, tmp_path):
    """The formula is in another file than the loop; Numba's own cache would keep running the old one."""
    cache, _ = warm
    shutil.copytree(home / "tinygrad_relu", tmp_path / "tinygrad_relu", ignore=shutil.ignore_patterns("__pycache__"))
    formulas = tmp_path / "tinygrad_relu/kernels/formulas/piecewise.py"
    old = "return T(negative_slope) * x if x <= T(0) else x"
    new = "return T(4) * T(negative_slope) * x if x <= T(0) else x"
    text = formulas.read_text()
    assert text.count(old) == 1
    unedited = run(tmp_path, cache)
    formulas.write_text(text.replace(old, new))
    edited, again = run(tmp_path, cache), run(tmp_path, cache)
    assert unedited["value"] == [[-1.0, 3.0]] and edited["value"] == again["value"] == [[-4.0, 3.0]]
    assert (unedited["misses"], edited["misses"], again["misses"]) == (0, 1, 0)     # `swap` and the others do not use it
    formulas.write_text(text)
    back = run(tmp_path, cache)
    assert back["value"] == unedited["value"] and back["misses"] == 0


def test_edited_comments_and_docstrings_recompile_nothing(home, warm, tmp_path):
    cache, _ = warm
    shutil.copytree(home / "tinygrad_relu", tmp_path / "tinygrad_relu", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("formulas/piecewise.py", "formulas/record.py", "loops/pointwise.py", "machine/matmul.py", "machine/cache.py"):
        file = tmp_path / "tinygrad_relu/kernels" / name
        explained = re.sub(r'"""(?=[\w`])', '"""Further explained. ', file.read_text())
        file.write_text(re.sub(r"(?m)^(?=def |class |@)", "# A comment.\n\n", explained))
    before = kept(cache)
    said = run(tmp_path, cache)
    assert (said["hits"], said["misses"]) == (5, 0) and kept(cache) == before


def test_an_edited_extension_of_the_compiler_is_recompiled(home, warm, tmp_path):
    """The body that replaces `gemm_block` in kernels cannot be found from the kernel, so the text of its file counts."""
    cache, _ = warm
    shutil.copytree(home / "tinygrad_relu", tmp_path / "tinygrad_relu", ignore=shutil.ignore_patterns("__pycache__"))
    file = tmp_path / "tinygrad_relu/kernels/machine/blas.py"
    text = file.read_text()
    assert text.count("inner, T(1), a.ctypes") == 1
    file.write_text(text.replace("inner, T(1), a.ctypes", "inner, T(2), a.ctypes"))
    edited = run(tmp_path, cache)
    assert edited["misses"] == 5 and edited["slope"] == [[-2.0, 12.0]]


def test_an_unwritable_folder_is_one_warning(home, tmp_path):
    """The folder would have to be inside a regular file (root could write anywhere else): no cache, right results."""
    (tmp_path / "file").write_text("")
    said = run(home, tmp_path / "file" / "cache")
    (sentence,) = said["warnings"]
    assert "cannot be written" in sentence and "NUMBA_CACHE_DIR" in sentence
    assert {key: said[key] for key in RIGHT} == RIGHT and said["hits"] == 0
    assert (tmp_path / "file").read_text() == "" and len(list(tmp_path.iterdir())) == 1


def test_two_processes_at_once(home, tmp_path):
    """Float32 and float64 compiled at the same time into one folder: neither process loads the other's machine code."""
    types = ("float32", "float64")
    both = [start(home, tmp_path, dtype=dtype) for dtype in types]
    for said in [result(process) for process in both] + [run(home, tmp_path, dtype=dtype) for dtype in types]:
        assert {key: said[key] for key in RIGHT} == RIGHT


USER = """
import json, pathlib, sys
pathlib.Path("users.py").write_text("import numba\\n@numba.njit(cache=True)\\ndef twice(x):\\n    return 2 * x\\n")
import users
import tinygrad_relu as tg
tg.functional.relu([1.0])
from numba.core import config
users.twice(1)                                          # decorated before, compiled after
before = config.CACHE_DIR
pathlib.Path("others.py").write_text("import numba\\n@numba.njit(cache=True)\\ndef thrice(x):\\n    return 3 * x\\n")
import others                                           # decorated after
others.thrice(1)
print(json.dumps({"before": before, "after": config.CACHE_DIR}))
"""


@pytest.mark.parametrize("given", [True, False], ids=["NUMBA_CACHE_DIR", "default"])
def test_other_peoples_kernels_stay_where_they_were(home, tmp_path, given):
    """With and without NUMBA_CACHE_DIR; ours go below it, or below the user's cache folder."""
    work, cache, own = tmp_path / "work", tmp_path / "cache", tmp_path / "own"
    for folder in (work, cache, own):
        folder.mkdir()
    shutil.copytree(home / "tinygrad_relu", work / "tinygrad_relu", ignore=shutil.ignore_patterns("__pycache__"))
    said = run(work, cache if given else None, USER, XDG_CACHE_HOME=str(own), HOME=str(own), LOCALAPPDATA=str(own))
    assert said["before"] == said["after"] == (str(cache) if given else "")
    ours = [p for p in (cache if given else own).rglob("*.nbc") if "tinygrad_relu" in p.parts]
    theirs = list((cache if given else work / "__pycache__").rglob("*.nbi"))
    assert ours and not [p for p in ours if "users" in p.name or "others" in p.name]
    assert {p.name.split(".")[0] for p in theirs} == {"users", "others"}


def test_few_old_folders_are_kept(tmp_path, monkeypatch):
    """The newest folders of other versions of Python, Numba, LLVM and NumPy."""
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    for age in range(7):
        folder = tmp_path / "tinygrad_relu" / f"old{age}"
        folder.mkdir(parents=True)
        os.utime(folder, (1000 - age, 1000 - age))
    fresh = kept_kernels.cache_folder.__wrapped__()
    assert fresh.name == kept_kernels.versions()
    newest = {f"old{age}" for age in range(kept_kernels.KEPT_FOLDERS)}
    assert {path.name for path in fresh.parent.iterdir()} == {fresh.name} | newest


def test_a_package_that_is_missing_is_named(monkeypatch):
    monkeypatch.setattr(kept_kernels, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match="No module named 'numba', which tinygrad_relu needs"):
        kept_kernels.versions.__wrapped__()


def only_newest(warm, to: Path) -> Path:
    """A copy of the cache with the kernels of the first process alone."""
    folder = Path("cache") / "tinygrad_relu" / warm[1]["digest"]
    (to / folder).mkdir(parents=True)
    for file in warm[1]["files"]:
        shutil.copy(warm[0].parent / file, to / folder)
    return to / "cache"


def damage(folder: Path) -> list[Path]:
    """Truncate one file, empty one, and change a byte of one."""
    cut, emptied, changed, *_ = files = sorted(folder.rglob("*.nbc"))
    cut.write_bytes(cut.read_bytes()[:-100])
    emptied.write_bytes(b"")
    content = bytearray(changed.read_bytes())
    content[len(content) // 2] ^= 1
    changed.write_bytes(content)
    return files[:3]


def test_damaged_files_heal(home, warm, tmp_path):
    """One warning, right results, and the next process finds all files whole."""
    folder = only_newest(warm, tmp_path)
    damage(folder)
    first, second = run(home, folder), run(home, folder)
    (sentence,) = first["warnings"]
    assert "are damaged; those in use are recompiled" in sentence
    assert {key: first[key] for key in RIGHT} == RIGHT and (first["hits"], first["misses"]) == (2, 3)
    assert second["warnings"] == [] and (second["hits"], second["misses"]) == (5, 0)


def command(home, cache, *words):
    """Exit status, output, and errors of a command."""
    script = f"import sys; from tinygrad_relu.cli import main; sys.exit(main({list(words)}))"
    process = start(home, cache, script)
    out, errors = process.communicate(timeout=120)
    return process.returncode, out, errors


def test_the_cache_command_shows_checks_and_clears(home, warm, tmp_path):
    folder = only_newest(warm, tmp_path)
    older = folder / "tinygrad_relu" / "0123"
    older.mkdir()
    (older / "file").write_bytes(b"12345678" * 100_000)
    (folder / "other").write_text("of somebody else")
    code, out, errors = command(home, folder, "cache")
    assert (code, errors) == (0, "") and "5 compiled kernels and 1 folder of other versions" in out and "Every checksum" in out
    harmed = damage(folder)
    code, out, errors = command(home, folder, "cache")
    assert (code, errors) == (1, "") and "3 damaged files" in out and all(file.name in out for file in harmed)
    code, out, errors = command(home, folder, "cache", "--clear")
    assert (code, errors) == (0, "") and out.startswith("Removed 5 compiled kernels and 1 folder of other versions")
    assert (folder / "other").exists() and not list((folder / "tinygrad_relu").iterdir())
    assert "keeps 0 compiled kernels, 0.0 MB" in command(home, folder, "cache")[1]


def test_files_that_vanish_while_the_cache_is_listed(tmp_path, monkeypatch):
    """Another process renames its .part file to the kernel, and removes old kernels."""
    for name in ("kernel.0123.nbc", "kernel.4567.nbc", "kernel.89ab.part"):
        (tmp_path / name).write_bytes(hashlib.sha256(b"code").digest() + b"code")
    usual = Path.read_bytes, Path.is_file

    def gone_before_it_is_read(file):
        file.unlink() if "4567" in file.name else None
        return usual[0](file)

    def there_then_gone(file):
        found = usual[1](file)
        file.unlink() if file.suffix == ".part" else None
        return found

    monkeypatch.setattr(Path, "read_bytes", gone_before_it_is_read)
    monkeypatch.setattr(Path, "is_file", there_then_gone)
    assert kept_kernels.megabytes(list(tmp_path.iterdir())) == 2 * 36 / 1e6
    assert kept_kernels.contents(tmp_path)[1:] == (36 / 1e6, [])


FULL = SCRIPT.replace("    x = tg.Tensor", """    def full(*_):
        raise OSError(28, "No space left on device")
    cache.os.replace = full
    x = tg.Tensor""")


def test_a_full_disk_is_one_warning(home, tmp_path):
    said = run(home, tmp_path, FULL)
    (sentence,) = said["warnings"]
    assert "cannot be kept in" in sentence and "No space left" in sentence
    assert {key: said[key] for key in RIGHT} == RIGHT and not [file for file in tmp_path.rglob("*") if file.is_file()]


def test_a_relative_cache_home_is_ignored(monkeypatch, tmp_path):
    """As the XDG specification says."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for given in ("kept", ""):
        monkeypatch.setenv("XDG_CACHE_HOME", given)
        assert kept_kernels._user_cache_folder() == tmp_path / ".cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "own"))
    assert kept_kernels._user_cache_folder() == tmp_path / "own"


def test_a_kernel_is_optimised_once(monkeypatch):
    """With all that it inlines, at any depth and through several ways."""
    from numba.core.codegen import CPUCodeLibrary

    bottom = scalar(lambda x: x + x)
    way, other = (scalar(lambda x, k=k: bottom(x) + bottom(bottom(x * k))) for k in (1, 2))

    def loop(x: Vector, out: Vector):
        for i in range(out.size):
            out[i] = way(x[i]) + other(x[i])

    names, optimise = [], CPUCodeLibrary._optimize_final_module
    monkeypatch.setattr(CPUCodeLibrary, "_optimize_final_module", lambda library: names.append(library.name) or optimise(library))
    made, out = kernel(loop, name="two_ways"), np.empty(2)
    made.content = lambda: None                 # it is not kept
    made(np.array([1.0, 3.0]), out)
    assert out.tolist() == [16.0, 48.0]         # 2 x + 4 x, and 2 x + 8 x
    assert [name for name in names if "lambda" in name or "two_ways" in name] == [made.function.__qualname__]


def test_the_types_of_a_kernel_may_be_objects_instead_of_words():
    """In a module without ``from __future__ import annotations``, as on the pages of docs/."""
    def loop(x, k, n, out):
        for i in range(out.size):
            out[i] = k * x[i] + n

    loop.__annotations__ = dict(x=Vector, k=float, n=int, out=Vector)
    assert list(kernel(loop).words.values()) == ["Vector", "float", "int", "Vector"]
    loop.__annotations__["n"] = complex
    with pytest.raises(TypeError, match="kernel loop: n is declared as complex; expected one of the types of the policy"):
        kernel(loop)
