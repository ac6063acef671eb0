"""Einstein's summation, composed of diagonals, sums, transpositions and products, so that it needs no derivative rule.

Products are elementwise, or of stacks of matrices. Letters that only one operand has are rows or columns. Of those that
both have, the ones in the result index the stack, and the others are the inner axis.
"""
from __future__ import annotations

from functools import lru_cache
from math import prod
from string import ascii_letters
from typing import Any, NamedTuple

import numpy as np

from .elementwise import mul
from .indexing import getitem
from .linalg import product
from .shape import reshape, transpose
from .sums import SUM


class Term(NamedTuple):
    """An intermediate operand, and the letters of its axes, all distinct."""

    x: Any
    letters: str


class Plan(NamedTuple):
    """The meaning of subscripts for operands of given shapes."""

    terms: tuple[str, ...]              # the letters of each operand, those of an ellipsis included
    output: str
    sizes: dict[str, int]               # of every letter
    path: tuple[tuple[int, ...], ...]   # which terms to multiply next; the product is appended to the list


def einsum(subscripts: str, *operands: Any) -> Any:
    """np.einsum of Tensors or arrays."""
    plan = _planned(subscripts, tuple(x.shape for x in operands))
    terms = [_plain(x, letters, plan.sizes) for x, letters in zip(operands, plan.terms)]
    for places in plan.path:
        chosen, terms = [terms[i] for i in places], [term for i, term in enumerate(terms) if i not in places]
        while len(chosen) > 1:
            a, b, *chosen = chosen
            needed = plan.output + "".join(term.letters for term in terms + chosen)
            chosen.insert(0, _multiplied(_summed(a, needed + b.letters), _summed(b, needed + a.letters), needed))
        terms += chosen
    result = _summed(terms[0], plan.output)
    if result.letters == plan.output and result.x is not operands[0]:
        return result.x
    return transpose(result.x, axes=tuple(map(result.letters.index, plan.output)))       # always a copy


def _plain(x: Any, letters: str, sizes: dict[str, int]) -> Term:
    """x with the diagonal of each repeated letter, and without the axes of size 1 that broadcast."""
    distinct = "".join(dict.fromkeys(letters))
    if distinct != letters:
        x = getitem(x, tuple(np.arange(n).reshape([-1 if c == d else 1 for d in distinct]) for c, n in zip(letters, x.shape)))
    full = "".join(c for c, n in zip(distinct, x.shape) if n == sizes[c])
    return Term(_shaped(x, tuple(sizes[c] for c in full)), full)


def _summed(term: Term, needed: str) -> Term:
    """The sum over the letters that are not needed."""
    axes = tuple(i for i, c in enumerate(term.letters) if c not in needed)
    return Term(SUM(term.x, axis=axes), "".join(c for c in term.letters if c in needed)) if axes else term


def _multiplied(a: Term, b: Term, needed: str) -> Term:
    """The product of two terms, summed over the letters that are not needed, all of which both terms have."""
    sizes = dict(zip(a.letters + b.letters, a.x.shape + b.x.shape))
    rows = "".join(c for c in a.letters if c not in b.letters)
    columns = "".join(c for c in b.letters if c not in a.letters)
    shared = "".join(c for c in a.letters if c in b.letters)
    inner = "".join(c for c in shared if c not in needed)
    if inner or (rows and columns):
        stack = "".join(c for c in shared if c in needed)
        left, transpose_a = _matrices(a, stack, rows, inner)
        right, transpose_b = _matrices(b, stack, inner, columns)
        letters = stack + rows + columns
        y = product(left, right, transpose_a=transpose_a, transpose_b=transpose_b)
        return Term(_shaped(y, tuple(sizes[c] for c in letters)), letters)
    if columns:
        return _multiplied(b, a, needed)
    factor = _shaped(_arranged(b, shared), tuple(1 if c in rows else sizes[c] for c in a.letters))
    return Term(mul(a.x, factor), a.letters)


def _matrices(term: Term, stack: str, rows: str, columns: str) -> tuple[Any, bool]:
    """A term as a stack of matrices, and whether these are transposed in memory, which saves a copy."""
    turned = bool(rows) and bool(columns) and term.letters == stack + columns + rows
    if turned:
        rows, columns = columns, rows
    sizes = dict(zip(term.letters, term.x.shape))
    shape = tuple(prod(sizes[c] for c in group) for group in ((stack, rows, columns) if stack else (rows, columns)))
    return _shaped(_arranged(term, stack + rows + columns), shape), turned


