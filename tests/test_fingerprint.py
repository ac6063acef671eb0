"""The fingerprint of a kernel changes with everything that its machine code depends on, and with nothing else."""
from __future__ import annotations

import ast
import os
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from types import FunctionType, ModuleType

import numpy as np
import pytest
from numba.core import event

from tinygrad_relu.kernels import every_kernel
from tinygrad_relu.kernels.machine import fingerprint as machine
from tinygrad_relu.kernels.machine import policy
from tinygrad_relu.kernels.machine.fingerprint import fingerprint
from tinygrad_relu.kernels.machine.policy import Vector

SOURCE = '''
import math
import numba
import numpy as np
import users_helpers

STEEP = 2.0
TABLE = np.array([1.0, 2.0, 3.0])
PAIR = np.float32(1.5), (2, {"deep"})

def lowest(x, bend=1.0):
    return x - bend

def middle(x):
    """It calls the lowest."""
    return 2 * lowest(x)

@numba.njit
def compiled(x):
    return x + 5

def factory(shift, f):
    def made(x):
        return f(x) + shift
    return made

inner = factory(7, lowest)

def formula(x: float, k=3.0, *, z=4.0):
    """A sum of everything."""
    def nested(a, b):
        return a - b * STEEP
    if x in (1, 6):
        return math.sqrt(x)
    return (middle(x) + compiled(x) + inner(x) + nested(a=x, b=k) + TABLE[0] + PAIR[0] + users_helpers.halve(x) + np.exp(x)
            + formula(z) + abs(x))
'''
HELPERS = "def halve(x):\n    return quarter(x) + quarter(x)\ndef quarter(x):\n    return x / 4\n"

COUNT = {
    "operator": ("return x - bend", "return x + bend"), "constant": ("return 2 * lowest", "return 3 * lowest"),
    "type of a constant": ("return 2 * lowest", "return 2.0 * lowest"), "default": ("bend=1.0", "bend=1.5"),
    "global": ("STEEP = 2.0", "STEEP = 2.5"), "sign of zero": ("STEEP = 2.0", "STEEP = -0.0"),
    "array": ("2.0, 3.0])", "2.5, 3.0])"), "dtype of an array": ("3.0])", "3.0], 'float32')"), "deep in a tuple": ("deep", "deeper"),
    "type in a tuple": ("np.float32(1.5)", "np.float64(1.5)"), "closure": ("factory(7", "factory(8"),
    "function in a closure": ("factory(7, lowest)", "factory(7, middle)"), "compiled": ("return x + 5", "return x + 6"),
    "compile options": ("@numba.njit", "@numba.njit(fastmath=True)"), "nested": ("a - b *", "b - a *"),
    "names of arguments": ("nested(a, b)", "nested(b, a)"), "keyword default": ("z=4.0", "z=4.5"), "default of all": ("k=3.0", "k=2.0"),
    "set of constants": ("(1, 6)", "(1, 8)"), "function of a module": ("math.sqrt", "math.cbrt"), "ufunc": ("np.exp", "np.tanh"),
    "a builtin replaced": ("STEEP = 2.0", "STEEP = 2.0\ndef abs(x): return -x"), "which of a user's module": ("s.halve", "s.quarter"),
}
NOT = {
    "docstring": ("It calls the lowest.", "Another text."), "no docstring": ('    """It calls the lowest."""\n', ""),
    "comment": ("import math", "# why\n\nimport math"), "annotation": ("x: float", "x: int"),
    "another formula": ("STEEP =", "def unused(x): return x\n\nSTEEP ="), "layout": ("2 * lowest(x)", "(2 * \n        lowest(x))"),
}


def made(source: str = SOURCE, helpers: str = HELPERS) -> FunctionType:
    module = ModuleType("users_helpers")
    exec(helpers, vars(module))
    sys.modules["users_helpers"] = module
    try:
        names: dict[str, object] = {"__name__": "users"}
        exec(source, names)
    finally:
        del sys.modules["users_helpers"]
    return names["formula"]


