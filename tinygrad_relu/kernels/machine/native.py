"""Machine code of kernels without the compiler: how Python calls it, and how it is loaded.

Numba takes half a second to import and set up, so kernels that are in the cache do without it. Their files hold two pieces of
object code: the kernel's own, as Numba has compiled it, and that of its *caller*, the function that Python calls. The caller is
generated here, in LLVM's language. It checks the arguments, reads addresses and shapes straight out of NumPy's arrays, and calls
the kernel, with the interpreter's lock released unless the arrays are `SMALL`. That is faster than Numba's own way of calling.
"""
from __future__ import annotations

import ctypes
import pickle
from collections.abc import Callable, Sequence
from functools import cache
from importlib.machinery import ExtensionFileLoader, ModuleSpec
from importlib.util import find_spec, module_from_spec
from numbers import Real
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np

Symbols = Callable[[], dict[str, int]]
SYMBOLS: list[Symbols] = []         # each gives addresses by name, which kernels may use


class Argument(NamedTuple):
    """The type of an argument of a kernel."""

    word: str                       # as declared
    dtype: np.dtype[Any]            # of an array or number
    axes: int                       # of an array; 0 for numbers
    numbers: int = 1                # in a tuple

    @property
    def words(self) -> tuple[str, ...]:
        """What machine code takes for it. Of an array: owner (two addresses), size, size of a number, address, shape, strides."""
        return ("i64",) * (5 + 2 * self.axes) if self.axes else (_NUMBERS[self.dtype.kind][0],) * self.numbers

    def fits(self, given: Any) -> bool:
        """Whether a kernel can take this object."""
        if self.axes:
            return (isinstance(given, np.ndarray) and given.ndim == self.axes and given.dtype == self.dtype
                    and given.flags.c_contiguous and given.flags.aligned)
        if self.word == "Parameters":
            return isinstance(given, tuple) and len(given) == self.numbers and all(isinstance(n, Real) for n in given)
        return isinstance(given, (int, np.integer, bool, np.bool_) if self.dtype.kind == "i" else (Real, np.bool_))

    def __str__(self) -> str:
        return (f"a C-contiguous array of {self.dtype} with {self.axes} {'axis' if self.axes == 1 else 'axes'}" if self.axes
                else f"{self.numbers} numbers" if self.word == "Parameters" else f"a number of {self.dtype}")


class Code(NamedTuple):
    """A compiled kernel as it is kept on disk."""

    symbol: str                     # its name in its object code; the caller's has ".call" after it
    needs: tuple[str, ...]          # the functions that it calls
    kernel: bytes
    caller: bytes


class Loaded(NamedTuple):
    """A kernel in memory."""

    call: Callable[..., None]       # for Python
    address: int                    # for machine code: status = f(address of a result, of an error, words of the arguments...)


# -- the caller ----------------------------------------------------------------------------------------------------------

# Offsets in PyObject, PyTupleObject, and NumPy's PyArrayObject and PyArray_Descr. Eight bytes of a description tell the dtype:
# its kind, letter, byte order, flags (they differ) and number.
TYPE, LENGTH, ITEMS = 8, 16, tuple.__basicsize__      # 24, and 32 since Python 3.14
DATA, AXES, SHAPE, STRIDES, DESCRIPTION, FLAGS, DTYPE = 16, 24, 32, 40, 56, 64, 24
CONTIGUOUS_AND_ALIGNED = 0x1 | 0x100
SMALL = 1 << 14             # numbers in all arrays of a call: a few us of work. Python's lock takes 40 ns.

_NUMBERS = {"f": ("double", "PyFloat_AsDouble"), "i": ("i64", "PyLong_AsLongLong"), "b": ("i8", "truth")}
RAISED, ARGUMENT, COUNT = range(3)          # what is wrong with a call

