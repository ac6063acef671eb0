"""Recordings: the launches of one call of a step, and the proof that every call does the same.

An array in a launch is one of these:

    input       an argument of the step, of which the recording has a copy
    state       memory that all calls share: parameters, gradients, buffers, arrays that the step finds outside
    private     all other memory: activations, gradients on their way, and constants

A recording is not trusted before it has been proved. In the next call of the same kind, a `Proof` runs each launch twice, first
eagerly and then from the recording, both from the same state, and compares all arrays bit by bit. So a constant that depends on
an input, a number that Python has computed, or state that is written between launches is refused with a sentence, and never
replayed. A proof of two calls does not see a branch that Python may take later: `autodiff/guard.py` refuses numbers that Python
reads, hooks, and attributes of modules set by the step. All else outside that may change is compared by surroundings.py.
"""
from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from hashlib import blake2b
from threading import RLock
from typing import Any
from weakref import WeakSet

import numpy as np

from ..autodiff.guard import Guarded, current_recorder, recorded_by, refuse, unguarded
from ..autodiff.node import Array, is_grad_enabled, next_order
from ..checks import owner_of
from ..kernels.machine.policy import Kernel
from ..kernels.machine.program import Inputs
from ..optim.optimizer import Optimizer
from ..parameters import Parameter, watchers
from ..profile import Profile
from ..tensor import Tensor
from .arrays import Launch, agree, arrays_in, bytes_of, copies, described, differ, form, is_same, mapped, restore
from .replay import Replay, Stale, is_launch, move
from .surroundings import Surroundings

POISON = 0xA5       # each byte of memory whose numbers a launch must not use
SMALL = 1 << 18     # bytes up to which an array is copied, to see whether it changes


class Recording:
    """The launches of one call, its inputs and its result; and the circumstances in which a replay does the same."""

    def __init__(self, reached: Sequence[Any], key: Any, homes: Sequence[Array]) -> None:
        self.reached, self.key = reached, key       # the step, and its arguments that are no arrays
        self.forms = {key[1]}                       # a set: == of an argument may be no bool, so hashes are compared first
        self.homes = homes                          # our copies of the inputs
        self.grad_mode = is_grad_enabled()
        self.launches: list[Launch] = []
        self.owners = {id(home): home for home in homes}            # of all memory that launches have used
        self.result: Any = None
        self.failed = False             # whether a launch raised an error, after which the step went another way
        self.replay: Replay | None = None       # once it is proved
        self.profile: Profile | None = None     # the last one
        self.state: list[Array] = []            # the owners of state, once it is proved
        self.varied = [False] * len(homes)      # which inputs have differed from those of the call before
        self.inputs: Inputs | None = None       # how a replay gets arrays and Tensors without Python
        self.plain = False                      # whether these are the arguments, one by one, and no two of them can be one
        self.begun = next_order()       # Tensors made by the step have a larger order
        self.made: list[Any] = []       # modules made by the step
        self._inside = False

    def __call__(self, kernel: Any, arguments: tuple[Any, ...]) -> None:
        """Gets each launch (see `door.watch`). A launched function of Python is one launch, whatever it launches itself."""
        arguments = mapped(unguarded, arguments)
        if self._inside:
            return kernel(*arguments)
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
        for x in arrays_in(launch.arguments):
            self.owners.setdefault(id(owner_of(x)), owner_of(x))
        launch.kernel(*launch.arguments)
        self.launches.append(launch)

    def move_of(self, optimizer: Optimizer) -> Callable[..., None]:
        """`optimizer.move`, recorded as `move` if it is called by the step."""
        usual = partial(type(optimizer).move, optimizer)

        def recorded(segment: Any, grad: Array, options: Any) -> None:
            if current_recorder() is not self:
                return usual(segment, grad, options)
            self(lambda *_: usual(segment, grad, options), (optimizer, segment, options, segment.data, grad))
            self.launches[-1] = Launch(move, self.launches[-1].arguments)

        return recorded

    def finish(self, result: Any) -> None:
        self.result = result

    # -- circumstances ----------------------------------------------------------------------------------------------------

    def remember(self, before: dict[Parameter, Any]) -> None:
        """Note the gradients before and after the call, and the surroundings."""
        self.parameters = [p for p in before if {id(owner_of(p.array)), id(owner_of(p.place.gradients))} & self.owners.keys()]
        self.start, end = [before[p] for p in self.parameters], [p.grad for p in self.parameters]
        self.changes = [(p, g) for p, g in zip(self.parameters, end) if before[p] is not g]
        if any(g is not None and g is not p.home for p, g in self.changes):
            refuse("sets the .grad of a parameter to an array of its own; scale the loss, or clip: nn.utils.clip_grad_norm_")
        self.expected = [(p, before[p], p.requires_grad) for p in self.parameters]
        self.surroundings = Surroundings(*self.reached).without(self.owners)

    def refill(self, arrays: Sequence[Array]) -> bool:
        """Copy the inputs; False if one differs for the first time, of which no other value is proved."""
        known = True
        for i, (home, x) in enumerate(zip(self.homes, arrays)):
            if not self.varied[i]:
                if not differ(home, x):
                    continue
                known, self.varied[i] = False, True
                if self.inputs:
                    self.inputs.may_vary(i)
            home[...] = x
        return known

    def takes(self, leaves: Sequence[Any]) -> bool:
        """Whether these, found in the arguments, are of no class of the user; then `self.inputs` takes such ones."""
        if self.inputs is None and all(type(x) in (np.ndarray, Tensor) for x in leaves):
            self.inputs = Inputs(self.homes, self.varied, [
                slot for p, g, trained in self.expected for slot in ((p, "grad", g), (p, "requires_grad", trained))], [
                (Tensor, "array", "requires_grad", x.requires_grad) if type(x) is Tensor else None for x in leaves])
            self.plain = form((tuple(leaves), {}), []) in self.forms and sum(getattr(x, "requires_grad", 0) for x in leaves) < 2
        return self.inputs is not None

    def fits(self, compared: bool = False) -> bool:
        """Whether modes are as before the call, and which gradients are None: `backward` adds to others.

        If variables or modules are others, it raises `Stale`. `compared`: the gradients have been, by `inputs.take`.
        """
        if not self.surroundings.are_same():
            raise Stale
        same = compared or all([p.grad is g and p.requires_grad is trained for p, g, trained in self.expected])
        return same and self.surroundings.have_same_modes()

    @contextmanager
    def unchanged(self) -> Iterator[None]:
        """Put back everything that replays change inside: state, gradients, and the steps that optimizers have counted."""
        moves = self.replay.moves.values() if self.replay else ()
        segments = [*(each.segment for each in moves), *(x[1] for kernel, x in self.launches if kernel is move)]
        arrays = [*self.state, *(x for segment in segments for x in segment.state.values() if isinstance(x, np.ndarray))]
        before, steps, grads = copies(arrays), [segment.steps for segment in segments], [p.grad for p in self.parameters]
        try:
            yield
        finally:
            restore(arrays, before)
            for segment, n in zip(segments, steps):
                segment.steps = n
            for p, g in zip(self.parameters, grads):
                p.grad = g


