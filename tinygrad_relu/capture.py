"""Capture: the launches of a step, recorded and then replayed.

A `Recording` is the list of launches of one call of a step, with the arrays that they used. A replay copies the new inputs into
the arrays of the recorded ones, calls the kernels in order, and copies the results: no graph, no Python for each operation, and
no memory but that of the results. An array in a launch is one of these:

    input       an argument of the step, of which the recording has a copy
    state       memory that all calls share: parameters, gradients, buffers, arrays that the step finds outside
    private     all other memory: activations, gradients on their way, and constants

A recording is not trusted before it has been proved. In the next call of the same kind, a `Proof` runs each launch twice, first
eagerly and then from the recording, both from the same state, and compares all arrays bit by bit. So a constant that depends on
an input, a number that Python has computed, or state that is written between launches is refused with a sentence, and never
replayed. A proof of two calls cannot see what happens later, or never in a launch. That `autodiff/guard.py` refuses: numbers that
Python reads, hooks, attributes set by the step.
"""
from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from hashlib import blake2b
from operator import call, is_
from threading import Lock
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any, NamedTuple

import numpy as np
from numpy import ndarray

from .autodiff import guard
from .autodiff.guard import Guarded, Later, current_recorder, recorded_by, refuse, unguarded
from .autodiff.hooks import current_observer
from .autodiff.node import Array, is_grad_enabled, next_order
from .autodiff.tape import changed
from .kernels.machine.door import is_watched
from .kernels.machine.policy import Kernel
from .kernels.machine.pool import share
from .nn.module import Module
from .optim.optimizer import Optimizer
from .parameters import WATCHERS, Parameter
from .tensor import Tensor
from .text import aligned

MOST = 32       # recordings of one program


class Launch(NamedTuple):
    """A kernel, or any other function that was launched, and its arguments."""

    kernel: Any
    arguments: tuple[Any, ...]

    def __str__(self) -> str:
        return getattr(self.kernel, "__name__", str(self.kernel))


def move(optimizer: Optimizer, segment: Any, options: Any, data: Array, grad: Array) -> None:
    """How a step of an optimizer is recorded: as one call, which reads the rate and all other options when it is replayed."""
    optimizer.move(segment, grad, options)
    segment.steps += 1
    changed(segment.parameters)


# -- arrays in trees of tuples, lists and dicts ----------------------------------------------------------------------------------


def _mapped(f: Callable[[Any], Any], tree: Any) -> Any:
    if type(tree) in (tuple, list):
        return type(tree)([_mapped(f, entry) for entry in tree])
    return {name: _mapped(f, entry) for name, entry in tree.items()} if type(tree) is dict else f(tree)


def _arrays(tree: Any) -> Iterator[Array]:
    """All arrays, those of Tensors included."""
    if isinstance(tree, (ndarray, Tensor)):
        yield tree.array if isinstance(tree, Tensor) else tree
    elif type(tree) in (tuple, list, dict):
        for entry in tree.values() if type(tree) is dict else tree:
            yield from _arrays(entry)


def _agree(a: Any, b: Any) -> bool:
    """Whether two trees are equal, except for the numbers in arrays."""
    if isinstance(a, (ndarray, Tensor)) and isinstance(b, (ndarray, Tensor)):
        (a,), (b,) = _arrays(a), _arrays(b)
        return bool((a.shape, a.dtype, a.strides) == (b.shape, b.dtype, b.strides))
    if type(a) is not type(b):
        return False
    if type(a) in (tuple, list):
        return len(a) == len(b) and all(map(_agree, a, b))
    if type(a) is dict:
        return a.keys() == b.keys() and all(_agree(a[key], b[key]) for key in a)
    return a is b or type(a) is Later or bool(a == b) or (a != a and b != b)


def _owner(x: Array) -> Array:
    """The array that owns the memory of x."""
    while isinstance(x.base, ndarray):
        x = x.base
    return x


def _is_same(a: Array, b: Array) -> bool:
    return _owner(a) is _owner(b) and a.ctypes.data == b.ctypes.data


