"""What all optimizers share: parameter groups, flat buffers, and the question which parameters have a gradient."""
from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, NamedTuple

from ..autodiff.node import Array
from ..autodiff.tape import changed
from ..checks import check_name, check_number
from ..nn.module import Parameter
from ..tensor import Tensor
from . import state as states
from .flat import Segment, restored, segments, settle
from .group import Group, plain


class Terms(NamedTuple):
    """What the next step would do to a parameter, by name. The parts sum to the step.

    Attributes
    ----------
    gradient : ndarray
        What the data say.
    decay : ndarray
        What the penalty says.
    inertia : ndarray
        What the past says.

    Examples
    --------
    >>> import numpy as np
    >>> Terms(np.array(-0.1), np.array(-0.01), np.array(0.5)).step.item()
    0.39
    """

    gradient: Array
    decay: Array
    inertia: Array

    @property
    def step(self) -> Array:
        """The whole step."""
        return self.gradient + self.decay + self.inertia


class Optimizer:
    """The base of the update rules: a subclass names its options, its buffers, and the kernel that moves a segment.

    Parameters
    ----------
    params : iterable of Parameter, or of dict
        Parameters, or groups as in PyTorch: ``{"params": [...], "weight_decay": 0.0}``, each with options of its own. Where
        nothing is said of the decay, slopes (of PReLU) are put into a group of their own without it.
    defaults : dict
        The options of groups that do not say otherwise.

    Notes
    -----
    The parameters move into flat buffers, and their gradients too: ``.grad`` is the same memory in every step, so keep a
    copy of a gradient that you want to keep. An array taken from ``.data`` before the optimizer was made stays behind.

    Copy or pickle an optimizer together with its model, ``copy.deepcopy((model, opt))``: the copies belong to each other and
    train on as the originals would. Copied alone, it comes with copies of its parameters.

    Attributes
    ----------
    param_groups : list of dict
        Options may be changed between steps, ``opt.param_groups[0]["lr"] = 0.01``. The parameters, a tuple, may not. A
        schedule (`optim.StepLR` and others) adds the option "initial_lr".

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_relu import nn, optim
    >>> weight, bias = nn.Parameter([1.0]), nn.Parameter([1.0], kind="bias")
    >>> opt = optim.SGD([{"params": [weight]}, {"params": [bias], "weight_decay": 0.0}], lr=0.5, weight_decay=1.0)
    >>> weight.grad, bias.grad = np.zeros(1), np.zeros(1)
    >>> opt.step()
    >>> weight.item(), bias.item()
    (0.5, 1.0)
    """

    state_names: ClassVar[tuple[str, ...]] = ()     # what `move` keeps of each parameter: buffers, and "step" if it counts

    def __init__(self, params: Iterable[Parameter] | Iterable[Mapping[str, Any]], defaults: dict[str, Any]) -> None:
        name = type(self).__name__
        if not isinstance(params, Iterable):
            raise TypeError(f"{name}: got {type(params).__name__}; expected several Parameters, such as model.parameters()")
        given: list[Any] = list(params)
        if not given:
            raise ValueError(f"{name}: got no parameters; expected Parameters, such as model.parameters(), or groups of them")
        if not isinstance(given[0], Mapping):
            _only_parameters(name, given)
            given = [{"params": given}]
        self.param_groups: list[dict[str, Any]] = []
        for group in given:
            if not isinstance(group, Mapping) or "params" not in group:
                raise TypeError(f"{name}: got {type(group).__name__} among the groups; expected dicts with 'params'")
            for key in group:
                check_name(key, ["params", "initial_lr", *defaults], f"{name}: an option of a group")
            members = group["params"]
            members = [members] if isinstance(members, Tensor) else list(members)
            _only_parameters(name, members)
            slopes = [p for p in members if p.kind == "slope"] if "weight_decay" not in group else []
            others = [p for p in members if not any(p is slope for slope in slopes)]
            if others or not slopes:
                self.param_groups.append(Group(self.check, {**defaults, **group, "params": others}))
            if slopes:      # decay would pull PReLU to ReLU (dead units would follow)
                self.param_groups.append(Group(self.check, {**defaults, **group, "params": slopes, "weight_decay": 0.0}))
        everything = [p for group in self.param_groups for p in group["params"]]
        if len({id(p) for p in everything}) != len(everything):
            raise ValueError(f"{name}: a parameter stands in two groups, or twice in one; expected each once")
        settle(everything)
        self._segments = [segments(group["params"]) for group in self.param_groups]

    # -- what a subclass says -----------------------------------------------------------------------------------------

    def check(self, options: dict[str, Any]) -> None:
        """Raise a ValueError where an option of a group is out of range."""
        check_number(options["lr"], f"{type(self).__name__}: lr")
        check_number(options["weight_decay"], f"{type(self).__name__}: weight_decay")

    def move(self, segment: Segment, grad: Array, options: dict[str, Any]) -> None:
        """Launch the kernel that moves one segment."""
        raise NotImplementedError

    def term(self, segment: Segment, parameter: Parameter, options: dict[str, Any]) -> Terms:
        """The named parts of the next step of one parameter."""
        raise NotImplementedError

    # -- what users call ----------------------------------------------------------------------------------------------

    def step(self) -> None:
        """Move every parameter that has a gradient; those whose ``.grad`` is None stay where they are."""
        moves = []
        for options, pieces in zip(self.param_groups, self._segments):
            i = 0
            while i < len(pieces):
                segment = pieces[i]
                if all([p.grad is p.home for p in segment.parameters]):     # a list: a generator takes twice as long
                    moves.append((segment, segment.grad, options))
                elif len(segment.parameters) > 1:
                    if any(p.grad is not None for p in segment.parameters):
                        pieces[i:i + 1] = segment.split()
                        continue
                elif segment.parameters[0].grad is not None:
                    moves.append((segment, segment.parameters[0].checked_grad().ravel(), options))
                i += 1
        for segment, grad, options in moves:        # nothing has moved until every gradient has been found to fit
            self.move(segment, grad, options)
            segment.steps += 1
            changed(segment.parameters)

    def __getstate__(self) -> dict[str, Any]:
        """For copies and pickles: all but the flat buffers, as copied parameters get new ones. See `__setstate__`."""
        return {**vars(self), "param_groups": [dict(group) for group in self.param_groups],
                "_segments": [[(s.parameters, s.state, s.steps) for s in pieces] for pieces in self._segments]}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self.param_groups = [Group(self.check, options) for options in state["param_groups"]]
        settle(p for group in self.param_groups for p in group["params"])
        self._segments = [[piece for saved in pieces for piece in restored(*saved)] for pieces in state["_segments"]]

    def zero_grad(self) -> None:
        """Forget all gradients: every ``.grad`` becomes None."""
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.grad = None

    def terms(self, parameter: Parameter) -> Terms:
        """What the next `step` would do to `parameter`, by name; nothing is changed.

        Raises
        ------
        ValueError
            If the parameter is not one of this optimizer's.

        Examples
        --------
        >>> import numpy as np
        >>> from tinygrad_relu import nn, optim
        >>> p = nn.Parameter([1.0, -2.0])
        >>> opt = optim.SGD([p], lr=0.5, weight_decay=0.1)
        >>> p.grad = np.zeros(2)
        >>> opt.terms(p).decay
        array([-0.05,  0.1 ])
        """
        options, segment = self._find(parameter)
        return self.term(segment, parameter, options)

    def holds(self, parameter: Parameter) -> bool:
        """Whether this optimizer moves the parameter."""
        return any(p is parameter for group in self.param_groups for p in group["params"])

    def options_of(self, parameter: Parameter) -> dict[str, Any]:
        """The options of the group in which a parameter is."""
        return self._find(parameter)[0]

    def state_of(self, parameter: Parameter) -> dict[str, Array]:
        """The buffers of one parameter, by name (views); empty before they exist."""
        return self._find(parameter)[1].state_of(parameter)

    def state_dict(self) -> dict[str, Any]:
        """Copies of all buffers, counts of steps and options, in PyTorch's form; parameters are numbers there.

        Examples
        --------
        >>> import numpy as np
        >>> from tinygrad_relu import nn, optim
        >>> opt = optim.SGD([nn.Parameter([1.0, 2.0])], lr=0.1, momentum=0.9)
        >>> opt.param_groups[0]["params"][0].grad = np.ones(2)
        >>> opt.step()
        >>> opt.state_dict()["state"]
        {0: {'momentum_buffer': array([1., 1.])}}
        """
        return states.state_dict(self)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over the buffers, counts of steps and options of a state dict; or, if anything does not fit, nothing at all.

        The parameters themselves are not in it: they are the module's. Groups and parameters must come in the same order.
        With both loaded, training goes on with the bits that it would have had.

        Parameters
        ----------
        state : dict
            From `state_dict`, or from PyTorch's SGD, Adam or AdamW. Options that only PyTorch has (maximize, amsgrad, foreach,
            fused, capturable, differentiable) must be off there.

        Raises
        ------
        TypeError
            If it is no state dict.
        ValueError
            For other groups, names, options, shapes or types: all in one sentence.

        Examples
        --------
        >>> from tinygrad_relu import nn, optim
        >>> opt = optim.Adam([nn.Parameter([1.0])])
        >>> opt.load_state_dict(optim.SGD([nn.Parameter([1.0])], lr=0.1).state_dict())
        Traceback (most recent call last):
        ValueError: Adam: the state does not fit: group 0 has the unexpected option momentum, dampening, nesterov, decoupled; \