class Proof(Recording):
    """A second recording, in lock step with `other`: `problem` is the first difference."""

    def __init__(self, other: Recording) -> None:
        super().__init__(other.reached, other.key, other.homes)
        self.other, self.problem, self.writes = other, "", len(other.launches)
        self.owners |= other.owners
        self.known = {key: _digest(owner) for key, owner in other.owners.items()}       # of state after the last launch
        self.before: dict[int, tuple[Array, Array]] = {}        # state, and a copy of it from before the call
        self.seen = {id(home) for home in other.homes}          # memory that the launches so far have used
        self.overwritten: set[int] = set()                      # memory whose first launch overwrites all of it
        self.on_trial = True                                    # whether a replay can be run on trial

    def note(self, problem: str) -> None:
        self.problem = self.problem or problem

    def run(self, launch: Launch) -> None:
        i = len(self.launches)
        self.launches.append(launch)
        other = self.other.launches[i] if i < len(self.other.launches) else None
        moves = other is not None and other.kernel is move
        if other is None or not (moves or other.kernel == launch.kernel):
            self.note(f"launched {launch} where the call before launched {other or 'nothing more'}; a step must do the same "
                      "in every call")
        elif not agree(launch.arguments, other.arguments):
            self.note(f"gave {launch} other shapes or numbers than in the call before; numbers that Python computes are not "
                      "replayed, except the options of optimizers")
        if self.problem or other is None:
            launch.kernel(*launch.arguments)
            return
        pairs = list(zip(arrays_in(launch.arguments), arrays_in(other.arguments)))
        private = [(x, y) for x, y in pairs if not is_same(x, y)]
        state = {id(owner_of(x)): owner_of(x) for x, y in pairs if is_same(x, y)}
        buffers: dict[str, Array] = launch.arguments[1].state if moves else {}
        for owner in map(owner_of, buffers.values()):       # are not among the arguments
            state[id(owner)] = owner
            self.known.setdefault(id(owner), _digest(owner))
        for key, owner in state.items():
            if self.known.get(key) != _digest(owner):
                self.note(f"changed {described(owner)} between launches (before {launch})")
            if key not in self.before:
                self.before[key] = owner, owner.copy()
        if private and (moves or any(owner_of(x) is owner_of(y) for x, y in private)):
            self.note(f"gave {launch} other arrays than in the call before")
            private = []
        before, starts, names = copies(state.values()), copies(x for pair in private for x in pair), [*buffers]
        launch.kernel(*launch.arguments)
        self.on_trial &= names == [*buffers]        # not if a buffer is new: it has no state from before
        written = {key: owner for (key, owner), copy in zip(state.items(), before) if differ(owner, copy)}
        if moves or written:
            self.writes = min(self.writes, i)
        self.known |= {key: _digest(owner) for key, owner in written.items()}
        if private:
            self._repeat(launch, other, private, list(state.values()), before, starts)

    def _repeat(self, launch: Launch, other: Launch, private: list[tuple[Array, Array]], state: list[Array], before: list[Array],
                starts: list[Array]) -> None:
        """Run the recorded launch from the same state, and compare."""
        x_starts, y_starts, ends = starts[::2], starts[1::2], copies(x for x, _ in private)
        ys, after = [y for _, y in private], copies(state)
        restore(state, before)
        other.kernel(*other.arguments)
        for y, end, x_start, y_start in zip(ys, ends, x_starts, y_starts):
            if not differ(end, y):
                continue
            written = (bytes_of(end) != bytes_of(x_start)) | (bytes_of(y) != bytes_of(y_start))
            wrong = (bytes_of(end) != bytes_of(y)) & (written if written.any() else True)     # other launches write the rest
            if wrong.any():
                self.note(f"gave {launch} {described(y)} that was computed outside of launches, from inputs or state; use "
                          "operations of the package, or compute it before and pass it as an input")
        if any(map(differ, state, after)):
            self.note(f"had another result of {launch} than in the call before")
        if self.problem:
            restore(ys, y_starts)              # which may be of the user
        else:
            found = copies(ys)
            for y in ys:                        # does the launch overwrite memory that is new here?
                owner = owner_of(y)
                if id(owner) not in self.seen and y.dtype.kind == "f" and y.nbytes == owner.nbytes and owner.flags.carray:
                    restore([*state, *ys], [*before, *y_starts])
                    owner.reshape(-1).view(np.uint8).fill(POISON)
                    with np.errstate(all="ignore"), suppress(ValueError):       # a target of a loss may be refused
                        other.kernel(*other.arguments)
                        if not any(map(differ, ys, found)):
                            self.overwritten.add(id(owner))
            restore(ys, found)
            self.seen.update(id(owner_of(y)) for y in ys)
        restore(state, after)

    def finish(self, result: Any) -> None:
        super().finish(result)
        if others := self.other.launches[len(self.launches):]:
            self.note(f"launched nothing more where the call before launched {others[:1]}")
        found, known = list[Any](), list[Any]()
        if {form([result], found)} != {form([self.other.result], known)} or not all(map(agree, found, known)):
            self.note("returned something else than in the call before; return Tensors, or item(), in tuples, lists and dicts")
        for key, (owner, _) in self.before.items():
            if self.known[key] != _digest(owner):
                self.note(f"changed {described(owner)} after the last launch that used it")
        if not self.problem and any(map(differ, arrays_in(result), arrays_in(self.other.result))):
            self.note("returned an array that was computed outside of launches")

    def confirm(self) -> None:
        """Give the recording that has been proved its replay."""
        other, state = self.other, list(self.before.values())
        other.state, before = [owner for owner, _ in state], [copy for _, copy in state]
        other.surroundings = Surroundings(*other.reached).without(other.owners)
        on_trial = self.on_trial and all(is_launch(x[0]) for kernel, x in other.launches if kernel is move)
        for fuse in (True, False) if on_trial else ():
            other.replay = Replay(other.launches, other.result, self.writes, self.overwritten, fuse)
            if other.replay.does_the_same(other.state, before, other.result):
                other.launches, other.owners, other.result = [], {}, None      # their memory is no longer needed
                return
        other.replay = Replay(other.launches, other.result, self.writes)
        if on_trial and not other.replay.does_the_same(other.state, before, other.result):
            refuse("has another result when it is replayed (this call was computed eagerly, and is complete)")