COMMON = f"""
@tinygrad_relu_ndarray = external global i8
@tinygrad_relu_tuple = external global i8
@_Py_NoneStruct = external global i8
@format = private constant [4 x i8] c"iLO\\00"
declare ptr @PyEval_SaveThread()
declare void @PyEval_RestoreThread(ptr)
declare double @PyFloat_AsDouble(ptr)
declare i64 @PyLong_AsLongLong(ptr)
declare i32 @PyObject_IsTrue(ptr)
declare ptr @PyErr_Occurred()
declare i32 @PyType_IsSubtype(ptr, ptr)
declare ptr @PyObject_CallFunction(ptr, ptr, ...)
declare void @Py_IncRef(ptr)
define internal ptr @nothing() {{ ret ptr null }}
define internal void @ignored(ptr %lock) {{ ret void }}

define internal i8 @truth(ptr %x) {{
  %truth = call i32 @PyObject_IsTrue(ptr %x)
  %byte = trunc i32 %truth to i8
  ret i8 %byte
}}

define internal i1 @holds(ptr %x, i64 %numbers) {{
  %p = getelementptr i8, ptr %x, i64 {TYPE}
  %q = getelementptr i8, ptr %x, i64 {LENGTH}
  %type = load ptr, ptr %p
  %length = load i64, ptr %q
  %is = icmp eq ptr %type, @tinygrad_relu_tuple
  %right = icmp eq i64 %length, %numbers
  %both = and i1 %is, %right
  ret i1 %both
}}

define internal i1 @fits(ptr %x, i32 %axes, i64 %dtype) {{
  %p = getelementptr i8, ptr %x, i64 {TYPE}
  %type = load ptr, ptr %p
  %same = icmp eq ptr %type, @tinygrad_relu_ndarray
  br i1 %same, label %array, label %other
other:
  %derived = call i32 @PyType_IsSubtype(ptr %type, ptr @tinygrad_relu_ndarray)
  %is = icmp ne i32 %derived, 0
  br i1 %is, label %array, label %no
no:
  ret i1 false
array:
  %q = getelementptr i8, ptr %x, i64 {AXES}
  %r = getelementptr i8, ptr %x, i64 {FLAGS}
  %s = getelementptr i8, ptr %x, i64 {DESCRIPTION}
  %its_axes = load i32, ptr %q
  %flags = load i32, ptr %r
  %description = load ptr, ptr %s
  %t = getelementptr i8, ptr %description, i64 {DTYPE}
  %bytes = load i64, ptr %t
  %its_dtype = and i64 %bytes, {~(0xFF << 24)}
  %both = and i32 %flags, {CONTIGUOUS_AND_ALIGNED}
  %a = icmp eq i32 %its_axes, %axes
  %b = icmp eq i32 %both, {CONTIGUOUS_AND_ALIGNED}
  %c = icmp eq i64 %its_dtype, %dtype
  %ab = and i1 %a, %b
  %abc = and i1 %ab, %c
  ret i1 %abc
}}
"""


def caller(symbol: str, arguments: Sequence[Argument]) -> str:
    """The caller of a kernel in LLVM's language: ``call(self, arguments, their number)``, Python's METH_FASTCALL.

    If something is wrong it returns what ``self(what, number, object)`` returns, which is to raise an error.
    """
    text, words, total = [], [], "0"
    for i, argument in enumerate(arguments):
        text.append(load_word(f"x{i}", "ptr", "%arguments", 8 * i))
        if argument.axes or argument.word == "Parameters":
            test = (f"@fits(ptr %x{i}, i32 {argument.axes}, i64 {dtype_bytes(argument.dtype)})" if argument.axes
                    else f"@holds(ptr %x{i}, i64 {argument.numbers})")
            text.append(f"""
  %fits{i} = call i1 {test}
  br i1 %fits{i}, label %good{i}, label %wrong{i}
wrong{i}:
  %failed{i} = call ptr (ptr, ptr, ...) @PyObject_CallFunction(ptr %self, ptr @format, i32 {ARGUMENT}, i64 {i}, ptr %x{i})
  ret ptr %failed{i}
good{i}:""")
        if argument.axes:
            text += [load_word(f"data{i}", "i64", f"%x{i}", DATA), load_word(f"shape{i}", "ptr", f"%x{i}", SHAPE),
                     load_word(f"strides{i}", "ptr", f"%x{i}", STRIDES)]
            lengths = [f"%length{i}.{axis}" for axis in range(argument.axes)]
            steps = [f"%step{i}.{axis}" for axis in range(argument.axes)]
            for axis in range(argument.axes):
                text.append(load_word(lengths[axis][1:], "i64", f"%shape{i}", 8 * axis))
                text.append(load_word(steps[axis][1:], "i64", f"%strides{i}", 8 * axis))
            size = lengths[0]
            for axis in range(1, argument.axes):
                text.append(f"\n  %size{i}.{axis} = mul i64 {size}, {lengths[axis]}")
                size = f"%size{i}.{axis}"
            text.append(f"\n  %total{i} = add i64 {total}, {size}")
            total = f"%total{i}"
            words += ["0", "0", size, str(argument.dtype.itemsize), f"%data{i}", *lengths, *steps]
            continue
        kind, read = _NUMBERS[argument.dtype.kind]
        for k in range(argument.numbers):
            number = f"x{i}"
            if argument.word == "Parameters":
                number = f"x{i}.{k}"
                text.append(load_word(number, "ptr", f"%x{i}", ITEMS + 8 * k))
            text.append(f"\n  %word{i}.{k} = call {kind} @{read}(ptr %{number})")
            words.append(f"%word{i}.{k}")
    kinds = [kind for argument in arguments for kind in argument.words]
    asked = any(not argument.axes for argument in arguments)
    return f"""{COMMON}
declare i32 @"{symbol}"(ptr, ptr, {", ".join(kinds)})

define ptr @"{symbol}.call"(ptr %self, ptr %arguments, i64 %count) {{
  %none = alloca ptr
  %error = alloca ptr
  store ptr null, ptr %error
  %right = icmp eq i64 %count, {len(arguments)}
  br i1 %right, label %start, label %wrong
wrong:
  %failed = call ptr (ptr, ptr, ...) @PyObject_CallFunction(ptr %self, ptr @format, i32 {COUNT}, i64 %count, ptr @_Py_NoneStruct)
  ret ptr %failed
start:{"".join(text)}
  %bad = {"call ptr @PyErr_Occurred()" if asked else "select i1 true, ptr null, ptr null"}
  %fine = icmp eq ptr %bad, null
  br i1 %fine, label %go, label %stop
stop:
  ret ptr null
go:
  %small = icmp ult i64 {total}, {SMALL}
  %release = select i1 %small, ptr @nothing, ptr @PyEval_SaveThread
  %acquire = select i1 %small, ptr @ignored, ptr @PyEval_RestoreThread
  %lock = call ptr %release()
  %status = call i32 @"{symbol}"(ptr %none, ptr %error, {", ".join(f"{kind} {word}" for kind, word in zip(kinds, words))})
  call void %acquire(ptr %lock)
  %done = icmp eq i32 %status, 0
  br i1 %done, label %end, label %raised
raised:
  %what = load i64, ptr %error
  %reason = call ptr (ptr, ptr, ...) @PyObject_CallFunction(ptr %self, ptr @format, i32 {RAISED}, i64 %what, ptr @_Py_NoneStruct)
  ret ptr %reason
end:
  call void @Py_IncRef(ptr @_Py_NoneStruct)
  ret ptr @_Py_NoneStruct
}}
"""