def _bits(x: Array) -> Array:
    return np.frombuffer(x.tobytes(), np.uint8)


def _differ(a: Array, b: Array) -> bool:
    return a.tobytes() != b.tobytes()


def _digest(x: Array) -> bytes:
    return blake2b(np.ascontiguousarray(x).data).digest()


def _fresh(x: Any) -> Any:
    """A result as users get it, with memory of its own."""
    if isinstance(x, Tensor):
        return Tensor.leaf(x.array.copy())
    return np.array(x) if isinstance(x, ndarray) else x.read() if type(x) is Later else x


# -- recording -------------------------------------------------------------------------------------------------------------------


class Recording:
    """The launches of one call, its inputs and its result; and the circumstances in which a replay does the same."""

    def __init__(self, step: Callable[..., Any], homes: Sequence[Array]) -> None:
        self.step, self.homes = step, homes                         # homes: our copies of the inputs
        self.launches: list[Launch] = []
        self.owners = {id(home): home for home in homes}            # of all memory that launches have used
        self.result: Any = None
        self.failed = False             # whether a launch raised an error, after which the step went another way
        self.proved = False
        self.varied = [False] * len(homes)      # which inputs have differed from those of the call before
        self.settled = False            # proved, with inputs that have all varied
        self.made: list[Any] = []       # modules made by the step
        self.begun = next_order()       # Tensors made by the step have a larger order
        self._inside = False

    def __call__(self, kernel: Any, arguments: tuple[Any, ...]) -> None:
        """Gets each launch (see `door.watch`). A launched function of Python is one launch, whatever it launches itself."""
        arguments = _mapped(unguarded, arguments)
        if self._inside:
            kernel(*arguments)
            return
        self._inside = type(kernel) is not Kernel
        try:
            self.run(Launch(kernel, arguments))
        except Exception:
            self.failed = True
            raise
        finally:
            self._inside = False

    def run(self, launch: Launch) -> None:
        """Run a launch eagerly and note it."""
        for x in _arrays(launch.arguments):
            self.owners.setdefault(id(_owner(x)), _owner(x))
        launch.kernel(*launch.arguments)
        self.launches.append(launch)

    def move_of(self, optimizer: Optimizer) -> Callable[..., None]:
        """`optimizer.move`, recorded as `move` if it is called by the step."""
        usual = partial(type(optimizer).move, optimizer)

        def recorded(segment: Any, grad: Array, options: Any) -> None:
            if current_recorder() is not self:
                usual(segment, grad, options)
                return
            self(lambda *_: usual(segment, grad, options), (optimizer, segment, options, segment.data, grad))
            self.launches[-1] = Launch(move, self.launches[-1].arguments)

        return recorded

    def finish(self, result: Any) -> None:
        self.result = result

    # -- circumstances ----------------------------------------------------------------------------------------------------

    def remember(self, before: dict[Parameter, Any]) -> None:
        """Note the gradients before and after the call, and the surroundings."""
        mine = self.owners.keys()
        self.parameters = [p for p in before if id(_owner(p.array)) in mine or id(_owner(p.place.gradients)) in mine]
        self.start, self.end = [before[p] for p in self.parameters], [p.grad for p in self.parameters]
        self.changes = [(p, g) for p, g in zip(self.parameters, self.end) if before[p] is not g]
        if any(g is not None and g is not p.home for p, g in self.changes):
            refuse("sets the .grad of a parameter to an array of its own; scale the loss, or clip: nn.utils.clip_grad_norm_")
        self.trained = [p.requires_grad for p in self.parameters]
        self.look_around()

    def look_around(self) -> None:
        names = names_of(self.step)
        self.finds, self.found = [find for find, _ in names], [value for _, value in names]
        self.modes = [(module, module.training) for top in [self.step, *self.found] if isinstance(top, Module)
                      for module in top.modules()]
        guard.watched.update(module for module, _ in self.modes)
        self.version, self.checked = guard.version, guard.modes

    def is_current(self) -> bool:
        """Whether the names in the step, and modules (but for their mode) and optimizers, are what they were."""
        try:
            return self.version == guard.version and all(map(is_, map(call, self.finds), self.found))
        except (LookupError, ValueError):       # a name that no longer exists
            return False

    def starts_here(self) -> bool:
        """Whether modes, and gradients that are None, are as before the call: `backward` adds to other gradients."""
        if self.checked != guard.modes:
            if not all([module.training is mode for module, mode in self.modes]):
                return False
            self.checked = guard.modes
        for p, g, trained in zip(self.parameters, self.start, self.trained):        # a plain loop is the fastest
            if p.grad is not g or p.requires_grad is not trained:
                return False
        return True

    # -- replay -----------------------------------------------------------------------------------------------------------

    def trust(self, writes: int) -> None:
        """After a proof: prepare replays. `writes` launches run before the first that writes state."""
        self.proved, self.settled, self.writes = True, all(self.varied), writes
        self.look_around()
        self.calls: list[tuple[Callable[..., Any], tuple[Any, ...]]] = []
        self.places: list[int] = []     # for each call, the number of its launch
        before: Any = None
        for i, (kernel, arguments) in enumerate(self.launches):
            if type(kernel) is not Kernel:
                self.calls.append((kernel, arguments))
            else:
                code = kernel.code[arguments[kernel.key].dtype]
                if before and before[0] is kernel and all(map(is_, _arrays(arguments), _arrays(before[1]))):
                    last, given = self.calls.pop()              # panels of one product: threads share them
                    panels = given[0] if last is share else [partial(last, *given)]
                    self.calls.append((share, ([*panels, partial(code, *arguments)],)))
                    self.places.pop()
                else:
                    self.calls.append((code, arguments))
            self.places.append(i)
            before = kernel, arguments

    def replay(self, eagerly: Callable[[], Any]) -> Any:
        """Call the kernels; if one raises before state has been written, the step takes its own way, or explains the error."""
        calls: Any = iter(self.calls)
        try:
            for code, arguments in calls:
                code(*arguments)
        except Exception as error:
            at = self.places[len(self.calls) - calls.__length_hint__() - 1]
            if at <= self.writes:
                return eagerly()
            raise RuntimeError(f"capture: launch {at} of a replay ({self.launches[at]}) raised {type(error).__name__}: {error}; "
                               "the launches before it have changed the model") from error
        for p, g in self.changes:
            p.grad = g
        return _mapped(_fresh, self.result)


