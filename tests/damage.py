"""Correct files, written in a simple and slow way, and random damage to them."""
from __future__ import annotations

import copy
import re
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np

TYPES = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}    # the IDX format, written down again


def idx_bytes(array, shape=None) -> bytes:
    """An IDX file, written with struct, independently of the reader that it tests."""
    shape = array.shape if shape is None else shape
    code, letter = TYPES[array.dtype.str[1:]], array.dtype.char
    return (bytes([0, 0, code, len(shape)]) + b"".join(struct.pack(">I", side) for side in shape)
            + b"".join(struct.pack(">" + letter, value) for value in array.ravel().tolist()))


def one_line(error: BaseException) -> str:
    text = str(error)
    assert text and "\n" not in text and len(text) < 600, repr(text)
    return text


# -- accidents -------------------------------------------------------------------------------------------------------

NUMBERS = ["0", "-1", "7", "255", "65536", "4294967296", "18446744073709551616", "9" * 30, "1e999", "0.5", "NaN", "-0"]
VALUES = [None, True, -1, 0, 3, 2**40, 2**63, 10**30, 0.5, 1e308, float("nan"), "", "x", "F64", [], [1], [2**40, 2**40], {},
          {"$array": "x"}, {"$items": [[[], 1]]}, {"$items": 3}, [[[]]]]


def mutate(content: bytes, rng: np.random.Generator, tokens: Sequence[bytes] = ()) -> bytes:
    """One to three defects: flipped bits, other bytes, truncation, insertion, a gap, pieces in another order, other numbers."""
    part = bytearray(content)
    for _ in range(rng.integers(1, 4)):
        where = int(rng.integers(len(part) + 1) if rng.random() < 0.5 else min(rng.integers(200), len(part)))
        size = int(rng.integers(1, 40))
        match rng.integers(8):
            case 0:
                part[where:where + 1] = bytes(byte ^ 1 << int(rng.integers(8)) for byte in part[where:where + 1])
            case 1:
                part[where:where + 4] = rng.bytes(len(part[where:where + 4]))
            case 2:
                del part[where:]
            case 3:
                part[where:where] = rng.bytes(size)
            case 4:
                del part[where:where + size]
            case 5:
                part[where:where + 2 * size] = part[where + size:where + 2 * size] + part[where:where + size]
            case 6:
                numbers = list(re.finditer(rb"\d+", part))
                if numbers:
                    found = numbers[rng.integers(len(numbers))]
                    part[found.start():found.end()] = str(rng.choice(NUMBERS)).encode()
            case 7:
                part[where:where] = tokens[rng.integers(len(tokens))] if tokens else struct.pack("<Q", int(2 ** rng.uniform(0, 63)))
    return bytes(part)


def disturb(value: Any, rng: np.random.Generator) -> Any:
    """A JSON structure in which one entry has been changed, dropped, doubled or renamed."""
    places: list[tuple[Any, Any]] = []

    def visit(inside):
        for key, entry in inside.items() if isinstance(inside, dict) else enumerate(inside):
            places.append((inside, key))
            if isinstance(entry, (dict, list)):
                visit(entry)

    value = copy.deepcopy(value)
    for _ in range(rng.integers(1, 4)):
        places.clear()
        visit(value)
        if not places:
            break
        inside, key = places[rng.integers(len(places))]
        other = places[rng.integers(len(places))]
        match rng.integers(5):
            case 0:
                del inside[key]
            case 1:
                inside[key] = copy.deepcopy(other[0][other[1]])
            case 2 if isinstance(inside, dict):
                inside[f"{key}x" if rng.random() < 0.5 else "$array"] = inside.pop(key)
            case _:
                inside[key] = copy.deepcopy(VALUES[rng.integers(len(VALUES))])
    return value