def load_word(name: str, kind: str, pointer: str, offset: int) -> str:
    return f"\n  %{name}.at = getelementptr i8, ptr {pointer}, i64 {offset}\n  %{name} = load {kind}, ptr %{name}.at"


def dtype_bytes(dtype: np.dtype[Any]) -> int:
    """The eight bytes of a description of this dtype (see DTYPE), as a number."""
    order = b"|" if dtype.itemsize == 1 else b"="
    return int.from_bytes(dtype.kind.encode() + dtype.char.encode() + order + b"\0" + dtype.num.to_bytes(4, "little"), "little")


def offset(slot: Any) -> int:
    """Where an attribute of ``__slots__`` is in an object, from what the class has by this name: a PyMemberDescrObject."""
    member = ctypes.c_void_p.from_address(id(slot) + 40).value or 0
    return ctypes.c_ssize_t.from_address(member + 16).value


# -- compiling and loading -------------------------------------------------------------------------------------------------


class Definition(ctypes.Structure):
    """PyMethodDef of Python's C interface."""

    _fields_ = [("name", ctypes.c_char_p), ("function", ctypes.c_void_p), ("flags", ctypes.c_int), ("doc", ctypes.c_char_p)]


METH_FASTCALL = 0x80
_kept: list[Any] = []               # what the machine code in memory refers to


def compiled(result: Any, arguments: Sequence[Argument]) -> Code:
    """What to keep of a result of Numba's compiler."""
    kernel_engine()                                # makes known what the code may call
    library, symbol = result.library, result.fndesc.llvm_func_name
    library.get_pointer_to_function(symbol)         # makes the object code
    needs = tuple(f.name for f in library._final_module.functions if f.is_declaration and not f.name.startswith("llvm."))
    return Code(symbol, needs, library.serialize_using_object_code()[2][0], _object_code(caller(symbol, arguments)))


def _object_code(text: str) -> bytes:
    llvm, machine, _ = _compiler()
    module = llvm.parse_assembly(text)
    module.verify()
    return bytes(machine.emit_object(module))


