"""The spool delivers every appended record completely and in order, and no incomplete record."""

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


def drain(folder: Path) -> list[str]:
    """Deliver and remove all records, as another process would, and return their texts."""
    texts = []
    SpoolFiles(folder).drain(lambda batch: texts.extend(data.decode() for data in batch))
    return texts


def suffixes(folder: Path) -> list[str]:
    return sorted(path.suffix for path in folder.iterdir())


def python_command(program: str, *arguments: str) -> list[str]:
    begin = "import sys\nfrom pathlib import Path\nfrom app.storage.spool import SpoolFiles\n"
    begin += "spool = SpoolFiles(Path(sys.argv[1]))\n"
    return [sys.executable, "-c", begin + program, *arguments]


def test_appended_records_are_delivered_completely_and_in_order(spool, folder):
    spool.append(records("one", "two"))
    spool.append(records("a" * 1_000_000))
    spool.close()
    spool.append(records("\0\n\xff"))
    assert spool.waiting() == 3 + 3 + 1_000_000 + 3
    spool.close()
    assert drain(folder) == ["one", "two", "a" * 1_000_000, "\0\n\xff"]
    assert (spool.waiting(), suffixes(folder)) == (0, [])


def test_no_folder_is_created_before_the_first_record(spool, folder):
    assert (spool.waiting(), drain(folder), folder.exists()) == (0, [], False)
    spool.close()


def test_other_users_cannot_read_the_folder(spool, folder):
    spool.append(records("x"))
    assert folder.stat().st_mode & 0o077 == 0


def test_a_full_file_is_followed_by_another(spool, folder, monkeypatch):
    monkeypatch.setattr(module, "MAX_FILE_BYTES", 100)
    for number in range(10):
        spool.append(records(f"{number}" * 60))
    spool.close()
    assert len(suffixes(folder)) == 5
    assert [text[0] for text in drain(folder)] == list("0123456789")


def test_a_truncated_record_is_ignored(spool, folder):
    spool.append(records("first", "second"))
    spool.append(records("cut"))
    spool.close()
    (path,) = folder.iterdir()
    whole = path.read_bytes()
    for size in range(len(whole) - HEAD.size - 3, len(whole)):
        path.write_bytes(whole[:size])
        assert drain(folder) == ["first", "second"]
        assert suffixes(folder) == []


def test_trailing_zeros_after_a_power_failure_are_ignored(spool, folder):
    spool.append(records("first"))
    spool.close()
    (path,) = folder.iterdir()
    path.write_bytes(path.read_bytes() + b"\0" * 8192)
    assert drain(folder) == ["first"]
    assert suffixes(folder) == []


def test_a_corrupt_last_record_is_ignored(spool, folder):
    spool.append(records("first", "changed"))
    spool.close()
    (path,) = folder.iterdir()
    path.write_bytes(path.read_bytes()[:-1] + b"D")
    assert drain(folder) == ["first"]
    assert suffixes(folder) == []


def test_records_after_a_damaged_record_are_preserved_in_a_damaged_file(spool, folder):
    spool.append(records("first", "changed", "last"))
    spool.close()
    (path,) = folder.iterdir()
    path.write_bytes(path.read_bytes().replace(b"changed", b"chance!"))
    delivered = []
    (damaged,) = SpoolFiles(folder).drain(lambda batch: delivered.extend(batch))
    assert delivered == [b"first"]
    assert b"last" in damaged.read_bytes()
    assert (suffixes(folder), drain(folder), spool.waiting()) == ([".damaged"], [], 0)


def test_an_open_file_of_a_running_process_is_not_delivered(spool, folder):
    spool.append(records("mine"))
    assert drain(folder) == []
    assert spool.waiting() == 4
    spool.append(records("more"))
    spool.close()
    assert drain(folder) == ["mine", "more"]


def test_a_killed_process_s_file_is_delivered(folder):
    program = "spool.append([(b'from the dead', 1)])\nprint('there', flush=True)\nsys.stdin.read()"
    process = subprocess.Popen(
        python_command(program, str(folder)), cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "there\n"
    assert drain(folder) == []
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert drain(folder) == ["from the dead"]


def test_a_full_disk_rejects_a_record_and_preserves_earlier_records(folder):
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
    finished = subprocess.run(
        python_command(program, str(folder)), cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert finished.stdout.split("\n")[:-1] == ["100", "no 900", "300", "no 2000", "50"]
    assert [text[:3] for text in drain(folder) if text != "a" * 10] == ["100", "300", "505"]
    assert suffixes(folder) == []


@pytest.mark.parametrize("good", [0, 1], ids=["the file's", "the folder's"])
def test_an_append_that_fails_leaves_no_file(spool, folder, monkeypatch, good):
    """The sync of the file or of its folder fails."""

    def no_space(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    spool.append(records("kept"))
    spool.close()
    with monkeypatch.context() as patch:
        calls = iter([module.os.fsync] * good + [no_space])
        patch.setattr(module.os, "fsync", lambda descriptor: next(calls)(descriptor))
        with pytest.raises(OSError, match="No space"):
            spool.append(records("refused"))
    assert suffixes(folder) == [".spool"]
    assert drain(folder) == ["kept"]


def test_records_that_could_not_be_delivered_are_delivered_again(spool, folder):
    spool.append(records("one", "two"))
    spool.close()
    with pytest.raises(ZeroDivisionError):
        SpoolFiles(folder).drain(lambda batch: [next(batch), 1 / 0])
    assert drain(folder) == ["one", "two"]


def test_concurrent_consumers_deliver_each_record_once(spool, folder):
    for number in range(40):
        spool.append(records(str(number)))
        spool.close()
    with ThreadPoolExecutor(4) as pool:
        delivered = [name for names in pool.map(drain, [folder] * 4) for name in names]
    assert sorted(map(int, delivered)) == list(range(40))


def test_concurrent_appends_and_deliveries_lose_no_record(folder):
    """In particular, when a file exists and is not locked yet."""
    stop, delivered = threading.Event(), []

    def consume() -> None:
        while not stop.is_set():
            delivered.extend(drain(folder))

    consumers = [threading.Thread(target=consume) for _ in range(2)]
    for thread in consumers:
        thread.start()
    producer = SpoolFiles(folder)
    for number in range(150):
        producer.append(records(str(number)))
        producer.close()
    stop.set()
    for thread in consumers:
        thread.join()
    assert sorted(map(int, delivered + drain(folder))) == list(range(150))