class Proof(Recording):
    """A second recording, in lock step with `other`: `problem` is the first difference."""

    def __init__(self, other: Recording) -> None:
        super().__init__(other.step, other.homes)
        self.other, self.problem, self.writes = other, "", len(other.launches)
        self.known = {key: _digest(owner) for key, owner in other.owners.items()}       # of state after the last launch

    def check(self, fits: bool, problem: str) -> bool:
        self.problem = self.problem or ("" if fits else problem)
        return fits

    def run(self, launch: Launch) -> None:
        i = len(self.launches)
        self.launches.append(launch)
        other = self.other.launches[i] if i < len(self.other.launches) else None
        moves = other is not None and other.kernel is move
        self.check(other is not None and (moves or bool(other.kernel == launch.kernel)),
                   f"launched {launch} where the call before launched {other or 'nothing more'}; a step must do the same "
                   "in every call")
        if self.problem or other is None or not self.check(_agree(launch.arguments, other.arguments), (
                f"gave {launch} other shapes or numbers than in the call before; numbers that Python computes are not replayed, "
                "except the options of optimizers")):
            launch.kernel(*launch.arguments)
            return
        pairs = list(zip(_arrays(launch.arguments), _arrays(other.arguments)))
        state = {id(_owner(x)): _owner(x) for x, y in pairs if _is_same(x, y)}
        for key, owner in state.items():
            self.check(self.known.get(key) == _digest(owner), f"changed {_said(owner)} between launches (before {launch})")
        private = [(x, y) for x, y in pairs if not _is_same(x, y)]
        if moves or any(_owner(x) is _owner(y) for x, y in private):
            self.check(not private, f"gave {launch} other arrays than in the call before")
            private = []
        before, starts = [owner.copy() for owner in state.values()], [(x.copy(), y.copy()) for x, y in private]
        launch.kernel(*launch.arguments)
        after, ends = [owner.copy() for owner in state.values()], [x.copy() for x, _ in private]
        if moves or any(map(_differ, before, after)):
            self.writes = min(self.writes, i)
        if private:
            for owner, bits in zip(state.values(), before):
                owner[...] = bits
            other.kernel(*other.arguments)
            for (_, y), end, (x_start, y_start) in zip(private, ends, starts):
                written = (_bits(end) != _bits(x_start)) | (_bits(y) != _bits(y_start))
                wrong = (_bits(end) != _bits(y)) & (written if written.any() else True)     # other launches write the rest
                self.check(not wrong.any(), f"gave {launch} {_said(y)} that was computed outside of launches, from inputs or "
                           "state; use operations of the package, or compute it before and pass it as an input")
            self.check(not any(map(_differ, state.values(), after)), f"had another result of {launch} than in the call before")
            for (_, y), (_, y_start) in zip(private, starts) if self.problem else ():
                y[...] = y_start                # which may be of the user
            for owner, bits in zip(state.values(), after):
                owner[...] = bits
        self.known |= {key: _digest(owner) for key, owner in state.items()}

    def finish(self, result: Any) -> None:
        super().finish(result)
        others = self.other.launches[len(self.launches):]
        self.check(not others, f"launched nothing more where the call before launched {others[:1]}")
        self.check(_agree(result, self.other.result),
                   "returned other numbers or shapes than in the call before; return Tensors, or numbers by item()")
        used = {id(_owner(x)) for launch in self.launches for x in _arrays(launch.arguments)}
        for key, owner in self.other.owners.items():
            self.check(key not in used or self.known[key] == _digest(owner),
                       f"changed {_said(owner)} after the last launch that used it")
        if not self.problem:
            self.check(not any(map(_differ, _arrays(result), _arrays(self.other.result))),
                       "returned an array that was computed outside of launches")