@pytest.mark.parametrize("edit", COUNT, ids=str)
def test_an_edit_that_can_change_the_machine_code_counts(edit):
    old, new = COUNT[edit]
    assert SOURCE.count(old) == 1 and fingerprint(made(SOURCE.replace(old, new))) != fingerprint(made())


@pytest.mark.parametrize("edit", NOT, ids=str)
def test_an_edit_that_cannot_does_not(edit):
    old, new = NOT[edit]
    assert SOURCE.count(old) == 1 and fingerprint(made(SOURCE.replace(old, new))) == fingerprint(made()) is not None


def test_a_module_of_the_user_counts_as_far_as_it_is_used():
    assert fingerprint(made(helpers=HELPERS.replace("/ 4", "/ 5"))) != fingerprint(made())
    assert fingerprint(made(helpers=HELPERS + "OTHER = object()\n")) == fingerprint(made())


def test_a_text_that_is_used_is_no_docstring():
    first, second = (FunctionType(compile(f"'{text}'", "", "eval"), {}) for text in ("one", "two"))
    assert first.__code__.co_consts == ("one",) and first() == "one" and fingerprint(first) != fingerprint(second)


def test_the_last_of_many_constants_counts():
    """Its number takes more than a byte."""
    def with_last(number):
        return made(f"def formula(x):\n    return x + {' + '.join(f'{i}.5 * x' for i in [*range(300), number])}")

    assert fingerprint(with_last(300)) != fingerprint(with_last(301)) and fingerprint(with_last(300)) == fingerprint(with_last(300))


@pytest.mark.parametrize("thing", [object(), [1, object()], {"a": object()}, np.vectorize(abs), [].append, type("Own", (), {})], ids=[
    "object", "list", "dict", "instance", "bound method", "class"])
def test_a_thing_of_unknown_content_has_no_fingerprint(thing):
    def formula(x):
        return thing, x

    assert fingerprint(formula) is None


def test_marks_count():
    """`scalar` and `reordered` compile one formula in two ways."""
    def twins():
        return [made("def formula(x):\n    return x + x + x\n") for _ in range(2)]

    def content(mark, f):
        mark(f)
        return policy.kernel(loop_of(f)).content()

    def loop_of(f):
        def loop(x: Vector):
            for i in range(x.size):
                x[i] = f(x[i])
        return loop

    first, second = twins()
    assert content(policy.scalar, first) != content(policy.reordered, second)
    assert content(policy.scalar, twins()[0]) == content(policy.scalar, twins()[1])
    loop = loop_of(first)
    assert policy.kernel(loop).content() != policy.kernel(loop, reordered=True).content()


def test_a_file_that_extends_the_compiler_counts_whole(tmp_path):
    """A body given to ``overload`` is not found from the function that it replaces."""
    text = "from numba.extending import overload\ndef f(x):\n    return x\n@overload(f)\ndef _f(x):\n    return lambda x: x + 1\n"
    found = set()
    for i, body in enumerate([text, text.replace("x + 1", "x + 2"), text.replace("x + 1", "x + 2")]):
        file = tmp_path / f"users{i}.py"
        file.write_text(body)
        names: dict[str, object] = {"__name__": "users"}
        exec(compile(body, str(file), "exec"), names)
        found.add(fingerprint(names["f"]))
    assert len(found) == 2 and None not in found