def _arranged(term: Term, letters: str) -> Any:
    """The term with its axes in this order."""
    return term.x if term.letters == letters else transpose(term.x, axes=tuple(map(term.letters.index, letters)))


def _shaped(x: Any, shape: tuple[int, ...]) -> Any:
    return x if x.shape == shape else reshape(x, shape=shape)


@lru_cache(maxsize=256)
def _planned(subscripts: str, shapes: tuple[tuple[int, ...], ...]) -> Plan:
    text, arrow, output = subscripts.replace(" ", "").partition("->")
    terms = text.split(",")
    if len(terms) != len(shapes):
        raise ValueError(f"einsum: {subscripts!r} is for {len(terms)} operands; got {len(shapes)}")
    for part in (*terms, output):
        if not set(part.replace("...", "", 1)) <= set(ascii_letters):
            raise ValueError(f"einsum: got {part!r} in {subscripts!r}; expected letters, and at most one ellipsis in each part")
    terms, dots = _spelled(subscripts, terms, shapes)
    everything = "".join(terms)
    if not arrow:
        output = dots + "".join(c for c in sorted(set(everything)) if everything.count(c) == 1 and c not in dots)
    elif dots and "..." not in output:
        raise ValueError(f"einsum: the result of {subscripts!r} has no place for the axes of the ellipsis")
    output = output.replace("...", dots)
    if len(set(output)) < len(output) or not set(output) <= set(everything):
        raise ValueError(f"einsum: the result of {subscripts!r} needs letters of the operands, each once")
    sizes = _sizes(subscripts, terms, shapes)
    return Plan(tuple(terms), output, sizes, _path(terms, shapes, sizes, output))


def _spelled(subscripts: str, terms: list[str], shapes: tuple[tuple[int, ...], ...]) -> tuple[list[str], str]:
    """The terms with letters in place of each ellipsis, and these letters. A shorter ellipsis gets the last ones."""
    counts = [len(shape) - len(term.replace("...", "")) for term, shape in zip(terms, shapes)]
    for term, shape, count in zip(terms, shapes, counts):
        if count < 0 or (count and "..." not in term):
            raise ValueError(f"einsum: {term!r} in {subscripts!r} does not fit an operand of shape {shape}")
    longest = max(counts)
    dots = "".join(c for c in ascii_letters if c not in subscripts)[:longest]
    if len(dots) < longest:
        raise ValueError(f"einsum: {subscripts!r} has more axes for operands of shapes {shapes} than there are letters")
    return [term.replace("...", dots[longest - count:]) for term, count in zip(terms, counts)], dots


def _sizes(subscripts: str, terms: list[str], shapes: tuple[tuple[int, ...], ...]) -> dict[str, int]:
    """The size of each letter. An axis of size 1 broadcasts, except on a diagonal."""
    sizes: dict[str, int] = {}
    for term, shape in zip(terms, shapes):
        own = dict(zip(term, shape))
        for c, n in zip(term, shape):
            if n != own[c] or (n != 1 and sizes.get(c, 1) not in (1, n)):
                raise ValueError(f"einsum: shapes {', '.join(map(str, shapes))} do not fit {subscripts!r}: one letter has "
                                 f"the sizes {own[c] if n != own[c] else sizes[c]} and {n}")
            sizes[c] = n if n != 1 else sizes.get(c, 1)
    return sizes


def _path(terms: list[str], shapes: tuple[tuple[int, ...], ...], sizes: dict[str, int],
          output: str) -> tuple[tuple[int, ...], ...]:
    """The order of the products: NumPy's search for the cheapest, without its memory limit."""
    if len(terms) < 3:
        return (tuple(range(len(terms))),)
    full = ["".join(c for c, n in dict(zip(term, shape)).items() if n == sizes[c]) for term, shape in zip(terms, shapes)]
    like = [np.broadcast_to(0.0, [sizes[c] for c in term]) for term in full]
    return tuple(np.einsum_path(f"{','.join(full)}->{output}", *like, optimize=("greedy", 1 << 62))[0][1:])
