"""The base of all optimizers: parameter groups, segments of flat buffers, and the named terms of a step."""
from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from functools import partial
from itertools import chain
from typing import Any, ClassVar, NamedTuple, Self
from warnings import warn

import numpy as np

from ..autodiff.guard import refuse_while_recording, structure_changed
from ..autodiff.node import Array
from ..autodiff.tape import changed
from ..checks import check_name, check_number, counted, said
from ..kernels.machine.door import current_watcher, launch
from ..kernels.machine.policy import Kernel
from ..parameters import WATCHERS, Parameter, settle
from ..tensor import Tensor
from .state import Group, Segment, alone, fitting, joined, of_member, segments, share

OWN = {"param_groups", "_segments", "altered", "move"}     # not for copies; `move` is set while a thread records


class Terms(NamedTuple):
    """The next step of a parameter, as the sum of three named parts.

    >>> optim.Terms(np.array(-0.1), np.array(-0.01), np.array(0.5)).step.item()
    0.39
    """

    gradient: Array         # from the data: -lr * g in plain SGD
    decay: Array            # from the penalty: -lr * weight_decay * p
    inertia: Array          # from earlier steps: -lr * momentum * v

    @property
    def step(self) -> Array:
        """The whole step."""
        return self.gradient + self.decay + self.inertia


