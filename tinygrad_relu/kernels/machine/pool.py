"""The threads that share the work inside a kernel (see `parallel`), and their number.

The slices are dealt out in equal parts to the thread that calls the kernel and its helpers. Each takes the slices of its own part
one by one, and then those that are left in the parts of the others. So the same thread sees the same piece of an array again and
again, and finds it in the cache of its core; and on a busy machine a helper that gets no core delays nobody.

One group of slices is shared at a time. Another thread's kernel, and a kernel's loop inside a slice, run alone meanwhile.

A helper looks for work for 50 us after its last slice, and then sleeps. Waking it takes 5 to 50 us. (Threads of OpenMP and
OpenBLAS look far longer, and hinder those of other libraries in the same process.) The helpers are Python threads that never hold
the interpreter's lock while they wait or work: they run the native code below, which needs no Python either. So does the caller.

If NumPy's threads spin on the other cores, Linux may wake a helper on the core of the caller, which makes both half as fast. So
before it is woken, a helper is told to keep off that core (`part`).
"""
from __future__ import annotations

import atexit
import ctypes
import os
import platform
import sys
from _thread import get_native_id, start_new_thread
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from time import perf_counter
from typing import Any

from ...checks import check_count
from .host import cores
from .native import SYMBOLS
from .parallel import RUN

MOST_THREADS = 1024
SPIN = 50e-6            # seconds for which a helper looks for work before it sleeps
VARIABLES = "TINYGRAD_RELU_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"
_PAUSE = {"x86_64": "pause", "AMD64": "pause", "aarch64": "isb", "arm64": "isb"}        # what a waiting core executes

