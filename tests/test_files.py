"""Files are written completely or not at all: links, devices, permissions, leftover files, and processes that are killed."""
from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from damage import one_line

from tinygrad_relu import files
from tinygrad_relu.files import check_writable, write_through

ROOT = Path(__file__).parents[1]


def put(path, content=b"new"):
    write_through(path, lambda file: file.write(content))


def test_new_and_old_files(tmp_path):
    target = tmp_path / "a"
    old = os.umask(0o027)
    try:
        put(target, b"1")
        assert target.read_bytes() == b"1" and stat.S_IMODE(target.stat().st_mode) == 0o640
        target.chmod(0o604)
        put(str(target), b"2")
    finally:
        os.umask(old)
    assert target.read_bytes() == b"2" and stat.S_IMODE(target.stat().st_mode) == 0o604     # the permissions it had
    assert os.listdir(tmp_path) == ["a"]


def test_a_failing_writer_leaves_the_old_file(tmp_path):
    put(tmp_path / "a", b"old")

    def fail(file):
        file.write(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_through(tmp_path / "a", fail)
    assert (tmp_path / "a").read_bytes() == b"old" and os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize("there", [True, False])
def test_a_link_is_followed(tmp_path, there):
    (tmp_path / "elsewhere").mkdir()
    target = tmp_path / "elsewhere" / "b"
    if there:
        target.write_bytes(b"old")
    (tmp_path / "a").symlink_to("second")
    (tmp_path / "second").symlink_to(target)
    check_writable(tmp_path / "a", "save")
    put(tmp_path / "a")
    assert (tmp_path / "a").is_symlink() and target.read_bytes() == b"new" and not target.is_symlink()
    assert os.listdir(target.parent) == ["b"] and sorted(os.listdir(tmp_path)) == ["a", "elsewhere", "second"]


def test_devices_and_pipes_are_written_to(tmp_path):
    before = os.stat("/dev/null")
    check_writable("/dev/null", "save")
    put("/dev/null")
    assert os.stat("/dev/null").st_ino == before.st_ino and stat.S_ISCHR(os.stat("/dev/null").st_mode)
    pipe, read = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    reader.start()
    write_through(pipe, lambda file: (file.write(b"xyz"), file.seek(0), file.write(b"X")))      # a writer may seek
    reader.join()
    assert read == [b"Xyz"] and stat.S_ISFIFO(pipe.stat().st_mode)


def test_what_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "to-nowhere").symlink_to("no-folder/a")
    for path, reason in ((tmp_path, "folder|directory"), (tmp_path / "no-folder" / "a", "does not exist|No such file"),
                         (tmp_path / "loop", "symbolic links"), (tmp_path / "to-nowhere", "does not exist|No such file")):
        with pytest.raises(OSError, match=reason) as caught:
            check_writable(path, "--json")
        assert one_line(caught.value).startswith("--json: ")
        with pytest.raises(OSError, match=reason) as caught:
            put(path)
        assert one_line(caught.value).startswith(f"{path} cannot be written: ")
    with pytest.raises(OSError, match="--json: the name is empty, expected the name of a file"):
        check_writable("", "--json")
    assert check_writable(tmp_path / "a", "--json") == tmp_path / "a"
    assert check_writable(str(tmp_path / ("ä" * 120)), "--json").name == "ä" * 120      # the longest name that is allowed
    put(tmp_path / ("ä" * 120))
    assert sorted(os.listdir(tmp_path)) == ["loop", "to-nowhere", "ä" * 120]


def test_the_bytes_are_on_the_disk_before_the_name_is(tmp_path, monkeypatch):
    seen = []
    for name in ("fsync", "replace"):
        real = getattr(os, name)
        monkeypatch.setattr(files.os, name, lambda *args, name=name, real=real: (seen.append((name, args)), real(*args))[1])
    put(tmp_path / "a")
    assert [name for name, _ in seen] == ["fsync", "replace", "fsync"]      # the file, the name, the folder


def test_left_overs_are_swept_and_nothing_else(tmp_path):
    target = tmp_path / "a[1]"
    mine = [f".a[1].{digits}.part" for digits in ("00c0ffee", "12345678")]
    others = [".a[1].12345678", ".a1.12345678.part", ".a[1].note.part", ".b.12345678.part", "a[1].12345678.part"]
    for name in (*mine, *others):
        (tmp_path / name).write_bytes(b"left over")

    def nested(file):
        put(target, b"inner")                   # another save, while this one's temporary file is open
        file.write(b"outer")

    write_through(target, nested)
    assert target.read_bytes() == b"outer"
    assert sorted(os.listdir(tmp_path)) == sorted([target.name, *others])


def test_threads_that_save_to_one_file(tmp_path):
    target = tmp_path / "a"
    contents = [bytes([k]) * 200_000 for k in range(6)]
    threads = [threading.Thread(target=lambda c=c: [put(target, c) for _ in range(15)]) for c in contents]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        if target.exists():
            assert target.read_bytes() in contents
    for thread in threads:
        thread.join()
    assert os.listdir(tmp_path) == ["a"]


KILLING = """
import os, random, signal, sys, time
import numpy as np
import tinygrad_relu as tg

folder, suffix = sys.argv[1:]
path = f"{folder}/run{suffix}"
whole = [{"weight": np.full(60_000, float(k)), "step": k} for k in range(2)]
tg.save(path, whole[0])
chance, torn, most, cut_short = random.Random(0), 0, 0, 0
for turn in range(600):
    child = os.fork()
    if child == 0:
        k = 0
        while True:
            k = 1 - k
            tg.save(path, whole[k])
    time.sleep(chance.uniform(0, 0.015))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    found = tg.load(path)                       # raises, if it is torn
    assert set(found) == {"weight", "step"} and (found["weight"] == found["step"]).all()
    left = len(os.listdir(folder)) - 1
    cut_short += left > 0
    most = max(most, left)
    if turn >= 60 and cut_short >= 20:          # a busy machine may take longer to be cut short so often
        break
print(most, cut_short)
tg.save(path, whole[0])
print(*os.listdir(folder))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_a_process_that_is_killed_while_it_saves_leaves_a_whole_file(tmp_path, suffix):
    done = subprocess.run([sys.executable, "-c", KILLING, tmp_path, suffix], capture_output=True, text=True, cwd=ROOT, timeout=300)
    assert done.returncode == 0, done.stderr
    most, cut_short = map(int, done.stdout.split("\n")[0].split())
    assert cut_short >= 20, "the processes died too early or too late to say anything"
    assert most <= 1, "what killed processes left behind has piled up"
    assert done.stdout.split("\n")[1] == f"run{suffix}"