def _said(x: Array) -> str:
    return f"an array of shape {x.shape} and {x.dtype}"


@contextmanager
def _recorded(recording: Recording, reached: list[Any]) -> Iterator[None]:
    """Inside, launches of this thread and moves of optimizers are recorded. Gradients of the optimizers in reach are guarded."""
    homes: list[tuple[Parameter, Any]] = [(p, p.home) for thing in reached if isinstance(thing, Optimizer)
                                          for p in thing._parameters()]
    for p, home in homes:
        p.home = home.view(Guarded)
        p.grad = p.home if p.grad is home else p.grad
    optimizers = list(WATCHERS)
    for optimizer in optimizers:
        vars(optimizer)["move"] = recording.move_of(optimizer)
    try:
        with recorded_by(recording):
            yield
    finally:
        for optimizer in optimizers:
            del vars(optimizer)["move"]
        for p, home in homes:
            p.home, p.grad = home, home if p.grad is p.home else p.grad


# -- what a step finds outside ---------------------------------------------------------------------------------------------------


def names_of(step: Any) -> list[tuple[Callable[[], Any], Any]]:
    """How to find each variable that a step finds outside, and its value: names of closures and globals, attributes of the user's
    objects, entries of lists and dicts. The values of our modules and optimizers are watched by `guard.version`."""
    found: list[tuple[Callable[[], Any], Any]] = []
    used: set[str] = set()              # all names in the code so far
    queue: list[Any] = [step]
    seen = {id(step)}

    def add(*finds: Callable[[], Any]) -> None:
        for find in finds:
            try:
                value = find()
            except (LookupError, ValueError):       # not yet defined
                continue
            found.append((find, value))
            if id(value) not in seen:
                seen.add(id(value))
                queue.append(value)

    for thing in queue:
        if isinstance(thing, partial):
            add(partial(getattr, thing, "func"), *[partial(thing.args.__getitem__, i) for i in range(len(thing.args))],
                *[partial(thing.keywords.__getitem__, name) for name in thing.keywords])
        elif isinstance(thing, MethodType):
            queue += [thing.__self__, thing.__func__]
        elif isinstance(thing, FunctionType) and not _is_library(thing):
            names = _names(thing.__code__)
            used |= names
            queue += [*(thing.__defaults__ or ()), *(thing.__kwdefaults__ or {}).values()]
            add(*[partial(getattr, cell, "cell_contents") for cell in thing.__closure__ or ()],
                *[partial(thing.__globals__.__getitem__, name) for name in names & thing.__globals__.keys()])
        elif isinstance(thing, ModuleType):
            add(*[partial(vars(thing).__getitem__, name) for name in used & vars(thing).keys()])
        elif isinstance(thing, Module):
            for module in thing.modules():
                if not _is_library(type(module)):       # ours replace their attributes, which `guard.version` counts
                    queue += [type(module), *(held for held in vars(module).values() if type(held) in (list, dict))]
        elif type(thing) is tuple:
            queue += thing
        elif type(thing) in (list, dict):
            add(thing.__len__, *[partial(thing.__getitem__, key) for key in thing if type(thing) is dict],
                *[partial(thing.__getitem__, i) for i in range(len(thing)) if type(thing) is list])
        elif isinstance(thing, Optimizer) and type(thing).step is Optimizer.step:
            continue                        # a replay calls its `move`
        elif isinstance(thing, type):
            queue += [f for cls in thing.__mro__ if not _is_library(cls) for f in vars(cls).values()
                      if isinstance(f, FunctionType)]
        elif type(getattr(thing, "__dict__", None)) is dict and not _is_library(type(thing)):
            queue.append(type(thing))
            add(*[partial(vars(thing).__getitem__, name) for name in vars(thing)])
    return found