# `state` holds three numbers: how many groups have been opened (times 2^32), whether the last one may still be joined (2^31), and
# how many helpers are inside. A helper joins by adding 1, and has joined if the group was open at that moment; the caller closes
# the group and waits until nobody is inside, before it overwrites what describes the group. A thread that falls asleep first says
# so in `asleep`, then looks once more; who sets its entry back to 0 releases its lock. Entry 0 is the caller's.
_NATIVE = """
@state = global [8 x i64] zeroinitializer, align 64
@taken = global [1024 x [8 x i64]] zeroinitializer, align 64
@busy = global [8 x i64] zeroinitializer, align 64
@asleep = global [1024 x i64] zeroinitializer, align 64
@threads = global [1024 x i32] zeroinitializer
@apart = global [1024 x i32] zeroinitializer
@getcpu = global ptr null
@getaffinity = global ptr null
@setaffinity = global ptr null
@locks = global [1024 x ptr] zeroinitializer
@tinygrad_relu_limit = external global i64
@started = global i64 0
@spins = global i64 0
@start = global ptr null
@function = global ptr null
@context = global ptr null
@count = global i64 0
@grain = global i64 0
@slices = global i64 0
@wanted = global i64 0
@code = global i32 0
@error = global ptr null

declare i32 @tinygrad_relu_acquire(ptr, i32)
declare void @tinygrad_relu_release(ptr)
declare i64 @llvm.smin.i64(i64, i64)

define void @pauses(i64 %n) {
  br label %next
next:
  %i = phi i64 [0, %0], [%after, %next]
  call void asm sideeffect "PAUSE", ""()
  %after = add i64 %i, 1
  %more = icmp slt i64 %after, %n
  br i1 %more, label %next, label %end
end:
  ret void
}

; Keep a helper off the core on which this thread runs: let it use the other cores that this thread may use.
define internal void @part(i64 %who) {
  %cores = alloca [128 x i8], align 8
  %name = getelementptr i32, ptr @threads, i64 %who
  %thread = load i32, ptr %name
  %nobody = icmp eq i32 %thread, 0
  br i1 %nobody, label %end, label %ask
ask:
  %getcpu = load ptr, ptr @getcpu
  %core = call i32 %getcpu()
  %number = add i32 %core, 1
  %place = getelementptr i32, ptr @apart, i64 %who
  %known = load i32, ptr %place
  %same = icmp eq i32 %number, %known
  br i1 %same, label %end, label %read
read:
  store i32 %number, ptr %place
  %getaffinity = load ptr, ptr @getaffinity
  %failed = call i32 %getaffinity(i32 0, i64 128, ptr %cores)
  %wrong = icmp ne i32 %failed, 0
  br i1 %wrong, label %end, label %set
set:
  %index = lshr i32 %core, 3
  %byte = getelementptr i8, ptr %cores, i32 %index
  %eight = load i8, ptr %byte
  %low = and i32 %core, 7
  %shift = trunc i32 %low to i8
  %bit = shl i8 1, %shift
  %mask = xor i8 %bit, -1
  %rest = and i8 %eight, %mask
  store i8 %rest, ptr %byte
  %setaffinity = load ptr, ptr @setaffinity
  %ignored = call i32 %setaffinity(i32 %thread, i64 128, ptr %cores)
  br label %end
end:
  ret void
}

define void @wake(i64 %who) {
  %flag = getelementptr i64, ptr @asleep, i64 %who
  %sleeps = load atomic i64, ptr %flag seq_cst, align 8
  %try = icmp eq i64 %sleeps, 1
  br i1 %try, label %claim, label %end
claim:
  %pair = cmpxchg ptr %flag, i64 1, i64 0 seq_cst seq_cst
  %mine = extractvalue {i64, i1} %pair, 1
  br i1 %mine, label %release, label %end
release:
  call void @part(i64 %who)
  %place = getelementptr ptr, ptr @locks, i64 %who
  %lock = load ptr, ptr %place
  call void @tinygrad_relu_release(ptr %lock)
  br label %end
end:
  ret void
}

; Sleep until somebody wakes `who`, unless the state is no longer `known`.
define internal void @sleep(i64 %who, i64 %known) {
  %flag = getelementptr i64, ptr @asleep, i64 %who
  %old = atomicrmw xchg ptr %flag, i64 1 seq_cst
  %state = load atomic i64, ptr @state seq_cst, align 8
  %same = icmp eq i64 %state, %known
  br i1 %same, label %block, label %stay
stay:
  %pair = cmpxchg ptr %flag, i64 1, i64 0 seq_cst seq_cst
  %mine = extractvalue {i64, i1} %pair, 1
  br i1 %mine, label %end, label %block
block:
  %place = getelementptr ptr, ptr @locks, i64 %who
  %lock = load ptr, ptr %place
  %taken = call i32 @tinygrad_relu_acquire(ptr %lock, i32 1)
  br label %end
end:
  ret void
}

; One look more at a state that is still `known`: a pause, or sleep after many. Returns the number of pauses since the last sleep.
define internal i64 @linger(i64 %who, i64 %known, i64 %waited) {
  %spins = load i64, ptr @spins
  %awake = icmp slt i64 %waited, %spins
  br i1 %awake, label %wait, label %rest
wait:
  call void @pauses(i64 1)
  %more = add i64 %waited, 1
  ret i64 %more
rest:
  call void @sleep(i64 %who, i64 %known)
  ret i64 0
}

; Take slices of the open group until none is left, from the part of `me` on.
define internal void @take(i64 %me) {
  %excuse = alloca ptr
  %f = load ptr, ptr @function
  %context = load ptr, ptr @context
  %count = load i64, ptr @count
  %grain = load i64, ptr @grain
  %slices = load i64, ptr @slices
  %parts = load i64, ptr @wanted
  br label %part
part:
  %turn = phi i64 [0, %0], [%following, %another]
  %sum = add i64 %me, %turn
  %whose = urem i64 %sum, %parts
  %after = add i64 %whose, 1
  %low = mul i64 %slices, %whose
  %high = mul i64 %slices, %after
  %first = sdiv i64 %low, %parts
  %end = sdiv i64 %high, %parts
  %counter = getelementptr [8 x i64], ptr @taken, i64 %whose
  br label %next
next:
  %so_far = atomicrmw add ptr %counter, i64 1 seq_cst
  %slice = add i64 %first, %so_far
  %more = icmp slt i64 %slice, %end
  br i1 %more, label %work, label %another
work:
  %begin = mul i64 %slice, %grain
  %limit = add i64 %begin, %grain
  %stop = call i64 @llvm.smin.i64(i64 %limit, i64 %count)
  %code = call i32 %f(ptr %context, ptr %excuse, i64 %begin, i64 %stop)
  %good = icmp eq i32 %code, 0
  br i1 %good, label %next, label %fail
fail:
  %error = load ptr, ptr %excuse
  store ptr %error, ptr @error
  store i32 %code, ptr @code
  br label %next
another:
  %following = add i64 %turn, 1
  %others = icmp slt i64 %following, %parts
  br i1 %others, label %part, label %done
done:
  ret void
}

; What a helper does; it ends when the limit is 0.
define void @help(i64 %me) {
  br label %look
look:
  %seen = phi i64 [0, %0], [%seen, %patience], [%group, %skip], [%joined, %leave], [%joined, %last]
  %waited = phi i64 [0, %0], [%more, %patience], [%waited, %skip], [0, %leave], [0, %last]
  %state = load atomic i64, ptr @state seq_cst, align 8
  %group = lshr i64 %state, 32
  %new = icmp ne i64 %group, %seen
  br i1 %new, label %ask, label %idle
idle:
  %limit = load atomic i64, ptr @tinygrad_relu_limit seq_cst, align 8
  %over = icmp eq i64 %limit, 0
  br i1 %over, label %end, label %patience
patience:
  %more = call i64 @linger(i64 %me, i64 %state, i64 %waited)
  br label %look
ask:
  %wanted = load atomic i64, ptr @wanted seq_cst, align 8
  %enough = icmp sge i64 %me, %wanted
  br i1 %enough, label %skip, label %join
skip:
  br label %look
join:
  %before = atomicrmw add ptr @state, i64 1 seq_cst
  %joined = lshr i64 %before, 32
  %bit = and i64 %before, 2147483648
  %open = icmp ne i64 %bit, 0
  br i1 %open, label %work, label %leave
work:
  call void @take(i64 %me)
  br label %leave
leave:
  %then = atomicrmw sub ptr @state, i64 1 seq_cst
  %inside = and i64 %then, 2147483647
  %alone = icmp eq i64 %inside, 1
  br i1 %alone, label %last, label %look
last:
  call void @wake(i64 0)
  br label %look
end:
  ret void
}

define i32 @run(ptr %f, ptr %context, ptr %excuse, i64 %count, i64 %grain) {
  %limit = load atomic i64, ptr @tinygrad_relu_limit seq_cst, align 8
  %allowed = icmp sgt i64 %limit, 1
  %many = icmp sgt i64 %count, %grain
  %worth = and i1 %allowed, %many
  br i1 %worth, label %claim, label %alone
claim:
  %pair = cmpxchg ptr @busy, i64 0, i64 1 seq_cst seq_cst
  %mine = extractvalue {i64, i1} %pair, 1
  br i1 %mine, label %staff, label %alone
alone:
  %result = call i32 %f(ptr %context, ptr %excuse, i64 0, i64 %count)
  ret i32 %result
staff:
  %started = load i64, ptr @started
  %few = icmp slt i64 %started, %limit
  br i1 %few, label %hire, label %open
hire:
  %start = load ptr, ptr @start
  call void %start()
  br label %open
open:
  %rounded = add i64 %count, %grain
  %less = sub i64 %rounded, 1
  %slices = sdiv i64 %less, %grain
  %wanted = call i64 @llvm.smin.i64(i64 %slices, i64 %limit)
  store ptr %f, ptr @function
  store ptr %context, ptr @context
  store i64 %count, ptr @count
  store i64 %grain, ptr @grain
  store i64 %slices, ptr @slices
  store i32 0, ptr @code
  store atomic i64 %wanted, ptr @wanted seq_cst, align 8
  br label %clear
clear:
  %part = phi i64 [0, %open], [%another, %clear]
  %counter = getelementptr [8 x i64], ptr @taken, i64 %part
  store i64 0, ptr %counter
  %another = add i64 %part, 1
  %parts = icmp slt i64 %another, %wanted
  br i1 %parts, label %clear, label %publish
publish:
  %opened = atomicrmw add ptr @state, i64 6442450944 seq_cst
  br label %call
call:
  %who = phi i64 [1, %publish], [%next, %call]
  call void @wake(i64 %who)
  %next = add i64 %who, 1
  %others = icmp slt i64 %next, %wanted
  br i1 %others, label %call, label %work
work:
  call void @take(i64 0)
  %closed = atomicrmw sub ptr @state, i64 2147483648 seq_cst
  br label %look
look:
  %waited = phi i64 [0, %work], [%more, %patience]
  %state = load atomic i64, ptr @state seq_cst, align 8
  %inside = and i64 %state, 2147483647
  %empty = icmp eq i64 %inside, 0
  br i1 %empty, label %end, label %patience
patience:
  %more = call i64 @linger(i64 0, i64 %state, i64 %waited)
  br label %look
end:
  %error = load ptr, ptr @error
  store ptr %error, ptr %excuse
  %code = load i32, ptr @code
  store atomic i64 0, ptr @busy seq_cst, align 8
  ret i32 %code
}
"""


