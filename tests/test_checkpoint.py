"""Files of runs: states load with the same bits, a resumed run equals an uninterrupted one, and bad files are refused."""
from __future__ import annotations

import io
import json
import os
import re
import struct
import sys
import zipfile

import numpy as np
import pytest
from damage import one_line

import tinygrad_relu as tg
from tinygrad_relu import functional as F
from tinygrad_relu import nn, optim

FORMATS = [".npz", ".safetensors"]
every_format = pytest.mark.parametrize("suffix", FORMATS)
X, LABELS = np.random.default_rng(0).standard_normal((40, 4)).astype("f4"), np.arange(40) % 3


class Noise(nn.Module):
    """A random layer that keeps the state of its generator in an optional buffer."""

    def __init__(self, seed):
        self.position = nn.Buffer(np.array([seed, 0], "u8"), optional=True)

    def forward(self, x):
        self.position.data[1] += 1
        return x * np.random.default_rng(self.position.data).uniform(0.5, 1.5, x.shape).astype(x.dtype)


RUNS = {     # the activation of an MLP, or a function that makes the middle layer from a seed
    "sgd, momentum": ("relu", optim.SGD, dict(lr=0.05, momentum=0.9)),
    "nesterov, prelu": ("prelu", optim.SGD, dict(lr=0.05, momentum=0.9, nesterov=True, weight_decay=0.01)),
    "adam, rrelu": ("rrelu", optim.Adam, dict(lr=0.01)),
    "adamw, tanh": ("tanh", optim.AdamW, dict(lr=0.01)),
    "adam, noise": (Noise, optim.Adam, dict(lr=0.01, weight_decay=0.1)),
    "sgd, dropout": (lambda seed: nn.Dropout(0.3, rng=seed), optim.SGD, dict(lr=0.05, momentum=0.9)),
    "adam, batch norm": (lambda seed: nn.BatchNorm1d(8), optim.Adam, dict(lr=0.01)),
    "adam, mean of all batches": (lambda seed: nn.BatchNorm1d(8, momentum=None), optim.Adam, dict(lr=0.01)),
    "adamw, all at once": (lambda seed: nn.Sequential(nn.BatchNorm1d(8), nn.RReLU(rng=seed), nn.Dropout(0.3, rng=seed + 9)),
                           optim.AdamW, dict(lr=0.01)),
}


class Run:
    """All parts of a training run. The module draws from the generator that also shuffles the batches."""

    def __init__(self, name, seed):
        activation, kind, options = RUNS[name]
        self.rng = np.random.default_rng(seed)
        self.model = (nn.MLP([4, 8, 3], activation, rng=self.rng) if isinstance(activation, str) else
                      nn.Sequential(nn.Linear(4, 8, rng=seed), activation(seed), nn.Linear(8, 3, rng=seed)))
        self.optimizer = kind(self.model.parameters(), **options)

    def parts(self):
        return dict(model=self.model, optimizer=self.optimizer, rng=self.rng)

    def step(self):
        rows = self.rng.integers(40, size=16)
        self.optimizer.zero_grad()
        F.cross_entropy(self.model(X[rows]), LABELS[rows]).backward()
        self.optimizer.step()


def content(path):
    return path.read_bytes()


@every_format
@pytest.mark.parametrize("name", RUNS)
def test_a_run_resumed_at_any_step_is_the_run(tmp_path, name, suffix):
    run = Run(name, 0)
    for i in range(6):
        tg.save(tmp_path / f"{i}{suffix}", **run.parts(), step=i)
        run.step()
    tg.save(tmp_path / f"end{suffix}", **run.parts())
    for i in range(6):
        other = Run(name, 1)
        other.step()
        assert tg.load(tmp_path / f"{i}{suffix}", **other.parts()) == {"step": i}
        for _ in range(i, 6):
            other.step()
        tg.save(tmp_path / f"again{suffix}", **other.parts())
        assert content(tmp_path / f"again{suffix}") == content(tmp_path / f"end{suffix}")     # the same state, the same bytes


TREE = {"a.b": np.arange(6, dtype="i4").reshape(2, 3), "a": {"b": np.float32([1, 2]), "": np.zeros((0, 3))}, "none": None,
        "list": [1, 2.5, "text\n", True, {"x": np.array(3.0)}, []], "numbers": {0: np.bool_(True), -1: np.array([True, False])},
        "$array": {"$array": 1}, "large": 2**100, "inf": float("inf"), "empty": {}, "0-d": np.array(7, "u2"), "np": np.float32(0.1)}