def _is_library(thing: Any) -> bool:
    """Whether a function or class is ours, Python's, or that of an installed package: not code that uses these names."""
    package = str(thing.__module__).partition(".")[0]
    return (package == __package__ or package in sys.stdlib_module_names
            or "-packages" in str(getattr(sys.modules.get(package), "__file__", "")))


def _names(code: CodeType) -> set[str]:
    return {*code.co_names}.union(*(_names(inner) for inner in code.co_consts if isinstance(inner, CodeType)))


# -- programs --------------------------------------------------------------------------------------------------------------------


def _key(x: Any) -> Any:
    """What distinguishes arguments: shapes and dtypes of arrays, the values of anything else."""
    if isinstance(x, (ndarray, Tensor)):
        return type(x), x.shape, x.dtype, getattr(x, "requires_grad", None)
    if type(x) in (tuple, list):
        return type(x), *map(_key, x)
    return (dict, *((name, _key(entry)) for name, entry in x.items())) if type(x) is dict else (type(x), x)


class Program:
    """A captured step, called like the step. Printed, it is a table of the launches of each recording."""

    def __init__(self, step: Callable[..., Any]) -> None:
        if not callable(step):
            raise TypeError(f"capture: got {type(step).__name__}, expected a function")
        self.step = step
        self.replays = 0                # how many calls were replays
        self.recordings: dict[Any, list[Recording]] = {}
        self._lock = Lock()

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        if is_watched() or current_observer() is not None:      # anomaly detection and the like follow an eager step
            return self.step(*inputs, **options)
        key = (is_grad_enabled(), _key(options) if options else None,
               *[(ndarray, x.shape, x.dtype) if type(x) is ndarray else _key(x) for x in inputs])
        arrays: Any = inputs if not options and all([type(x) is ndarray for x in inputs]) else [*_arrays([inputs, options])]
        with self._lock:
            for recording in self.recordings.get(key, ()):
                if not recording.is_current():
                    self.recordings.clear()
                    break
                if recording.starts_here():
                    new = () if recording.settled else [was or _differ(home, x) for was, home, x in zip(
                        recording.varied, recording.homes, arrays)]
                    for home, x in zip(recording.homes, arrays):
                        home[...] = x
                    if recording.settled or (recording.proved and new == recording.varied):
                        self.replays += 1
                        return recording.replay(lambda: self.step(*inputs, **options))
                    recording.varied = list(new)
                    return self._record(key, inputs, options, Proof(recording))
            return self._record(key, inputs, options, Recording(self.step, [np.array(x, order="C") for x in arrays]))

    def _record(self, key: Any, inputs: Any, options: Any, recording: Recording) -> Any:
        """Run the step eagerly, on our copies of the inputs, and record it."""
        homes, arrays = iter(recording.homes), [home.copy() for home in recording.homes]

        def own(x: Any) -> Any:
            if isinstance(x, Tensor):
                return Tensor.leaf(next(homes), x.requires_grad)
            return next(homes).view(Guarded) if isinstance(x, ndarray) else x

        inputs, options = _mapped(own, inputs), _mapped(own, options)
        names = names_of(self.step)
        before = {p: p.grad for optimizer in list(WATCHERS) for p in optimizer._parameters()}
        with _recorded(recording, [value for _, value in names]):
            result = self.step(*inputs, **options)
            recording.finish(_mapped(unguarded, result))
        if any(map(_differ, recording.homes, arrays)):
            refuse("changes an input, which a replay would not; work on a copy")
        if any(isinstance(x, Tensor) and x.grad is not None for x in inputs):
            refuse("gives a gradient to an input; return it instead: tg.grad(loss, x)")
        for find, value in names:
            if find() is not value:
                what = find.args[-1] if isinstance(find, partial) else "the length of a list or dict"
                refuse(f"changes a variable outside ({what}), which a replay would not; do it after the call")
        if not recording.failed:
            self._keep(key, recording, before)
        return _mapped(_fresh, recording.result)

    def _keep(self, key: Any, recording: Recording, before: dict[Parameter, Any]) -> None:
        if isinstance(recording, Proof):
            if recording.problem:
                del self.recordings[key]
                refuse(f"{recording.problem} (this call was computed eagerly, and is complete)")
            recording.other.trust(recording.writes)
        else:
            if sum(map(len, self.recordings.values())) >= MOST:
                refuse(f"was called with {MOST} kinds of arguments; pass numbers that vary as arrays")
            recording.remember(before)
            self.recordings.setdefault(key, []).append(recording)

    def __repr__(self) -> str:
        return "\n\n".join(map(_table, [one for several in self.recordings.values() for one in several])) or "no recording yet"


