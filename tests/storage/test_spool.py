"""The spool: what was appended is there, whole and in order, whatever broke off; what was not is not."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from app.storage import spool as module
from app.storage.spool import HEAD, SpoolFiles
from tests.support.running import ROOT


@pytest.fixture
def folder(tmp_path) -> Path:
    return tmp_path / "spool"


@pytest.fixture
def spool(folder) -> SpoolFiles:
    return SpoolFiles(folder)


def records(*names: str) -> list[tuple[bytes, int]]:
    return [(name.encode(), len(name)) for name in names]


def drained(folder: Path) -> list[str]:
    """What somebody who comes by finds, and takes away."""
    found = []
    SpoolFiles(folder).drain(lambda several: found.extend(data.decode() for data in several))
    return found


def left(folder: Path) -> list[str]:
    return sorted(path.suffix for path in folder.iterdir())


def python(program: str, *arguments: str) -> list[str]:
    begin = "import sys\nfrom pathlib import Path\nfrom app.storage.spool import SpoolFiles\n"
    begin += "spool = SpoolFiles(Path(sys.argv[1]))\n"
    return [sys.executable, "-c", begin + program, *arguments]


def test_what_is_appended_comes_back_whole_and_in_order(spool, folder):
    spool.append(records("one", "two"))
    spool.append(records("a" * 1_000_000))
    spool.close()
    spool.append(records("\0\n\xff"))
    assert spool.waiting() == 3 + 3 + 1_000_000 + 3
    spool.close()
    assert drained(folder) == ["one", "two", "a" * 1_000_000, "\0\n\xff"]
    assert (spool.waiting(), left(folder)) == (0, [])


def test_nothing_is_there_before_the_first_record(spool, folder):
    assert (spool.waiting(), drained(folder), folder.exists()) == (0, [], False)
    spool.close()


def test_nobody_else_may_look_into_it(spool, folder):
    spool.append(records("x"))
    assert folder.stat().st_mode & 0o077 == 0


def test_a_large_file_is_followed_by_another(spool, folder, monkeypatch):
    monkeypatch.setattr(module, "MAX_FILE_BYTES", 100)
    for number in range(10):
        spool.append(records(f"{number}" * 60))
    spool.close()
    assert len(left(folder)) == 5
    assert [text[0] for text in drained(folder)] == list("0123456789")


def test_a_record_that_was_cut_counts_as_never_written(spool, folder):
    spool.append(records("first", "second"))
    spool.append(records("cut"))
    spool.close()
    (path,) = folder.iterdir()
    whole = path.read_bytes()
    for size in range(len(whole) - HEAD.size - 3, len(whole)):
        path.write_bytes(whole[:size])
        assert drained(folder) == ["first", "second"]
        assert left(folder) == []


def test_zeros_at_the_end_are_what_a_power_cut_leaves(spool, folder):
    spool.append(records("first"))
    spool.close()
    (path,) = folder.iterdir()
    path.write_bytes(path.read_bytes() + b"\0" * 8192)
    assert drained(folder) == ["first"]
    assert left(folder) == []


def test_a_last_record_that_is_not_what_was_written_counts_as_never_written(spool, folder):
    spool.append(records("first", "changed"))
    spool.close()
    (path,) = folder.iterdir()
    path.write_bytes(path.read_bytes()[:-1] + b"D")
    assert drained(folder) == ["first"]
    assert left(folder) == []


def test_what_stands_behind_a_damaged_record_is_kept_for_a_person(spool, folder):
    spool.append(records("first", "changed", "last"))
    spool.close()
    (path,) = folder.iterdir()
    path.write_bytes(path.read_bytes().replace(b"changed", b"chance!"))
    found = []
    (damaged,) = SpoolFiles(folder).drain(lambda several: found.extend(several))
    assert found == [b"first"]
    assert b"last" in damaged.read_bytes()
    assert (left(folder), drained(folder), spool.waiting()) == ([".damaged"], [], 0)


def test_a_file_of_a_living_process_is_left_alone(spool, folder):
    spool.append(records("mine"))
    assert drained(folder) == []
    assert spool.waiting() == 4
    spool.append(records("more"))
    spool.close()
    assert drained(folder) == ["mine", "more"]


def test_a_killed_process_s_file_is_delivered(folder):
    program = "spool.append([(b'from the dead', 1)])\nprint('there', flush=True)\nsys.stdin.read()"
    process = subprocess.Popen(
        python(program, str(folder)), cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "there\n"
    assert drained(folder) == []
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert drained(folder) == ["from the dead"]


def test_a_full_disk_refuses_a_record_and_keeps_those_before_it(folder):
    program = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
for size in (100, 900, 300, 2000, 50):
    try:
        spool.append([(b"a" * 10, 1), (str(size).encode() * size, 1)])
        print(size)
    except OSError as error:
        print("no", size)
"""
    done = subprocess.run(python(program, str(folder)), cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:-1] == ["100", "no 900", "300", "no 2000", "50"]
    assert [text[:3] for text in drained(folder) if text != "a" * 10] == ["100", "300", "505"]
    assert left(folder) == []


@pytest.mark.parametrize("good", [0, 1], ids=["the file's", "the folder's"])
def test_an_attempt_that_fails_at_once_leaves_no_file(spool, folder, monkeypatch, good):
    """Whichever sync it is that fails."""

    def no_space(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    spool.append(records("kept"))
    spool.close()
    with monkeypatch.context() as patch:
        calls = iter([module.os.fsync] * good + [no_space])
        patch.setattr(module.os, "fsync", lambda descriptor: next(calls)(descriptor))
        with pytest.raises(OSError, match="No space"):
            spool.append(records("refused"))
    assert left(folder) == [".spool"]
    assert drained(folder) == ["kept"]


def test_what_could_not_be_delivered_comes_again(spool, folder):
    spool.append(records("one", "two"))
    spool.close()
    with pytest.raises(ZeroDivisionError):
        SpoolFiles(folder).drain(lambda several: [next(several), 1 / 0])
    assert drained(folder) == ["one", "two"]


def test_it_is_emptied_once_whoever_is_at_it(spool, folder):
    for number in range(40):
        spool.append(records(str(number)))
        spool.close()
    with ThreadPoolExecutor(4) as pool:
        found = [name for names in pool.map(drained, [folder] * 4) for name in names]
    assert sorted(map(int, found)) == list(range(40))


def test_nothing_is_lost_between_those_who_fill_it_and_those_who_empty_it(folder):
    """Above all at the moment when a file is there and not locked yet."""
    stop, found = threading.Event(), []

    def empty() -> None:
        while not stop.is_set():
            found.extend(drained(folder))

    emptying = [threading.Thread(target=empty) for _ in range(2)]
    for thread in emptying:
        thread.start()
    filling = SpoolFiles(folder)
    for number in range(150):
        filling.append(records(str(number)))
        filling.close()
    stop.set()
    for thread in emptying:
        thread.join()
    assert sorted(map(int, found + drained(folder))) == list(range(150))