def same(a, b):
    if isinstance(a, np.ndarray):
        return isinstance(b, np.ndarray) and a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    if isinstance(a, dict):
        return isinstance(b, dict) and list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and a == b


@every_format
def test_trees_come_back(tmp_path, suffix):
    path = tmp_path / f"tree{suffix}"
    tg.save(path, TREE)
    found = tg.load(path)
    plain = {**TREE, "numbers": {0: True, -1: TREE["numbers"][-1]}, "np": float(np.float32(0.1))}
    assert same(plain, found)
    found["a"]["b"][0] = 5          # writable
    tg.save(path, betas=(0.9, 0.99), tensor=tg.Tensor([1.0]), swapped=np.arange(3, dtype=">i2"), turned=np.ones((2, 3)).T)
    found = tg.load(path)
    assert found["betas"] == [0.9, 0.99] and found["tensor"].tolist() == [1.0]
    assert found["swapped"].dtype == np.dtype("=i2") and found["swapped"].tolist() == [0, 1, 2]
    assert found["turned"].shape == (3, 2) and found["turned"].flags.c_contiguous


@every_format
@pytest.mark.parametrize("kind", ["?", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8"])
def test_every_type(tmp_path, suffix, kind):
    arrays = {str(shape): np.array(np.random.default_rng(0).integers(0, 99, shape), kind) for shape in [(), (0,), (3, 2), (5,)]}
    tg.save(tmp_path / f"a{suffix}", arrays)
    found = tg.load(tmp_path / f"a{suffix}")
    assert set(found) == set(arrays) and all(same(arrays[name], found[name]) for name in arrays)


def test_plain_files_are_those_of_others(tmp_path):
    """A module alone makes a file of names and arrays that NumPy and safetensors can read, and `load` reads their files."""
    import safetensors.numpy

    model = nn.MLP([4, 3, 2], rng=0)
    state = model.state_dict()
    tg.save(tmp_path / "ours.npz", model)
    tg.save(tmp_path / "ours.safetensors", model)
    with np.load(tmp_path / "ours.npz", allow_pickle=False) as found:
        assert same(state, dict(found))
    found = safetensors.numpy.load_file(tmp_path / "ours.safetensors")
    assert all(same(found[name], state[name]) for name in state)
    np.savez(tmp_path / "theirs.npz", **state)
    safetensors.numpy.save_file(state, tmp_path / "theirs.safetensors", {"format": "pt"})
    for name in ("ours.npz", "ours.safetensors", "theirs.npz", "theirs.safetensors"):
        other = nn.MLP([4, 3, 2], rng=1)
        assert tg.load(tmp_path / name, other) == {}
        assert same(other.state_dict(), state)


def test_fortran_order_old_and_new_headers_and_bfloat16(tmp_path):
    array = np.asfortranarray(np.arange(6.0).reshape(2, 3))
    for version in ((1, 0), (2, 0)):
        with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive, archive.open("a.npy", "w") as member:
            np.lib.format.write_array(member, array, version)
        assert same(tg.load(tmp_path / "a.npz"), {"a": np.ascontiguousarray(array)})
    numbers = np.array([1.0, -2.5, np.inf], "f4")
    head = json.dumps({"a": {"dtype": "BF16", "shape": [3], "data_offsets": [0, 6]}}).encode()
    (tmp_path / "a.safetensors").write_bytes(struct.pack("<Q", len(head)) + head + (numbers.view("u4") >> 16).astype("<u2").tobytes())
    assert same(tg.load(tmp_path / "a.safetensors"), {"a": numbers})


# -- what is refused -------------------------------------------------------------------------------------------------

def npy(array, **options):
    file = io.BytesIO()
    np.lib.format.write_array(file, np.asarray(array), **options)
    return file.getvalue()


def archive(path, compress=zipfile.ZIP_STORED, **members):
    with zipfile.ZipFile(path, "w", compress) as file:
        for name, text in members.items():
            file.writestr(name.replace("__", "."), text)
    return path.read_bytes()


def tensors(head, data=b""):
    head = head if isinstance(head, bytes) else json.dumps(head).encode()
    return struct.pack("<Q", len(head)) + head + data


GOOD = npy(np.arange(6.0))
TEXT = json.dumps({"version": 1, "tree": {"a": {"$array": "a"}, "step": 1}})
NPZ = {     # a function that writes the file at a path; the words of the error
    "empty": (lambda p: b"", "File is not a zip file"),
    "foreign": (lambda p: b"<!DOCTYPE html>" * 100, "File is not a zip file"),
    "cut": (lambda p: archive(p, a__npy=GOOD)[:-30], "not a zip file"),
    "checksum": (lambda p: archive(p, a__npy=GOOD).replace(GOOD[-16:], GOOD[-16:][::-1]), "Bad CRC-32"),
    "compressed": (lambda p: archive(p, zipfile.ZIP_DEFLATED, a__npy=npy(np.zeros(99999))), "it is compressed, expected a file as np.savez"),
    "other files": (lambda p: archive(p, readme__txt="hello"), "expected one .npy file inside for each array"),
    "no npy": (lambda p: archive(p, a__npy="hello, world"), "a is not a .npy file of version 1 or 2"),
    "version": (lambda p: archive(p, a__npy=GOOD[:6] + b"\3" + GOOD[7:]), "a is not a .npy file of version 1 or 2"),
    "objects": (lambda p: archive(p, a__npy=npy(np.array([None], object), allow_pickle=True)), "a holds object entries, expected real numbers of at most 64 bits"),
    "text": (lambda p: archive(p, a__npy=npy(["abc"])), "a holds <U3 entries, expected real numbers"),
    "complex": (lambda p: archive(p, a__npy=npy([1j])), "a holds complex128 entries"),
    "huge": (lambda p: archive(p, a__npy=GOOD.replace(b"(6,), }          ", b"(60000000000,), }")), "a is of shape (60000000000,) and type float64, but has 48 bytes"),
    "numbers cut": (lambda p: archive(p, a__npy=GOOD[:-1]), "a is of shape (6,) and type float64, but has 47 bytes"),
    "shape of zeros": (lambda p: archive(p, a__npy=npy(np.zeros((0, 1))).replace(b"(0, 1), }" + b" " * 30, b"(0, " + b"9" * 31 + b"), }")), "which no array can have"),
    "text of another version": (lambda p: archive(p, a__npy=GOOD, tinygrad_relu__json=TEXT.replace("1,", "2,", 1)), "its text is of version 2, expected 1"),
    "text of another grammar": (lambda p: archive(p, a__npy=GOOD, tinygrad_relu__json='{"version": 2, "tree": [{"$ref": 0}, {"$array": 0}]}'), "its text is of version 2, expected 1"),
    "text that lacks an array": (lambda p: archive(p, a__npy=GOOD, b__npy=GOOD, tinygrad_relu__json=TEXT), "its text leaves out 1 of its 2 arrays"),
    "text of more arrays": (lambda p: archive(p, b__npy=GOOD, tinygrad_relu__json=TEXT), "its text does not describe its arrays"),
    "text of nothing": (lambda p: archive(p, a__npy=GOOD, tinygrad_relu__json="[[["), "its text does not describe its arrays"),
    "deep text": (lambda p: archive(p, tinygrad_relu__json="[" * 99999), "its text does not describe its arrays"),
}
F32 = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
SAFETENSORS = {
    "empty": (lambda p: b"", "header too small"),
    "foreign": (lambda p: b"<!DOCTYPE html>" * 100, "header too large"),
    "huge header": (lambda p: b"\xff" * 7 + b"\x7f{}", "header too large"),
    "cut": (lambda p: tensors({"a": F32}, b"1234567"), "incomplete metadata"),
    "surplus": (lambda p: tensors({"a": F32}, b"123456789"), "incomplete metadata"),
    "no json": (lambda p: tensors(b"{[}"), "invalid JSON in header"),
    "huge": (lambda p: tensors({"a": {**F32, "shape": [2**40]}}, b"12345678"), "a"),
    "kind": (lambda p: tensors({"a": {"dtype": "C64", "shape": [1], "data_offsets": [0, 8]}}, b"12345678"), "a holds C64 numbers, expected one of F64, F32"),
    "text": (lambda p: tensors({"a": F32, "__metadata__": {"tinygrad_relu": "{}"}}, b"12345678"), "its text does not describe its arrays"),
}
FOREIGN = [(".npz", *case) for case in NPZ.items()] + [(".safetensors", *case) for case in SAFETENSORS.items()]


@pytest.mark.parametrize("suffix, case", [pytest.param(s, c, id=f"{s[1:]} {n}") for s, n, c in FOREIGN])
def test_invalid_files_are_refused(tmp_path, suffix, case):
    make, sentence = case
    path = tmp_path / f"a{suffix}"
    path.write_bytes(make(path))
    with pytest.raises(OSError, match=re.escape(sentence)) as caught:
        tg.load(path)
    assert one_line(caught.value).startswith(f"{path} is not a complete {suffix} file: ")


@every_format
def test_a_file_cut_anywhere(tmp_path, suffix):
    path, run = tmp_path / f"a{suffix}", Run("adam, rrelu", 0)
    run.step()
    tg.save(path, **run.parts())
    whole = path.read_bytes()
    for stop in (*range(0, len(whole), 97), len(whole) - 1):
        path.write_bytes(whole[:stop])
        with pytest.raises(OSError) as caught:
            tg.load(path, **run.parts())
        one_line(caught.value)


@every_format
def test_errors_of_the_file_system(tmp_path, suffix):
    with pytest.raises(FileNotFoundError, match=f"nowhere{suffix} does not exist; expected a {suffix} file"):
        tg.load(tmp_path / f"nowhere{suffix}")
    (tmp_path / f"folder{suffix}").mkdir()
    with pytest.raises(IsADirectoryError, match="is a folder; expected a"):
        tg.load(tmp_path / f"folder{suffix}")
    with pytest.raises(OSError, match="cannot be written: Is a directory"):
        tg.save(tmp_path / f"folder{suffix}", step=1)
    with pytest.raises(FileNotFoundError, match="cannot be written: No such file"):
        tg.save(tmp_path / "no" / f"a{suffix}", step=1)
    os.mkfifo(tmp_path / f"pipe{suffix}")
    with pytest.raises(OSError, match="cannot be read: it is not a regular file"):
        tg.load(tmp_path / f"pipe{suffix}")


def test_arguments(tmp_path):
    model, path = nn.Linear(2, 2, rng=0), tmp_path / "a.npz"
    cases = [
        (lambda: tg.save(tmp_path / "a.pt", model), ValueError, "a.pt ends in '.pt', expected .npz or .safetensors"),
        (lambda: tg.load(tmp_path / "a.pt", model), ValueError, "safetensors; with PyTorch: model.load_state_dict(torch.load(path))"),
        (lambda: tg.load(tmp_path / "a"), ValueError, "a has no ending, expected .npz or .safetensors"),
        (lambda: tg.save(path), TypeError, "save: expected one object"),
        (lambda: tg.save(path, model, step=1), TypeError, "save: expected one object"),
        (lambda: tg.load(path, model, step=1), TypeError, "load: expected one object"),
        (lambda: tg.save(path, 17), TypeError, "save: got int, expected a module or a dict"),
        (lambda: tg.save(path, step={1, 2}), TypeError, "save: step is of type set, expected an array, a number"),
        (lambda: tg.save(path, parts=[{"f": print}]), TypeError, "save: parts.0.f is of type builtin_function"),
        (lambda: tg.save(path, a=np.array(["x"])), TypeError, "save: a holds text"),
        (lambda: tg.save(path, a=np.array([1j])), TypeError, "save: a holds complex"),
        (lambda: tg.save(path, a=np.ones(2, "longdouble")), TypeError, "numbers, expected at most 64 bits"),
        (lambda: tg.save(path, a={(1, 2): 3}), TypeError, "save: the keys of a are [(1, 2)], expected strings or whole"),
        (lambda: tg.save(path, {"a\0": np.ones(1)}), ValueError, "save: an array is called 'a\\x00', expected a name that can be printed"),
        (lambda: tg.save(path, rng=np.random.RandomState(0)), TypeError, "save: rng is of type RandomState, expected an array"),
        (lambda: tg.save(nn.Linear(1, 1, rng=0)), TypeError, "save: expected one object, save(path, model), or several by name"),
        (lambda: tg.save(nn.Linear(1, 1, rng=0), 3), TypeError, "save: got Linear as the path, expected a string or a Path: save(path, ...)"),
        (lambda: tg.load(nn.Linear(1, 1, rng=0)), TypeError, "load: got Linear as the path"),
        (lambda: tg.load(path, step=3), TypeError, "load: step is int, expected a module, an optimizer or a Generator"),
        (lambda: tg.save(tmp_path / "a.safetensors", {"__metadata__": np.ones(1)}), ValueError, "an array is called __metadata__"),
    ]
    for call, kind, sentence in cases:
        with pytest.raises(kind, match=re.escape(sentence)) as caught:
            call()
        one_line(caught.value)
    assert not os.listdir(tmp_path)


def test_without_the_package_safetensors(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors", None)
    monkeypatch.setitem(sys.modules, "safetensors.numpy", None)
    (tmp_path / "a.safetensors").write_bytes(b"12345678{}")
    for call in (lambda: tg.save(tmp_path / "b.safetensors", step=1), lambda: tg.load(tmp_path / "a.safetensors")):
        with pytest.raises(ImportError, match=re.escape('python -m pip install "tinygrad_relu[files]"')) as caught:
            call()
        one_line(caught.value)
    assert os.listdir(tmp_path) == ["a.safetensors"]


@every_format
def test_what_does_not_fit_changes_nothing(tmp_path, suffix):
    """Model, optimizer and generator: one error names the misfits of all three, and none of them is changed."""
    path, run = tmp_path / f"a{suffix}", Run("adam, noise", 0)
    for _ in range(2):
        run.step()
    state = run.optimizer.state_dict()
    state["param_groups"][0]["eps"] = -1.0
    rng = np.random.default_rng(7)
    tg.save(path, model={**run.model.state_dict(), "0.bias": np.ones(3)}, optimizer=state, rng=rng)
    other = Run("adam, noise", 1)
    other.step()
    tg.save(tmp_path / f"before{suffix}", **other.parts())
    with pytest.raises(ValueError) as caught:
        tg.load(path, **other.parts())
    for part in (str(path), "model: Sequential: the state does not fit: 0.bias has shape (3,)", "optimizer: Adam: ", "eps is -1.0"):
        assert part in one_line(caught.value)
    tg.save(tmp_path / f"after{suffix}", **other.parts())
    assert content(tmp_path / f"after{suffix}") == content(tmp_path / f"before{suffix}")
    assert tg.load(path, rng=other.rng).keys() == {"model", "optimizer"}        # one part alone fits
    assert other.rng.random() == np.random.default_rng(7).random()
    for parts, sentence in ((dict(rng=np.random.Generator(np.random.PCG64DXSM(0))), "this is not the state of a PCG64DXSM generator"),
                            (dict(model=other.rng), "this is not the state of a PCG64 generator"),
                            (dict(rng=other.model), "Sequential: the state does not fit: missing"),
                            (dict(network=other.model), "has no part network; it holds model, optimizer, rng; to load all of it")):
        with pytest.raises(ValueError, match=re.escape(sentence)):
            tg.load(path, **parts)
    with pytest.raises(ValueError, match=r"missing 0\.weight"):
        tg.load(path, other.model)


@every_format
@pytest.mark.parametrize("kind", ["MT19937", "PCG64", "PCG64DXSM", "Philox", "SFC64"])
def test_every_generator_of_numpy_resumes(tmp_path, kind, suffix):
    """In the middle of a block of numbers, and with half a number left over."""
    path, make = tmp_path / f"a{suffix}", getattr(np.random, kind)
    rng, other = np.random.Generator(make(0)), np.random.Generator(make(1))
    rng.random(5), rng.integers(9, dtype="u4"), rng.standard_normal(3)
    tg.save(path, rng=rng)
    assert tg.load(path, rng=other) == {}
    for draw in (lambda g: g.integers(2**32, size=3, dtype="u4"), lambda g: g.random(700), lambda g: g.standard_normal(5)):
        assert draw(other).tolist() == draw(rng).tolist()


@pytest.mark.parametrize("kind, name, value", [
    ("MT19937", "pos", 625), ("MT19937", "pos", -1), ("MT19937", "key", np.zeros(3, "u4")), ("Philox", "buffer_pos", 2**31),
    ("Philox", "buffer_pos", -9), ("Philox", "buffer", np.zeros(2, "u8")), ("SFC64", "state", np.zeros(1, "u8")),
    ("SFC64", "state", 3), ("PCG64", "inc", -1), ("PCG64", "inc", None)])
def test_a_damaged_generator_changes_nothing(tmp_path, kind, name, value):
    """NumPy does not check the position of a generator in its buffer, and would read beyond the buffer."""
    rng = np.random.Generator(getattr(np.random, kind)(0))
    rng.random(3)
    state = rng.bit_generator.state
    inner = state if name in state and name != "state" else state["state"]
    inner[name] = value
    tg.save(tmp_path / "a.npz", rng=state)
    before = rng.bit_generator.state
    with pytest.raises(ValueError, match=f"this is not the state of a {kind} generator"):
        tg.load(tmp_path / "a.npz", rng=rng)
    np.testing.assert_equal(rng.bit_generator.state, before)


@every_format
def test_modes_are_part_of_a_run(tmp_path, suffix):
    """The mode of every module is saved, but not in a file of plain names and arrays, and older files do not have it."""
    path = tmp_path / f"a{suffix}"

    def net():
        return nn.Sequential(nn.Linear(2, 3, rng=0), nn.Sequential(nn.BatchNorm1d(3), nn.Dropout(0.5, rng=0)))

    model, other = net().eval(), net()
    model[1][1].train()
    tg.save(path, model=model, step=1)
    assert tg.load(path, model=other) == {"step": 1}
    assert [m.training for m in other.modules()] == [False, False, False, False, True]
    tg.save(path, model=model.train())
    with pytest.raises(ValueError, match="has no part step"):
        tg.load(path, model=other, step=other)
    assert not other.training
    tg.load(path, model=other)
    assert all(m.training for m in other.modules())
    tg.save(path, model.eval())
    tg.load(path, other)
    assert other.training


@every_format
def test_a_dict_of_parts(tmp_path, suffix):
    """As users of PyTorch write it: the same file as with names."""
    run = Run("adam, noise", 0)
    tg.save(tmp_path / f"a{suffix}", {**run.parts(), "epoch": 3})
    tg.save(tmp_path / f"b{suffix}", **run.parts(), epoch=3)
    assert content(tmp_path / f"a{suffix}") == content(tmp_path / f"b{suffix}")
    heads = nn.ModuleDict({"a": nn.Linear(1, 1, rng=0)})
    tg.save(tmp_path / f"a{suffix}", heads)
    assert tg.load(tmp_path / f"a{suffix}").keys() == {"a.weight", "a.bias"}


@every_format
def test_the_order_of_pytorch(tmp_path, suffix):
    model, path = nn.Linear(2, 2, rng=0), str(tmp_path / f"a{suffix}")
    tg.save(model, path)
    assert tg.load(path).keys() == {"weight", "bias"} and tg.load(nn.Linear(2, 2, rng=1), path) == {}


@every_format
def test_a_whole_run_for_one_module(tmp_path, suffix):
    """The error names the part to load, and that part loads. There is no hint if no part has such names."""
    path = tmp_path / f"run{suffix}"
    model, ema = (nn.MLP([3, 4, 2], rng=seed) for seed in (0, 1))
    opt = optim.Adam(model.parameters())
    tg.save(path, model=model, optimizer=opt, step=3)
    target, before = nn.MLP([3, 4, 2], rng=2), nn.MLP([3, 4, 2], rng=2)
    with pytest.raises(ValueError) as caught:
        tg.load(path, target)
    text = str(caught.value)
    assert text.startswith(f"{path}: MLP: the state does not fit: missing 0.weight, 0.bias")
    assert text.endswith("unexpected model, optimizer, step; such names are in the part model: load(path, model=...)")
    assert all((p.data == q.data).all() for p, q in zip(target.parameters(), before.parameters()))
    tg.load(path, model=target)
    assert all((p.data == q.data).all() for p, q in zip(target.parameters(), model.parameters()))
    with pytest.raises(ValueError, match=r"such names are in the part optimizer: load\(path, optimizer=\.\.\.\)$"):
        tg.load(path, opt)
    with pytest.raises(ValueError, match=r"unexpected model, optimizer, step$"):
        tg.load(path, nn.Linear(3, 4, rng=0))
    tg.save(path, model=model, ema=ema)
    with pytest.raises(ValueError, match="such names are in the part model and the part ema: load"):
        tg.load(path, target)
    tg.save(path, model)
    with pytest.raises(ValueError, match=r"0\.weight has shape \(4, 3\), expected \(5, 3\)[^:]*$"):
        tg.load(path, nn.MLP([3, 5, 2], rng=0))


def test_whatever_has_a_state_dict_can_be_a_part(tmp_path):
    class Schedule:
        def __init__(self, k):
            self.k = k

        def state_dict(self):
            return {"k": self.k}

        def load_state_dict(self, state):
            self.k = state["k"]

    tg.save(tmp_path / "a.npz", schedule=Schedule(3), model=nn.Linear(1, 1, rng=0))
    schedule = Schedule(4)
    with pytest.raises(ValueError, match="model: Linear: the state does not fit: weight has shape"):
        tg.load(tmp_path / "a.npz", schedule=schedule, model=nn.Linear(2, 1, rng=0))
    assert schedule.k == 4
    tg.load(tmp_path / "a.npz", schedule=schedule)
    assert schedule.k == 3
