"""The function that users call: `capture`, and the `Program` that it makes of a step."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from threading import RLock
from time import perf_counter
from types import MethodType
from typing import Any

import numpy as np

from ..autodiff.guard import Guarded, refuse, unguarded
from ..autodiff.hooks import current_observer
from ..autodiff.node import Array, is_grad_enabled
from ..checks import check_count
from ..kernels.machine.door import current_watcher
from ..kernels.machine.host import aligned
from ..parameters import Parameter, watchers
from ..profile import Profile, of_launches
from ..tensor import Tensor
from ..text import Shown, Table
from .arrays import arrays_in, copies, differ, form, fresh, mapped, restore
from .recording import Proof, Recording, programs, recorded
from .replay import Replay, Stale
from .surroundings import Surroundings

MOST = 32       # recordings of one program


def _key(inputs: tuple[Any, ...], options: dict[str, Any]) -> tuple[Any, list[Any]]:
    """What distinguishes calls: form, shapes and dtypes. And the arrays and Tensors in their arguments."""
    leaves: list[Any] = []
    found = form((inputs, options), leaves)
    if any(map(np.ma.is_masked, leaves)):
        refuse("got a masked array with masked values; fill or drop them first")
    return (is_grad_enabled(), found, *[(x.shape, x.dtype, getattr(x, "requires_grad", None)) for x in leaves]), leaves


class Program(Shown):
    """A captured step, called like the step. Printed, it is a table of the launches of each recording."""

    def __init__(self, step: Callable[..., Any], name: str = "") -> None:
        if not callable(step):
            raise TypeError(f"capture: got {type(step).__name__}, expected a function")
        self.step, self.name = step, name       # of a method that is captured in its class
        self.replays = 0                # how many calls were replays
        self.recordings: dict[Any, list[Recording]] = {}
        self._last: Any = None          # the recording of the last call, if it takes its inputs: the next one needs no key
        self._lock: Any = RLock()
        programs.add(self)

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, instance: Any, owner: type | None = None) -> Program:
        """Of a method: each object has a program of its own."""
        if instance is None:
            return self
        key = f"captured {self.name}"
        program = vars(instance).get(key)
        if program is None or program.step.__self__ is not instance:        # copy.copy copies attributes
            program = vars(instance)[key] = Program(MethodType(self.step, instance), self.name)
        return program

    def __reduce__(self) -> tuple[Any, ...]:
        """A copy, as of an object that has the step as a method, records anew."""
        if self.name and isinstance(self.step, MethodType):
            return getattr, (self.step.__self__, self.name)
        return type(self), (self.step,)

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        if current_watcher() is not None or current_observer() is not None or self._lock._is_owned():
            return self.step(*inputs, **options)        # what anomaly detection and the like see, and a call within a call
        with self._lock:
            try:
                last = self._last
                if last is not None and last.grad_mode is is_grad_enabled():
                    given: Any = inputs if last.plain and not options else []
                    if ((given is inputs or form((inputs, options), given) in last.forms) and last.inputs.take(*given)
                            and last.fits(compared=True)):
                        return self._replay(last, inputs, options)
                key, leaves = _key(inputs, options)
                for recording in self.recordings.get(key, ()):
                    if recording.fits():
                        self._last = recording if recording.replay and recording.takes(leaves) else None
                        return self._again(recording, [*arrays_in(leaves)], inputs, options)
            except Stale:
                self.recordings.clear()
                self._last = None
            key, leaves = _key(inputs, options)
            homes, reached = [aligned(x) for x in arrays_in(leaves)], [self.step]
            mapped(lambda x: None if isinstance(x, (np.ndarray, Tensor)) else reached.append(x), [inputs, options])
            return self._record(Recording(reached, key, homes), inputs, options)

    def _again(self, recording: Recording, arrays: Sequence[Array], inputs: Any, options: Any) -> Any:
        """A call of a kind that has been recorded: it is replayed, or it proves the recording."""
        try:
            known, replay = recording.refill(arrays), recording.replay
            if replay is None or (replay.is_exact and not known):
                return self._record(Proof(recording), inputs, options)
            if not known:
                return self._compare(recording, replay, inputs, options)
        except BaseException:           # of the step, or Ctrl-C: then nothing is proved
            self.recordings.pop(recording.key, None)
            self._last = None
            raise
        return self._replay(recording, inputs, options)

    def _replay(self, recording: Recording, inputs: Any, options: Any) -> Any:
        """Run the replay; the inputs have been copied."""
        replay: Any = recording.replay
        try:
            result = replay.run()
        except Exception as error:
            if (at := replay.at) <= replay.writes:      # nothing has changed: the step takes another way, or explains the error
                return self.step(*inputs, **options)
            raise RuntimeError(f"capture: launch {at} of a replay ({replay.launches[at]}) raised {type(error).__name__}: "
                               f"{error}; the launches before it have changed the model") from error
        self.replays += 1
        for p, g in recording.changes:
            p.grad = g
        return result

    def _compare(self, recording: Recording, replay: Replay, inputs: Any, options: Any) -> Any:
        """Run the step, and a replay from the same state: an input differs for the first time, and so is proved only now."""
        before = copies(recording.state)
        result = mapped(fresh, self.step(*inputs, **options))
        if not replay.does_the_same(recording.state, before, result):
            refuse("had another result than its replay when an input was another for the first time: it computes something "
                   "outside of launches; use operations of the package (this call was computed eagerly, and is complete)")
        return result

    def _record(self, recording: Recording, inputs: Any, options: Any) -> Any:
        """Run the step eagerly, on our copies of the inputs, and record it."""
        homes, arrays = iter(recording.homes), [home.copy() for home in recording.homes]
        tensors: dict[int, Tensor] = {}         # one for each input; if it requires a gradient, for each Tensor

        def own(x: Any) -> Any:
            if isinstance(x, Tensor):
                leaf = Tensor.leaf(next(homes), x.requires_grad)
                return tensors.setdefault(id(x if x.requires_grad else leaf), leaf)
            return next(homes).view(Guarded) if isinstance(x, np.ndarray) else x

        inputs, options = mapped(own, inputs), mapped(own, options)
        surroundings = Surroundings(*recording.reached)
        before = {p: p.grad for optimizer in watchers() for p in optimizer._parameters()}
        with recorded(recording, surroundings.found):
            result = self.step(*inputs, **options)
            recording.finish(mapped(unguarded, result))
        if any(map(differ, recording.homes, arrays)):
            refuse("changes an input, which a replay would not; work on a copy")
        if any(x.grad is not None for x in tensors.values()):
            refuse("gives a gradient to an input; return it instead: tg.grad(loss, x)")
        if isinstance(recording, Proof) and (name := surroundings.without(recording.owners).changed()) is not None:
            refuse(f"changes a variable outside ({name}), which a replay would not; do it after the call")
        if not recording.failed:
            self._keep(recording, before)
        return mapped(fresh, recording.result)

    def _keep(self, recording: Recording, before: dict[Parameter, Any]) -> None:
        if isinstance(recording, Proof):
            if recording.problem:
                refuse(f"{recording.problem} (this call was computed eagerly, and is complete)")
            recording.confirm()
        else:
            if sum(map(len, self.recordings.values())) >= MOST:
                refuse(f"was called with {MOST} kinds of arguments: pass what varies as NumPy arrays (PyTorch's: x.numpy())")
            recording.remember(before)
            self.recordings.setdefault(recording.key, []).append(recording)

    def homes(self, *inputs: Array) -> tuple[Array, ...]:
        """The arrays that a replay reads, for inputs like these: what is written there need not be copied.

        `inputs` themselves, if no replay is proved for other numbers than those of its recording. For one thread only: a call by
        another one overwrites them.
        """
        found = self.recordings.get(_key(inputs, {})[0], ())
        return next((tuple(one.homes) for one in found if one.replay and all(one.varied)), inputs)

    # -- where the time goes --------------------------------------------------------------------------------------------------

    def profile(self, *inputs: Any, repeat: int = 100, **options: Any) -> Profile:
        """The launches of a replay with these arguments, and their times: the least of `repeat` runs. Printed, it is a table.

        Parameters and everything else that the step changes are as before afterwards.
        """
        check_count(repeat, "profile: repeat")
        with self._lock:
            key, leaves = _key(inputs, options)
            known = [(one, one.replay) for one in self.recordings.get(key, ()) if one.replay]
            try:
                recording, replay = next((pair for pair in known if pair[0].fits()), *known[:1])
            except (Stale, StopIteration):
                raise ValueError("profile: the program has no replay with such arguments yet; call it with them a few "
                                 "times") from None
            restore(recording.homes, arrays_in(leaves))
            with recording.unchanged():
                recording.profile = of_launches(replay.launches, repeat)
        replays = self.replays
        with recording.unchanged():
            for _ in range(repeat):
                for p, g in zip(recording.parameters, recording.start):
                    p.grad = g
                start = perf_counter()
                self(*inputs, **options)
                seconds = perf_counter() - start
                recording.profile.whole = min(seconds, recording.profile.whole or seconds)
        self.replays = replays
        return recording.profile

    def plot(self, *inputs: Any, **options: Any) -> Any:
        """The roofline picture of `profile`, a matplotlib Figure (see `Profile.plot`)."""
        return self.profile(*inputs, **options).plot()

    def parts(self) -> list[str | Table]:
        tables = [one.profile or of_launches(one.replay.launches if one.replay else one.launches, 0)
                  for several in self.recordings.values() for one in several]
        return [part for table in tables for part in ("", *table.parts())][1:] or ["no recording yet"]


def capture(step: Callable[..., Any]) -> Program:
    """A function that does what `step` does, faster: it replays the launches of kernels of an earlier call.

    `step` is a training step, or any function of arrays and Tensors (in tuples, lists and dicts, too). The first two calls with
    each kind of arguments (shapes, dtypes, other values) run it as it is: one is recorded, the next proves the recording. After
    that, the bits are those of the eager step, without its Python. Results have memory of their own, and no graph.

    Options of optimizers, values of parameters and buffers, and the state of random layers are those of each call. Where modules,
    optimizers, or variables of the step have changed, it is recorded anew; each mode has a recording. A step that reads numbers
    (``if loss > 3``), computes with NumPy on inputs or results, changes Python variables, or has hooks is refused with a
    `CaptureError`. docs/training.md says more.

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