group 0 lacks the option betas, eps
        """
        plan = states.fitting(self, state)
        for group, (options, _) in zip(self.param_groups, plan):
            dict.update(group, {name: plain(value) for name, value in options.items()})     # they fit together, not one by one
        self._segments = [pieces for _, pieces in plan]

    def has_inertia(self) -> bool:
        """Whether some buffer holds anything but zeros, so that parameters may move without a gradient."""
        return any(buffer.any() for pieces in self._segments for segment in pieces for buffer in segment.state.values())

    def twin(self, copies: Mapping[Parameter, Parameter]) -> Optimizer:
        """This optimizer, in the state in which it is, for copies of some of its parameters: to try what it would do."""
        found = [self._find(parameter) for parameter in copies]
        make: Any = type(self)
        other = make([{**options, "params": [copy]} for (options, _), copy in zip(found, copies.values())])
        for parameter, (_, segment), (piece,) in zip(copies, found, other._segments):
            piece.steps = segment.steps
            piece.state = {name: buffer.ravel().copy() for name, buffer in segment.state_of(parameter).items()}
        return other

    def __repr__(self) -> str:
        """The class, and every group with its options.

        >>> from tinygrad_relu import nn, optim
        >>> optim.SGD(nn.Linear(2, 3, rng=0).parameters(), lr=0.1, momentum=0.9)
        SGD (
        Parameter Group 0 (2 parameters)
            lr: 0.1
            momentum: 0.9
            dampening: 0.0
            weight_decay: 0.0
            nesterov: False
            decoupled: False
        )
        """
        lines = []
        for i, group in enumerate(self.param_groups):
            n = len(group["params"])
            lines.append(f"Parameter Group {i} ({n} parameter{'s' * (n != 1)})")
            lines += [f"    {key}: {value!r}" for key, value in group.items() if key != "params"]
        return "\n".join([f"{type(self).__name__} (", *lines, ")"])

    def _find(self, parameter: Parameter) -> tuple[dict[str, Any], Segment]:
        for options, pieces in zip(self.param_groups, self._segments):
            for segment in pieces:
                if any(p is parameter for p in segment.parameters):
                    return options, segment
        raise ValueError(f"{type(self).__name__}: this parameter of shape {parameter.shape} is not one of this optimizer's")


def _only_parameters(name: str, members: list[Any]) -> None:
    for member in members:
        if not isinstance(member, Parameter):
            raise TypeError(f"{name}: got {type(member).__name__} among the parameters; expected Parameters (nn.Parameter)")
