"""The verdict on a graph, in words: where does a gradient turn to exactly zero, and why?"""
from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from .passage import Edge, Passage

if TYPE_CHECKING:
    from .explain import Row


class Verdict:
    """What there is to say about the rows of an explanation.

    Parameters
    ----------
    rows : sequence of Row
    passages : sequence of Passage
        What happened to the gradient at each operation, root first.
    numbers : dict
        The row of each node and array, by its id.
    """

    def __init__(self, rows: Sequence[Row], passages: Sequence[Passage], numbers: dict[int, int]) -> None:
        self.rows, self.passages, self.numbers = rows, passages, numbers

    def __str__(self) -> str:
        if self.rows[-1].zero_gradient is None:
            return "no gradient flows here: nothing that went into this result requires one"
        if self.rows[-1].zero_gradient == 1:
            return "the gradient is exactly zero from the start"
        said = [*self.nonfinite(), *self.deaths(), *self.zero_leaves()]
        return "\n".join([*(said or ["a gradient that is not exactly zero reaches everything that requires one"]), *self.flat()])

    def deaths(self) -> Iterator[str]:
        """Where nothing but zeros goes on, to any input or to an operation, root first."""
        for passage in self.passages:
            here = self._row(passage.node)
            if passage.dies:
                reason = next((self._blame(edge) for edge in passage.edges if edge.blame is not None), "")
                why = "; ".join(filter(None, [passage.why, reason])) or self._underflow(passage)
                if self._all_zero([self._row(edge.to) for edge in passage.edges]):
                    yield f"the gradient is exactly zero from {self._label(here, why)} back to the inputs"
                else:
                    yield f"no gradient passes {self._label(here, why)}; what lies behind it gets one along another way"
            elif not passage.zero:
                for edge in passage.edges:
                    there = self._row(edge.to)
                    if edge.zero and there.zero_gradient == 1 and not there.is_leaf:
                        reach = "back to the inputs" if self._all_zero([there]) else "on"
                        yield (f"the gradient is exactly zero from {self._label(there)} {reach}: {self._label(here)} hands on "
                               f"nothing but zeros{self._because(edge, passage)}")

    def zero_leaves(self) -> Iterator[str]:
        """Parameters and inputs that get zeros from an operation through which a gradient goes on to others."""
        for passage in self.passages:
            if not passage.zero and not passage.dies:
                for edge in passage.edges:
                    leaf = self._row(edge.to)
                    if edge.zero and leaf.zero_gradient == 1 and leaf.is_leaf:
                        yield f"exactly zero arrives at {self._label(leaf)}{self._because(edge, passage)}"

    def flat(self) -> Iterator[str]:
        """Where some units are flat on every sample, and a gradient passes all the same."""
        some = [f"{p.flat} of {p.units} in {self._label(self._row(p.node))}"
                for p in reversed(self.passages) if p.flat and not p.dies]
        if some:
            yield f"units on the flat side on every sample: {', '.join(some)}"

    def nonfinite(self) -> Iterator[str]:
        """Where NaN or infinity arrives first."""
        for passage in self.passages:
            if not passage.finite:
                yield (f"the gradient holds NaN or infinity at {self._label(self._row(passage.node))}: under "
                       "tg.detect_anomaly(), backward names the operation that made it")
                return

    def _row(self, thing: object) -> Row:
        return self.rows[self.numbers[id(thing)]]

    def _label(self, row: Row, more: str = "") -> str:
        """``row 3 (linear_relu with 0.weight, 64 of 64 units on the flat side)``."""
        named = [self.rows[i].name for i in row.inputs if self.rows[i].op == "parameter" and "." in self.rows[i].name]
        what = f"{row.op} {row.name}".rstrip() + (f" with {named[0]}" if named else "")
        return f"row {row.row} ({', '.join(filter(None, [what, more]))})"

    def _blame(self, edge: Edge) -> str:
        return f"{self._label(self._row(edge.blame))} is exactly zero"

    def _underflow(self, passage: Passage) -> str:
        return f"what arrives there is at most {passage.tiny:.0e}, and underflows" if passage.tiny else ""

    def _because(self, edge: Edge, passage: Passage) -> str:
        reason = self._blame(edge) if edge.blame is not None else self._underflow(passage)
        return f", because {reason}" if reason else ""

    def _all_zero(self, rows: list[Row]) -> bool:
        """Whether these rows, and all that they were made from, get nothing but exact zeros."""
        seen: set[int] = set()
        for row in rows:                        # the list grows while it is walked
            if row.row not in seen and row.zero_gradient is not None:
                if row.zero_gradient != 1:
                    return False
                seen.add(row.row)
                rows += [self.rows[i] for i in row.inputs]
        return True