def test_intrinsics_and_external_functions_count(tmp_path):
    def content(text):
        file = tmp_path / f"users{len(list(tmp_path.iterdir()))}.py"
        file.write_text(text)
        names: dict[str, object] = {"__name__": "users"}
        exec(compile(text, str(file), "exec"), names)
        return fingerprint(names["formula"])

    intrinsic = ("from numba.extending import intrinsic\n@intrinsic\ndef one(context, x):\n    return x(x), lambda *a: a[3][0]\n"
                 "def formula(x):\n    return one(x)\n")
    external = ("from numba import types\none = types.ExternalFunction('one', types.float64(types.float64))\n"
                "def formula(x):\n    return one(x)\n")
    same = {content(intrinsic), content(intrinsic)}, {content(external), content(external)}
    assert [len(found) for found in same] == [1, 1] and None not in {*same[0], *same[1]}
    assert content(intrinsic.replace("a[3][0]", "a[3][0] + 1")) not in same[0]
    assert content(external.replace("'one'", "'two'")) not in same[1]
    assert content(external.replace("(types.float64)", "(types.float32)")) not in same[1]


def test_every_kernel_has_a_fingerprint():
    found = {name: kernel.content() for name, kernel in every_kernel().items()}
    assert not [name for name, content in found.items() if content is None]
    assert len(set(found.values())) > 0.9 * len(found)      # a few differ by name only, such as exp_pullback and exp_curvature


def test_files_that_extend_the_compiler_use_no_other_files():
    """Their text counts for every kernel, but what it imports does not."""
    whole = {file for file in machine.PACKAGE.rglob("*.py") if machine.EXTENDS.search(file.read_bytes())}
    assert {"policy.py", "blas.py", "bits.py"} <= {file.name for file in whole}
    helpers = {machine.PACKAGE / "machine" / name for name in ("cache.py", "native.py")}     # native.py is in the folder's name
    for file in whole:
        imports = [node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.ImportFrom) and node.level]
        used = {file.parents[node.level - 1].joinpath(*(node.module or "").split(".")).with_suffix(".py") for node in imports}
        assert used <= whole | helpers, file.name


class Compiled(event.Listener):
    """The files and functions that Numba compiles."""

    def __init__(self):
        self.codes = set()

    def on_start(self, found):
        if dispatcher := found.data.get("dispatcher"):
            self.codes.add(dispatcher.py_func.__code__)

    def on_end(self, found):
        pass


def check_that_all_is_followed(name):
    """Compile a kernel afresh, and compare the functions that the compiler met with those that the fingerprint has followed."""
    kernel = every_kernel()[name]
    followed: list[FunctionType] = []
    fingerprint(kernel.function, followed.append)
    compiled = Compiled()
    with event.install_listener("numba:compile", compiled):
        kernel._compile(f"{name}_again", kernel.dtypes[-1])
    whole = {file for file in machine.PACKAGE.rglob("*.py") if machine.EXTENDS.search(file.read_bytes())}
    ours = {code for code in compiled.codes if machine.PACKAGE in Path(code.co_filename).parents}
    assert ours and {code for code in ours if Path(code.co_filename) not in whole} <= {f.__code__ for f in followed}


@pytest.mark.parametrize("name", ["dropout", "huber_pullback", "channel_prelu"])
def test_all_that_numba_compiles_is_followed(name):
    """In a new process, because functions that other kernels use have been compiled with these."""
    with ProcessPoolExecutor(1, get_context("spawn")) as process:
        process.submit(check_that_all_is_followed, name).result()


ALONE = """
import numpy as np
import tinygrad_relu
from tinygrad_relu.kernels.formulas import ACTIVATIONS
from tinygrad_relu.kernels.loops.pointwise import loops
from tinygrad_relu.kernels.machine.policy import Kernel
Kernel.content = lambda self: None
kernel, out = loops(ACTIVATIONS["relu"]).forward, np.empty(3)
kernel(np.array([-1.0, 0.0, 2.0]), (0.0,), out)
print(out.tolist(), kernel.compiled)
"""


def test_a_kernel_of_unknown_content_is_compiled_and_not_kept(tmp_path):
    """As the first kernel of a process: what it calls must be known by then."""
    done = subprocess.run([sys.executable, "-c", ALONE], capture_output=True, text=True,
                          env=os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)})
    assert done.returncode == 0 and done.stdout == "[0.0, 0.0, 2.0] 1\n", done.stderr
    assert not list(tmp_path.rglob("*.nbc"))