class Optimizer:
    """The base of the update rules.

    `params` are Parameters, or groups as in PyTorch: ``{"params": [...], "weight_decay": 0.0}``, each with options of its own. In
    a group that does not set the decay, slopes (of PReLU) are split off into a group without decay. The options in `param_groups`
    may be changed between steps, ``opt.param_groups[0]["lr"] = 0.01``; the parameters may not.

    The parameters and their gradients move into flat buffers. So ``.grad`` is the same memory in every step: copy a gradient that
    you want to keep. An array taken from ``.data`` before the optimizer was made no longer belongs to the parameter.

    Copy or pickle an optimizer together with its model, ``copy.deepcopy((model, opt))``; copied alone, it comes with copies of
    its parameters.

    An optimizer of your own is a subclass that defines `move`, `term` and `state_names` (docs/extending.md has one), and
    ``elementwise = True`` if each number moves by its own gradient and buffers alone. `defaults` are the options of groups that
    do not set them; "lr" and "weight_decay" are required.

    >>> weight, bias = nn.Parameter([1.0]), nn.Parameter([1.0], kind="bias")
    >>> opt = optim.SGD([{"params": [weight]}, {"params": [bias], "weight_decay": 0.0}], lr=0.5, weight_decay=1.0)
    >>> [(group["lr"], group["weight_decay"]) for group in opt.param_groups]
    [(0.5, 1.0), (0.5, 0.0)]
    """

    state_names: ClassVar[tuple[str, ...]] = ()     # of the buffers in a state dict; and "step" if the rule counts steps
    decoupled: ClassVar[bool] = False               # PyTorch's "decoupled_weight_decay", which its AdamW sets
    elementwise: ClassVar[bool] = False             # whether each number moves by itself: from its own gradient and buffers
    takes_members: ClassVar[bool] = False           # whether `move` takes options with an entry for each member of a population
    counts_entries: ClassVar[bool] = False          # whether `move` takes a count of steps for each entry: the buffer "step"
    param_groups: tuple[Group, ...]                 # a tuple: `add_param_group` adds groups

    def __init_subclass__(cls) -> None:
        if {"move", "launch_of", "step"} & set(vars(cls)):              # another rule than its base class has
            for name in ("elementwise", "takes_members", "counts_entries"):
                setattr(cls, name, vars(cls).get(name, False))

    def __init__(self, params: Iterable[Parameter] | Iterable[Mapping[str, Any]], defaults: dict[str, Any]) -> None:
        name = type(self).__name__
        if not isinstance(params, Iterable) or isinstance(params, (Tensor, Mapping)) or hasattr(params, "parameters"):
            raise TypeError(f"{name}: got {type(params).__name__}; expected several Parameters, such as model.parameters()")
        given: list[Any] = list(params)
        if not given:
            raise ValueError(f"{name}: got no parameters; expected Parameters, such as model.parameters(), or groups of them")
        self.defaults = dict(defaults)
        if missing := {"lr", "weight_decay"} - {*defaults}:
            raise ValueError(f"{name}: the defaults have no {' and no '.join(sorted(missing))}; expected "
                             "dict(lr=..., weight_decay=..., ...)")
        vars(self)["param_groups"] = ()
        self._segments: list[list[Segment]] = []
        self._add(given if isinstance(given[0], Mapping) else [{"params": given}])
        self._watch()

    def _watch(self) -> None:
        self.altered: list[tuple[Callable[[], Any], set[int]]] = []     # modules, with the parameters that they had before
        WATCHERS.add(self)

    def _add(self, given: Iterable[Any]) -> None:
        name = type(self).__name__
        groups: list[Group] = []
        for group in given:
            if not isinstance(group, Mapping) or "params" not in group:
                raise TypeError(f"{name}: got {type(group).__name__} among the groups; expected dicts with 'params'")
            for key in group:
                check_name(key, ["params", "initial_lr", *self.defaults], f"{name}: an option of a group")
            members = group["params"]
            members = list(members) if isinstance(members, Iterable) and not isinstance(members, Tensor) else [members]
            for member in members:
                if not isinstance(member, Parameter):
                    raise TypeError(f"{name}: got {type(member).__name__} among the parameters; expected Parameters, "
                                    "such as model.parameters() or [nn.Parameter(values)]")
            slopes = [p for p in members if p.kind == "slope"] if "weight_decay" not in group else []
            others = [p for p in members if not any(p is slope for slope in slopes)]
            if others or not slopes:
                groups.append(Group(self.check, {**self.defaults, **group, "params": others}))
            if slopes:      # decay would turn PReLU into ReLU, whose units can die
                groups.append(Group(self.check, {**self.defaults, **group, "params": slopes, "weight_decay": 0.0}))
        if not self.takes_members and any(group.members for group in groups):
            raise TypeError(f"{name}: got the parameters of a population, expected those of one network: this rule does not "
                            "declare that it takes options with an entry for each member (takes_members = True)")
        everything = [p for group in [*self.param_groups, *groups] for p in group["params"]]
        if len(set(everything)) != len(everything):
            raise ValueError(f"{name}: a parameter is in two groups, or twice in one; expected each once")
        settle(everything)
        structure_changed()
        vars(self)["param_groups"] += tuple(groups)
        self._segments += [segments(group["params"]) for group in groups]

    # -- for subclasses -----------------------------------------------------------------------------------------------

    def check(self, options: dict[str, Any]) -> None:
        """Raise a ValueError if an option of a group is out of range. A subclass that overrides this method calls it first."""
        check_number(options["lr"], f"{type(self).__name__}: lr")
        check_number(options["weight_decay"], f"{type(self).__name__}: weight_decay")

    def move(self, segment: Segment, grad: Array, options: dict[str, Any]) -> None:
        """Change ``segment.data``, a flat array, in place. Its buffers are in ``segment.state``, empty before the first step."""
        kernel, arguments = self.launch_of(segment, grad, options)
        segment.steps += 1      # before the launch: Ctrl-C is noticed after it
        (kernel.code[grad.dtype] if current_watcher() is None else partial(launch, kernel))(*arguments)     # faster than `launch`

    def launch_of(self, segment: Segment, grad: Array, options: dict[str, Any]) -> tuple[Kernel, tuple[Any, ...]]:
        """`move` as one launch: the kernel and its arguments. `tg.capture` replays it with the numbers of each step."""
        raise NotImplementedError

    def term(self, segment: Segment, parameter: Parameter, grad: Array, options: dict[str, Any]) -> Terms:
        """The same step of one parameter in named parts, for `terms` and the laboratory; changes nothing.

        ``segment.state_of(parameter)`` has its buffers, in its shape.
        """
        raise NotImplementedError

    # -- for users ----------------------------------------------------------------------------------------------------

    def add_param_group(self, param_group: Mapping[str, Any]) -> None:
        """Move more parameters: a group as in the constructor. The schedules of this optimizer change its rate too.

        >>> opt = optim.SGD([nn.Parameter([1.0])], lr=0.1)
        >>> opt.add_param_group({"params": nn.Parameter([2.0]), "lr": 0.01})
        >>> [group["lr"] for group in opt.param_groups]
        [0.1, 0.01]
        """
        self._add([param_group])

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Move every parameter that has a gradient; those whose ``.grad`` is None keep their values.

        A `closure`, which computes the loss and calls `backward`, is called first, and its result returned.
        """
        if closure is not None and not callable(closure):
            raise TypeError(f"{type(self).__name__}: step got {said(closure)}, expected a function that computes the loss")
        loss = None if closure is None else closure()
        if self.altered:
            self._warn()
        moves = []
        for options, pieces in zip(self.param_groups, self._segments):
            i = 0
            while i < len(pieces):
                segment = pieces[i]
                if segment.has_all_gradients():
                    moves.append((segment, segment.grad, options))
                elif len(segment.parameters) > 1 and any(p.grad is not None for p in segment.parameters):
                    pieces[i:i + 1] = segment.split()
                    structure_changed()
                    continue
                elif segment.parameters[0].grad is not None:
                    moves.append((segment, segment.parameters[0].checked_grad().ravel(), options))
                i += 1
        for segment, grad, options in moves:        # every gradient has been checked before the first parameter moves
            changed(segment.parameters)
            steps = segment.steps + 1
            self.move(segment, grad, options)
            segment.steps = steps               # `move` may have counted
        return loss

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Set every ``.grad`` to None; with ``set_to_none=False``, those that are not None to zeros."""
        for group in self.param_groups:
            for p in group["params"]:
                if set_to_none:
                    p.grad = None
                elif p.grad is not None:
                    p.set_grad_to_zeros()

    def terms(self, parameter: Parameter) -> Terms:
        """The next `step` of a parameter in named parts; nothing is changed.

        >>> p = nn.Parameter([1.0, -2.0])
        >>> opt = optim.SGD([p], lr=0.5, weight_decay=0.1)
        >>> p.grad = np.zeros(2)
        >>> opt.terms(p).decay
        array([-0.05,  0.1 ])
        """
        options, segment = self._find(parameter)
        if parameter.grad is None:
            raise ValueError(f"terms: no gradient has arrived at this parameter of shape {parameter.shape}; the next step would "
                             "not move it")
        if parameter.members is None:
            return self.term(segment, parameter, parameter.grad, options)
        each = [self.term(segment.member(parameter, k), own := parameter.member(k), np.asarray(own.grad), of_member(options, k))
                for k in range(parameter.members)]
        return Terms(*map(np.stack, zip(*each)))

    def holds(self, parameter: Parameter) -> bool:
        """Whether this optimizer moves the parameter (or that of a population of which it is a part)."""
        return any(p is parameter for p in self._parameters()) or self._population_of(parameter) is not None

    def options_of(self, parameter: Parameter) -> dict[str, Any]:
        """The options of the group of a parameter; those of a member, for a parameter of ``population.member(k)``."""
        whole = self._population_of(parameter)
        return self._find(parameter)[0] if whole is None else of_member(self._find(whole[0])[0], whole[1])

    def state_of(self, parameter: Parameter) -> dict[str, Array]:
        """The buffers of one parameter, by name (views); empty before the first step."""
        whole = self._population_of(parameter)
        if whole is None:
            return self._find(parameter)[1].state_of(parameter)
        return {name: buffer[whole[1], ...] for name, buffer in self.state_of(whole[0]).items()}

    def reset(self, parameter: Parameter, where: Any = ...) -> None:
        """Forget the past of some entries of a parameter, such as ``[3, 5]`` (two rows): they go on as in a new optimizer.

        Their buffers become 0. Adam and AdamW then count the steps of each entry, in the buffer "step": with the old count the
        first steps would be up to 6.6 times as long as the rate (betas 0.9 and 0.999), as a mean over few gradients would be
        taken for one over many. (In SGD with dampening, the next gradient is dampened.)

        >>> p = nn.Parameter([1.0, 1.0])
        >>> opt = optim.Adam([p], lr=0.1)
        >>> for _ in range(50):
        ...     p.grad = np.ones(2)
        ...     opt.step()
        >>> opt.reset(p, 1)
        >>> opt.state_of(p)["exp_avg"].round(3), opt.state_of(p)["step"], opt.terms(p).step.round(3)
        (array([0.995, 0.   ]), array([50.,  0.]), array([-0.1, -0.1]))
        """
        refuse_while_recording("resets an optimizer, which a replay would not; do it outside of the step")
        segment = self._find((self._population_of(parameter) or (parameter,))[0])[1]
        if self.counts_entries and segment.state and "step" not in segment.state:
            segment.state["step"] = np.full_like(segment.data, segment.steps)
            structure_changed()
        for buffer in self.state_of(parameter).values():
            buffer[where] = 0

    def state_dict(self) -> dict[str, Any]:
        """Copies of all buffers, counts of steps and options, in PyTorch's form, which numbers the parameters.

        >>> opt = optim.SGD([nn.Parameter([1.0, 2.0])], lr=0.1, momentum=0.9)
        >>> opt.param_groups[0]["params"][0].grad = np.ones(2)
        >>> opt.step()
        >>> opt.state_dict()["state"]
        {0: {'momentum_buffer': array([1., 1.])}}
        """
        number = {p: i for i, p in enumerate(self._parameters())}
        state: dict[int, dict[str, Any]] = {}
        for part in (part for pieces in self._segments for segment in pieces if segment.state for part in segment.split()):
            (parameter,) = part.parameters
            steps = {"step": part.steps} if "step" in self.state_names else {}
            buffers = {name: buffer.reshape(parameter.shape).copy() for name, buffer in part.state.items()}
            state[number[parameter]] = {**steps, **buffers}
        groups = [deepcopy({**group, "params": [number[p] for p in group["params"]]}) for group in self.param_groups]
        return {"state": dict(sorted(state.items())), "param_groups": groups}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Replace buffers, counts of steps and options by those of a state dict.

        If anything does not fit, nothing changes, and one ValueError names every misfit. The state may come from PyTorch's SGD,
        Adam or AdamW with the same groups; options that only PyTorch has (maximize, amsgrad, foreach, fused, capturable,
        differentiable) must be off there. The values of the parameters are in the state of the module; with both loaded, training
        continues bit for bit.
        """
        plan = fitting(type(self).__name__, state, self.param_groups, self.state_names, self.decoupled)
        for group, (options, _) in zip(self.param_groups, plan):
            group.put(options)
        self._segments = [pieces for _, pieces in plan]
        structure_changed()

    def has_inertia(self) -> bool:
        """Whether some buffer is not zero, so that parameters may move at a gradient of zero."""
        return any(buffer.any() for pieces in self._segments for segment in pieces for name, buffer in segment.state.items()
                   if name != "step")

    def twin(self, copies: Mapping[Parameter, Parameter]) -> Self:
        """An optimizer in the same state for copies of some of the parameters, to try out what this one would do."""
        found = [self._find(parameter) for parameter in copies]
        other = self._like(copies, [{**options, "params": [copy]} for (options, _), copy in zip(found, copies.values())])
        known = zip(copies.items(), found)
        other._segments = [joined([alone(copy, segment.state_of(p), segment.steps)]) for (p, copy), (_, segment) in known]
        return other

    def member(self, k: int) -> Self:
        """An ordinary optimizer for one member of a population, ``model.member(k)``, with copies of its options and buffers.

        >>> model = nn.MLP([2, 3, 1], members=2, rng=0)
        >>> opt = optim.SGD(model.parameters(), lr=[0.1, 0.2])
        >>> opt.member(1).holds(model.member(1)[0].weight), opt.member(1).param_groups[0]["lr"]
        (True, 0.2)
        """
        own = {p: p.member(k) for p in self._parameters()}
        other = self._like(own, [{**of_member(group, k), "params": [own[p] for p in group["params"]]}
                                 for group in self.param_groups])
        known = {own[p]: self._find(p)[1].member(p, k) for p in own}
        other._segments = [joined([known[p] for p in group["params"]]) for group in other.param_groups]
        return other

    def population(self, others: Sequence[Optimizer], parameters: Sequence[Sequence[Parameter]],
                   together: Sequence[Parameter]) -> Self:
        """One optimizer for a population, in the state of the optimizers of its members, this one first.

        For each member there are its `parameters`, in the order of those of the population, `together`.
        """
        each: list[Any] = [self, *others]
        found = [[one._find(p) for one, p in zip(each, column)] for column in zip(*parameters)]
        groups: dict[tuple[int, ...], dict[str, Any]] = {}
        for p, column in zip(together, found):
            options: Any = {name: [own[name] for own, _ in column] for name in column[0][0] if name != "params"}
            options = {name: tuple(map(list, zip(*values))) if isinstance(values[0], tuple) else values
                       for name, values in options.items()}
            groups.setdefault(tuple([id(own) for own, _ in column]), {**options, "params": []})["params"].append(p)
        other = self._like({}, groups.values())
        known: dict[Parameter, Segment] = {}
        for p, members, column in zip(together, zip(*parameters), found):
            steps = column[0][1].steps
            states = [segment.state_of(own) for own, (_, segment) in zip(members, column)]
            if "step" in self.state_names and len({segment.steps for _, segment in column}) > 1:
                raise ValueError(f"{type(self).__name__}: the members have made different numbers of steps, expected the same")
            known[p] = alone(p, {name: np.stack([
                state.get(name, np.full(own.shape, steps if name == "step" else np.nan, p.dtype))
                for own, state in zip(members, states)]) for name in dict.fromkeys(chain(*states))}, steps)
        other._segments = [joined([known[p] for p in group["params"]]) for group in other.param_groups]
        return other

    def _like(self, copies: Mapping[Parameter, Parameter], groups: Iterable[Any]) -> Self:
        """An optimizer with the same attributes for copies of the parameters, in these groups, and no buffers yet."""
        other = object.__new__(type(self))          # its constructor may take other arguments, and set other attributes
        memo: dict[int, Any] = {id(parameter): copy for parameter, copy in copies.items()}
        vars(other).update(deepcopy({name: value for name, value in vars(self).items() if name not in OWN}, memo))
        vars(other).update(param_groups=(), _segments=[])
        other._add(groups)
        other._watch()
        return other

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "param_groups":
            raise TypeError(f"{type(self).__name__}: param_groups cannot be replaced; change its options, or use add_param_group")
        super().__setattr__(name, value)

    def __getstate__(self) -> dict[str, Any]:
        """For copies and pickles: everything but the flat buffers, as `__setstate__` gives copied parameters new ones."""
        own = {name: value for name, value in vars(self).items() if name not in OWN}
        return {**own, "altered": [], "param_groups": [dict(group) for group in self.param_groups],
                "_segments": [[(s.parameters, s.state, s.steps) for s in pieces] for pieces in self._segments]}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, param_groups=tuple([Group(self.check, options) for options in state["param_groups"]]))
        settle(self._parameters())
        self._segments = [[piece for members, buffers, steps in pieces     # the places of copies need not be neighbours
                           for piece in share({name: b.copy() for name, b in buffers.items()}, steps, segments(members))]
                          for pieces in state["_segments"]]
        self._watch()

    def __repr__(self) -> str:
        lines = []
        for i, group in enumerate(self.param_groups):
            lines.append(f"Parameter Group {i} ({counted(len(group['params']), 'parameter')})")
            lines += [f"    {key}: {value!r}" for key, value in group.items() if key != "params"]
        return "\n".join([f"{type(self).__name__} (", *lines, ")"])

    def _warn(self) -> None:
        """Warn about parameters that a module has gained since this optimizer was made, and that no optimizer moves."""
        found, self.altered = [(get(), known) for get, known in self.altered], []
        names = {f"{type(module).__name__}.{name}" for module, known in found if module is not None
                 for name, p in module.named_parameters() if id(p) not in known and p.place is None and p.requires_grad}
        if names:
            warn(f"{type(self).__name__}: no optimizer moves {', '.join(sorted(names))}, new in the model since this optimizer "
                 "was made; pass new parameters to add_param_group, or make a new optimizer", stacklevel=3)

    def _parameters(self) -> Iterator[Parameter]:
        return (p for group in self.param_groups for p in group["params"])

    def _population_of(self, parameter: Parameter) -> tuple[Parameter, int] | None:
        """The parameter of a population that holds this one of a member, and the number of the member."""
        return next(((p, k) for p in self._parameters() for k, view in p.views.items() if view is parameter), None)

    def _find(self, parameter: Parameter) -> tuple[dict[str, Any], Segment]:
        for options, pieces in zip(self.param_groups, self._segments):
            for segment in pieces:
                if any(p is parameter for p in segment.parameters):
                    return options, segment
        if not isinstance(parameter, Parameter):
            raise TypeError(f"{type(self).__name__}: got {type(parameter).__name__}, expected one of the parameters")
        raise ValueError(f"{type(self).__name__}: this parameter of shape {parameter.shape} is not one of this optimizer's")
