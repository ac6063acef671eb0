"""What many tests share: both types, what a function launches or computes, in threads or with several, and commands."""
from __future__ import annotations

import threading

import numpy as np
import pytest

from tinygrad_relu import cli
from tinygrad_relu.kernels.machine.door import watch
from tinygrad_relu.kernels.machine.pool import num_threads
from tinygrad_relu.tensor import Tensor

TYPES = [np.float32, np.float64]
every_type = pytest.mark.parametrize("dtype", TYPES, ids=["float32", "float64"])


def run(capsys, *words):
    """The exit status of a command, and what it prints to standard output and to standard error."""
    status = cli.main([*map(str, words)])
    return status, *capsys.readouterr()


def launches(f):
    """The names of the kernels that `f` launches, in order."""
    seen = []
    with watch(lambda kernel, arguments: seen.append(kernel.__name__) or kernel(*arguments)):
        f()
    return seen


def on_threads(f, numbers=(1, 2, 3, 4)):
    """The arrays that `f` returns, which have the same bits with any of these numbers of threads."""
    found = []
    for n in numbers:
        with num_threads(n):
            found.append([x.data if isinstance(x, Tensor) else x for x in f()])
    for others in found[1:]:
        for one, other in zip(found[0], others, strict=True):
            assert one.tobytes() == other.tobytes()
    return found[0]


def at_once(works):
    """What the functions return, each in a thread of its own, all started at the same moment; an error comes out."""
    results, gate = [None] * len(works), threading.Barrier(len(works))

    def run(k):
        try:
            gate.wait(60)
            results[k] = works[k]()
        except BaseException as error:
            results[k] = error

    threads = [threading.Thread(target=run, args=(k,)) for k in range(len(works))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return results
