"""The base of what instruments return: tables, data and pictures."""
from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, is_dataclass
from functools import wraps
from textwrap import indent
from typing import Any, ParamSpec, TypeVar, cast

import numpy as np

from ..nn import Module, Parameter
from ..optim import Optimizer
from ..text import Shown, Table

P = ParamSpec("P")
R = TypeVar("R")
SHOWN = 200         # rows of all members that are printed


class Reading(Shown):
    """What an instrument found. Printing it gives tables; `to_dict` and `to_json` give data, and `plot` a matplotlib Figure."""

    each: list[Any]         # of a population only: the reading of each member (`Members`)

    def to_dict(self) -> Any:
        """Plain dicts, lists and numbers; NaN and infinities become None."""
        return plain(self)

    def table(self) -> Table:
        raise NotImplementedError

    def parts(self) -> Sequence[str | Table]:
        return [self.table()]

    def to_json(self) -> str:
        return json.dumps(self.to_dict(), indent=1, allow_nan=False)


@dataclass(eq=False, repr=False)
class Members(Reading):
    """What an instrument found for each member of a population: `each` has their readings. The tables have a row for each member.

    >>> model, x = nn.MLP([2, 4, 3], members=3, rng=0), np.random.default_rng(0).standard_normal((50, 2))
    >>> lab.kill(model, x, [0])
    >>> found = lab.census(model, x)
    >>> [one.dead for one in found.each], found.parts()[0].rows[2]
    ([[1], [1], [1]], ['2', '0', 'relu', '4', '3', '1', '0.400', '1', '1'])
    """

    each: list[Any]

    def to_dict(self) -> dict[str, Any]:
        return {"members": [one.to_dict() for one in self.each]}

    def parts(self) -> Sequence[str | Table]:
        """The tables and sentences of all members, each table once, with the member in its first column."""
        each = [one.parts() for one in self.each]
        joined: list[str | Table] = []
        for several in zip(*([part for part in parts if isinstance(part, Table)] for parts in each)):
            headings = list(dict.fromkeys(heading for table in several for heading in table.headings))
            rows = [(k, dict(zip(table.headings, row))) for k, table in enumerate(several) for row in table.rows]
            same = len({table.title for table in several}) == 1
            joined.append(Table(several[0].title if same else several[0].title.partition(" of ")[0], ["member", *headings],
                                [(k, *(row.get(name, "-") for name in headings)) for k, row in rows], most=SHOWN))
        return [*joined, *(indent(part, f"member {k}: ", lambda line: not line.startswith(" "))
                           for k, parts in enumerate(each) for part in parts if isinstance(part, str))]

    def plot(self, member: int = 0) -> Any:
        """The picture of one member."""
        return self.each[member].plot()


def for_members(instrument: Callable[P, R]) -> Callable[P, R]:
    """The instrument, which then takes a population too, with its optimizer: it looks at one member after the other, and returns
    `Members` of what it found. All members share the data."""

    @wraps(instrument)
    def look(*arguments: P.args, **options: P.kwargs) -> R:
        model = next((part for part in (*arguments, *options.values()) if isinstance(part, Module)), None)
        if model is None or model.members is None:
            return instrument(*arguments, **options)
        takes: Any = instrument

        def of(k: int) -> Any:
            member = model.member(k)
            parameters = dict(zip(model.parameters(), member.parameters()))

            def own(part: Any) -> Any:
                if isinstance(part, Parameter):
                    return parameters.get(part, part)
                return member if part is model else part.member(k) if isinstance(part, (Module, Optimizer)) else part

            return takes(*map(own, arguments), **{name: own(part) for name, part in options.items()})

        return cast(R, Members([of(k) for k in range(model.members)]))

    return look


def plain(value: Any) -> Any:
    """A value made of records, dicts, lists, arrays and numbers as JSON holds it: NaN and infinities become None.

    >>> plain({"rates": np.array([0.5, np.inf]), "units": np.int64(3)})
    {'rates': [0.5, None], 'units': 3}
    """
    if is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if hasattr(value, "_asdict"):
        value = value._asdict()
    if isinstance(value, dict):
        return {key: plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(entry) for entry in value]
    if isinstance(value, (np.ndarray, np.generic)):
        return plain(value.tolist())
    return None if isinstance(value, float) and not np.isfinite(value) else value


def shown(number: float | None, form: str = ".4g", infinite: str = "never") -> str:
    """A number in a table: "-" if it is unknown.

    >>> shown(0.12345), shown(np.nan), shown(None), shown(np.inf)
    ('0.1235', '-', '-', 'never')
    """
    return "-" if number is None or np.isnan(number) else infinite if np.isinf(number) else f"{number:{form}}"
