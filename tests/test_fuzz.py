"""Damaged files of each format: each one loads with the right shapes, or is refused in one sentence.

There must be no other exception, no warning, no allocation for sizes that only a header claims, and no partly changed state. The
seeds are fixed: a failure names its turn. There are ten thousand files of each format; an ordinary run takes one in eleven.
"""
from __future__ import annotations

import gzip
import io
import json
import struct
import tracemalloc
import zipfile
from contextlib import contextmanager, nullcontext

import numpy as np
import pytest
from damage import TYPES, disturb, idx_bytes, mutate, one_line
from strength import strength

import tinygrad_relu as tg
from tinygrad_relu import data, nn, optim

TURNS = range(0, 10_000, strength(11, thorough=1))      # 11: every kind of damage, which turns take in turn


@contextmanager
def little_memory(limit):
    """Check that the block never allocates more than `limit` bytes."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < limit
    finally:
        tracemalloc.stop()


def fuzz(path, damaged, load, check, errors, limit):
    """Write each damaged content to the path and `load` it. Returns how many were accepted, and how many refused."""
    taken = refused = 0
    for turn in TURNS:
        path.write_bytes(damaged(turn, np.random.default_rng(turn)))
        try:
            with nullcontext() if turn % 5 else little_memory(limit):       # watching takes twice the time
                found = load()
        except errors as error:
            text = str(error)
            assert "\n" not in text and str(path) in text, f"turn {turn}: {text!r}"
            refused += 1
        except BaseException as error:
            raise AssertionError(f"turn {turn}: {type(error).__name__}: {error}") from error
        else:
            check(found, turn)
            taken += 1
    return taken, refused


# -- runs: .npz and .safetensors -------------------------------------------------------------------------------------

class Run:
    """A model with buffers, an optimizer that has moved it, and a generator."""

    def __init__(self, seed):
        self.model = nn.Sequential(nn.Linear(3, 2, bias=False, rng=seed), nn.PReLU())
        self.model.seen = nn.Buffer(np.array(seed))
        self.optimizer = optim.Adam(self.model.parameters(), lr=0.1)
        self.rng = np.random.default_rng(seed)
        for p in self.model.parameters():
            p.grad = np.ones(p.shape, p.dtype)
        self.optimizer.step()
        self.shapes = [p.shape for p in self.model.parameters()]
        self.buffers = [p.place[0] for p in self.model.parameters()]

    def parts(self):
        return dict(model=self.model, optimizer=self.optimizer, rng=self.rng)

    def fingerprint(self):
        """All numbers as text, because NaN is not equal to itself, but its text is."""
        values = [values.tobytes() for values in self.model.state_dict().values()]
        state = self.optimizer.state_dict()
        entries = [np.asarray(value).tobytes() for entry in state["state"].values() for value in entry.values()]
        return repr((values, entries, state["param_groups"], self.rng.bit_generator.state))

    def check(self, rest, turn):
        """Whatever has been loaded: shapes are unchanged, and the optimizer still uses the same parameters and buffers."""
        assert isinstance(rest, dict)
        for p, shape, buffer in zip(self.model.parameters(), self.shapes, self.buffers):
            assert p.data.shape == shape and p.data.base is buffer and p.dtype == np.float32
            for state in self.optimizer.state_of(p).values():
                assert state.shape == shape and state.dtype == np.float32


def members(content):
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def archive(contents):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    return file.getvalue()


def damaged_npz(good):
    inside = members(good)
    names = list(inside)
    text = next(name for name in names if name.endswith(".json"))

    def damaged(turn, rng):
        if turn % 3 == 0:           # the archive
            return mutate(good, rng)
        if turn % 3 == 1:           # a member, with a correct checksum
            name = names[rng.integers(len(names))]
            return archive({**inside, name: mutate(inside[name], rng)})
        return archive({**inside, text: json.dumps(disturb(json.loads(inside[text]), rng))})

    return damaged


def damaged_safetensors(good):
    size = struct.unpack("<Q", good[:8])[0]
    head, numbers = json.loads(good[8:8 + size]), good[8 + size:]
    text = json.loads(head["__metadata__"]["tinygrad_relu"])

    def damaged(turn, rng):
        if turn % 3 == 0:
            return mutate(good, rng)
        changed = head
        if turn % 3 == 1:           # the headers of the arrays
            changed = disturb(head, rng)
        else:                       # the text that describes the arrays
            changed = {**head, "__metadata__": {"tinygrad_relu": json.dumps(disturb(text, rng))}}
        new = json.dumps(changed).encode()
        new = mutate(new, rng) if turn % 6 == 1 else new
        return struct.pack("<Q", len(new)) + new + numbers

    return damaged


@pytest.mark.parametrize("suffix, damaged", [(".npz", damaged_npz), (".safetensors", damaged_safetensors)])
def test_runs(tmp_path, suffix, damaged):
    path, run = tmp_path / f"run{suffix}", Run(0)
    tg.save(path, **Run(1).parts(), step=17, notes=["a", {"b": np.arange(5)}])

    def load():
        before = run.fingerprint()
        try:
            return tg.load(path, **run.parts())
        except BaseException:
            assert run.fingerprint() == before
            raise

    taken, refused = fuzz(path, damaged(path.read_bytes()), load, run.check, (OSError, ValueError), 1 << 20)
    assert taken > 0.01 * len(TURNS) and refused > 0.5 * len(TURNS), (taken, refused)


# -- data: IDX and CSV -----------------------------------------------------------------------------------------------

def test_idx(tmp_path):
    def damaged(turn, rng):
        array = rng.integers(0, 100, rng.integers(1, 9, rng.integers(1, 4))).astype(list(TYPES)[turn % len(TYPES)])
        good = idx_bytes(array)
        if turn % 4 == 3:           # other sizes
            place = 4 + 4 * int(rng.integers(array.ndim))
            return good[:place] + struct.pack(">I", int(2 ** rng.uniform(0, 32))) + good[place + 4:]
        return [mutate(good, rng), gzip.compress(mutate(good, rng)), mutate(gzip.compress(good), rng)][turn % 3]

    def check(found, turn):
        assert isinstance(found, np.ndarray) and found.nbytes <= 1 << 16

    taken, refused = fuzz(tmp_path / "file", damaged, lambda: data.read_idx(tmp_path / "file"), check, ValueError, 4 << 20)
    assert taken > 0.05 * len(TURNS) and refused > 0.5 * len(TURNS), (taken, refused)


TOKENS = [b",", b"\n", b"\r", b'"', b'""', b";", b"\0", b"\xff", b"nan", b"inf", b"-", b"1e999", b"\xef\xbb\xbf", b"#", b"setosa", b" ",
          b"\xc3\xa4", b",,", b"\n\n", b"1_0", b"x" * 200_000]


def test_csv(tmp_path):
    path = tmp_path / "file.csv"

    def damaged(turn, rng):
        names = ["setosa", "versicolor", "virginica"] if turn % 2 else ["0", "1", "2"]
        rows = [f"{rng.uniform(0, 9):.3g},{rng.uniform(-1, 1)!r},{names[rng.integers(3)]}" for _ in range(rng.integers(1, 9))]
        header = ["petal,sepal,kind"] if turn % 3 else []
        good = "\n".join([*header, *rows, ""]).encode()
        return mutate(good, rng, TOKENS[:-1] if turn % 100 else TOKENS)

    def load():
        turn = rng.integers(4)
        return data.csv(path, "kind" if turn == 0 else -1, header=[None, True, False][turn % 3], dtype=["f4", "f8"][turn % 2])

    def check(found, turn):
        assert isinstance(found, data.Dataset) and np.isfinite(found.x).all() and found.x.shape == (len(found.y), found.features)
        assert found.y.min() >= 0 and found.y.max() < found.classes

    rng = np.random.default_rng(0)
    taken, refused = fuzz(path, damaged, load, check, ValueError, 8 << 20)
    assert taken > 0.1 * len(TURNS) and refused > 0.3 * len(TURNS), (taken, refused)


def test_one_line_is_what_it_says():
    with pytest.raises(AssertionError):
        one_line(ValueError("two\nlines"))