_limit = ctypes.c_int64(1)      # how many threads may work; the native code reads it


class _Native:
    """The native code, compiled when the first kernel is loaded, and its variables. Helpers run in it as long as the process."""

    def __init__(self) -> None:
        from llvmlite import binding as llvm

        python = ctypes.pythonapi
        for name, place in (("limit", ctypes.addressof(_limit)), ("acquire", _address(python.PyThread_acquire_lock)),
                            ("release", _address(python.PyThread_release_lock))):
            llvm.add_symbol(f"tinygrad_relu_{name}", place)
        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
        llvm.initialize_native_asmparser()
        text = _NATIVE.replace("PAUSE", _PAUSE.get(platform.machine(), ""))
        self.engine = llvm.create_mcjit_compiler(llvm.parse_assembly(text),
                                                 llvm.Target.from_default_triple().create_target_machine(opt=2))
        self.engine.finalize_object()
        self.run = self.engine.get_function_address("run")
        self.pauses, self.wake, self.help = (ctypes.CFUNCTYPE(None, ctypes.c_int64)(self.engine.get_function_address(name))
                                             for name in ("pauses", "wake", "help"))
        self.state, self.busy, self.started, self.spins = map(self._number, ("state", "busy", "started", "spins"))
        self.asleep = self._number("asleep", ctypes.c_int64 * MOST_THREADS)
        self.locks = self._number("locks", ctypes.c_void_p * MOST_THREADS)
        self.threads, self.apart = (self._number(name, ctypes.c_int32 * MOST_THREADS) for name in ("threads", "apart"))
        if sys.platform == "linux":
            for name in ("getcpu", "getaffinity", "setaffinity"):
                self._number(name).value = _address(getattr(ctypes.CDLL(None), f"sched_{name}"))
        self.start = ctypes.CFUNCTYPE(None)(self.hire)
        self._number("start").value = _address(self.start)

    def _number(self, name: str, kind: Any = ctypes.c_int64) -> Any:
        return kind.from_address(self.engine.get_global_value_address(name))

    def hire(self) -> None:
        """Start the helpers that are missing: on the first use, after a fork or a higher limit. The native code calls this."""
        new_lock, acquire = ctypes.pythonapi.PyThread_allocate_lock, ctypes.pythonapi.PyThread_acquire_lock
        new_lock.restype, new_lock.argtypes, acquire.argtypes = ctypes.c_void_p, (), (ctypes.c_void_p, ctypes.c_int)
        if not self.spins.value:
            begin = perf_counter()
            self.pauses(1000)
            self.spins.value = max(1, int(1000 * SPIN / (perf_counter() - begin)))
        for who in range(self.started.value, _limit.value):
            self.locks[who] = new_lock()
            acquire(self.locks[who], 1)
            if who:
                with suppress(RuntimeError):    # the system allows no more threads: those that there are do the work
                    start_new_thread(self.live, (who,))
            self.started.value = who + 1

    def live(self, who: int) -> None:
        """A helper's life. It keeps off the caller's core where every thread can have a core of its own."""
        self.threads[who] = get_native_id() if sys.platform == "linux" and _limit.value <= cores() else 0
        self.help(who)

    def dismiss(self) -> None:
        """At exit: the helpers leave the native code, which is about to go."""
        _limit.value = 0
        for who in range(self.started.value):
            self.wake(who)

    def forget(self) -> None:
        """A forked child has a copy of the pool, but none of its threads."""
        self.started.value = self.busy.value = 0
        self.state.value &= -1 << 32
        for each in (self.asleep, self.apart):
            ctypes.memset(each, 0, ctypes.sizeof(each))