def assembled(text: str, name: str) -> int:
    """The address of the function `name` of a text in LLVM's language, which is compiled and kept as long as the process."""
    llvm, _, _ = _compiler()
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), llvm.Target.from_default_triple().create_target_machine(opt=1))
    engine.add_object_file(llvm.ObjectFileRef.from_data(_object_code(text)))
    engine.finalize_object()
    _kept.append(engine)
    return int(engine.get_function_address(name))


def python_function(definition: Definition, itself: Any) -> Callable[..., Any]:
    """A function of Python as C writes it: ``f(self, ...)``, with `itself` as self. The definition must live as long."""
    new = ctypes.pythonapi.PyCFunction_NewEx
    new.restype, new.argtypes = ctypes.py_object, (ctypes.c_void_p, ctypes.py_object, ctypes.c_void_p)
    made: Callable[..., Any] = new(ctypes.addressof(definition), itself, None)
    return made


def load(code: Code, fail: Callable[[int, int, Any], NoReturn]) -> Loaded | None:
    """Load a kernel; None if a function that it calls is not in this process. `fail` is the `self` of its `caller`."""
    llvm, _, engine = kernel_engine()
    if not all(map(llvm.address_of_symbol, code.needs)):
        return None
    if not engine.get_function_address(code.symbol):        # two kernels may have the same content
        for part in (code.kernel, code.caller):
            engine.add_object_file(llvm.ObjectFileRef.from_data(part))
        engine.finalize_object()
    definition = Definition(code.symbol.encode(), engine.get_function_address(f"{code.symbol}.call"), METH_FASTCALL, None)
    _kept.append(definition)
    return Loaded(python_function(definition, fail), engine.get_function_address(code.symbol))


@cache
def _compiler() -> tuple[Any, Any, Any]:
    """LLVM, what it compiles for, and an engine, which lives as long as the process."""
    from llvmlite import binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    options = dict(opt=2, reloc="static") if (triple := llvm.Target.from_default_triple()).name.startswith("x86") else dict(opt=2)
    return llvm, triple.create_target_machine(**options), llvm.create_mcjit_compiler(
        llvm.parse_assembly(""), triple.create_target_machine(**options))


@cache
def kernel_engine() -> tuple[Any, Any, Any]:
    """As `_compiler`, when all that kernels may call is known: the engine can hold kernels."""
    found = _compiler()
    for symbols in (_of_python, _of_numba, *SYMBOLS):
        for name, address in symbols().items():
            found[0].add_symbol(name, address)
    return found


def know(symbol: str, address: int) -> None:
    """Let the code of kernels call what is at an address by this name."""
    kernel_engine()[0].add_symbol(symbol, address)


def target() -> tuple[str, ...]:
    """What code is compiled for: it must not run on another kind of processor."""
    llvm = kernel_engine()[0]
    return llvm.get_process_triple(), llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten()


def _of_python() -> dict[str, int]:
    return {"tinygrad_relu_ndarray": id(np.ndarray), "tinygrad_relu_tuple": id(tuple), "_Py_NoneStruct": id(None)}


def _of_numba() -> dict[str, int]:
    """Numba's functions in C that kernels call, for memory and errors; loaded without importing Numba."""
    found: dict[str, int] = {}
    for module, prefix in (("numba.core.runtime._nrt_python", "NRT_"), ("numba._helperlib", "numba_")):
        home = Path(str(find_spec("numba").origin)).parent.joinpath(*module.split(".")[1:-1])       # type: ignore[union-attr]
        file = next(path for path in home.glob(f"{module.rpartition('.')[2]}.*") if path.suffix in (".so", ".pyd"))
        loader = ExtensionFileLoader(module, str(file))
        library = module_from_spec(ModuleSpec(module, loader, origin=str(file)))
        loader.exec_module(library)
        found |= {name if name.startswith("_") else prefix + name: address for name, address in library.c_helpers.items()}
    return found


def reason(address: int, name: str) -> Exception:
    """The exception that a kernel has raised, from what Numba keeps of it: its pickled class and arguments."""
    if not address:
        return RuntimeError(f"kernel {name}: an unknown error")
    pickled, size, _, _, dynamic = _Raised.from_address(address).fields()
    kind, arguments, *_ = pickle.loads(ctypes.string_at(pickled, size))
    return kind(f"kernel {name}") if dynamic else kind(*arguments)


class _Raised(ctypes.Structure):
    _fields_ = [("pickled", ctypes.c_void_p), ("size", ctypes.c_int32), ("hash", ctypes.c_void_p), ("unwrap", ctypes.c_void_p),
                ("dynamic", ctypes.c_int32)]

    def fields(self) -> tuple[Any, ...]:
        return tuple(getattr(self, name) for name, _ in self._fields_)