def _digest(x: Array) -> bytes:
    """Bytes that tell whether an array has changed: its own, or those of a hash, which takes ten times as long but no memory."""
    return x.tobytes() if x.nbytes <= SMALL or x.dtype.kind in "mM" else blake2b(np.ascontiguousarray(x).data).digest()


_alone = RLock()        # a recording replaces the method `move` of all optimizers, those of other threads too
programs: WeakSet[Any] = WeakSet()      # all; a child that is forked has no thread that is in a call of one
if hasattr(os, "register_at_fork"):     # a fork waits for `_alone`, so that the child finds no recording that never ends
    os.register_at_fork(before=_alone.acquire, after_in_parent=_alone.release, after_in_child=_alone.release)
    os.register_at_fork(after_in_child=lambda: [vars(each).update(_lock=RLock()) for each in programs])


@contextmanager
def recorded(recording: Recording, reached: list[Any]) -> Iterator[None]:
    """Inside, launches of this thread and moves of optimizers are recorded. Gradients of the optimizers in reach are guarded."""
    with _alone:
        homes: Any = [(p, p.home) for thing in reached if isinstance(thing, Optimizer) for p in thing._parameters()]
        optimizers = watchers()
        try:
            for p, home in homes:
                p.home = home.view(Guarded)
                p.grad = p.home if p.grad is home else p.grad
            for optimizer in optimizers:
                vars(optimizer)["move"] = recording.move_of(optimizer)
            with recorded_by(recording):
                yield
        finally:
            for optimizer in optimizers:
                vars(optimizer).pop("move", None)
            for p, home in homes:
                p.home, p.grad = home, home if p.grad is p.home else p.grad