def _address(function: Any) -> int:
    return ctypes.cast(function, ctypes.c_void_p).value or 0


@cache
def _native() -> _Native:
    native = _Native()
    atexit.register(native.dismiss)
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=native.forget)
    return native


def _start_with_one() -> None:
    """A forked child is usually one of several."""
    _limit.value = 1


SYMBOLS.append(lambda: {RUN: _native().run})
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_with_one)


# -- the number of threads -----------------------------------------------------------------------------------------------


def set_num_threads(n: int) -> None:
    """Let large operations use up to `n` threads. The results are the same to the bit for every n.

    The default is the value of ``TINYGRAD_RELU_NUM_THREADS``, ``OPENBLAS_NUM_THREADS`` or ``OMP_NUM_THREADS``, or else the number
    of cores; and 1 in a worker process of ``multiprocessing``, and after a fork, so that workers do not compete for the cores.

    >>> before = get_num_threads()
    >>> set_num_threads(1)
    >>> get_num_threads()
    1
    >>> set_num_threads(before)
    """
    n = check_count(n, "set_num_threads: n")
    if n > MOST_THREADS:
        raise ValueError(f"set_num_threads: n is {n}, expected at most {MOST_THREADS}")
    _limit.value = n


def get_num_threads() -> int:
    """How many threads large operations may use (see `set_num_threads`).

    >>> get_num_threads() >= 1
    True
    """
    return int(_limit.value)


@contextmanager
def num_threads(n: int) -> Iterator[None]:
    """`set_num_threads(n)` inside a with block; the previous number is restored at its end."""
    before = get_num_threads()
    set_num_threads(n)
    try:
        yield
    finally:
        set_num_threads(before)


def _default() -> int:
    given = (os.environ.get(name, "") for name in VARIABLES)
    found = next((min(int(value), MOST_THREADS) for value in given if value.isdigit() and int(value) > 0), cores())
    started_by = sys.modules.get("multiprocessing.process")     # a worker has imported it
    return 1 if started_by and started_by.parent_process() else found


_limit.value = _default()