def _table(recording: Recording) -> str:
    rows = []
    for i, launch in enumerate(recording.launches):
        arrays = [x for x in _arrays(launch.arguments) if x.size]
        rows.append([str(i), str(launch), " ".join(str(x.shape).replace(" ", "") for x in arrays),
                     " ".join(dict.fromkeys(str(x.dtype) for x in arrays)), f"{sum(x.nbytes for x in arrays):,}"])
    return aligned(["", "kernel", "shapes", "dtypes", "bytes"], rows, right=["", "bytes"])


def capture(step: Callable[..., Any]) -> Program:
    """A function that does what `step` does, faster: it replays the launches of kernels of an earlier call.

    `step` is a training step, or any function of arrays and Tensors. The first two calls with each kind of arguments (shapes,
    dtypes, other values) run it as it is: one is recorded, the next proves the recording. After that, the bits are those of the
    eager step, without its Python. Results have memory of their own, and no graph.

    Options of optimizers, values of parameters and buffers, and the state of random layers are those of each call. Where modules,
    their mode, hooks, optimizers, or variables of the step have changed, the step is recorded anew. A step that reads numbers
    (``if loss > 3``), computes with NumPy on inputs or results, or changes Python variables is refused: a `CaptureError`.
    docs/training.md says more.

    >>> model = nn.Linear(2, 1, rng=0)
    >>> opt = optim.SGD(model.parameters(), lr=0.1)
    >>> @tg.capture
    ... def step(x, y):
    ...     opt.zero_grad()
    ...     loss = F.mse_loss(model(x), y)
    ...     loss.backward()
    ...     opt.step()
    ...     return loss
    >>> losses = [step(np.ones((4, 2)), np.full((4, 1), y)).item() for y in (1.0, 2.0, 1.0, 2.0, 1.0)]
    >>> step.replays
    2
    """
    return Program(step)
