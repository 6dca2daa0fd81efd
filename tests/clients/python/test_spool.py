"""The spool: what was recorded survives its process, is sent by another one, and is stored once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from tally_client import QueueFull, Tally

from tests.clients.receiver import Answer, error
from tests.support.pace import slack
from tests.support.running import ROOT, wait_until

NOWHERE = "http://127.0.0.1:9"
SOURCES = str(ROOT / "clients" / "python" / "src")


def run(code: str, *arguments: object, expect: int = -signal.SIGKILL) -> str:
    """Run a program with the client; return what it prints. By default it must kill itself."""
    program = f"import os, signal, sys\nfrom tally_client import Tally\n{code}"
    command = [sys.executable, "-c", program, *map(str, arguments)]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": SOURCES}, capture_output=True, text=True)
    assert done.returncode == expect, done.stderr
    return done.stdout


def segments(spool: Path) -> list[Path]:
    found = [Path(folder, name) for folder, _, names in os.walk(spool) for name in names]  # also while some vanish
    return sorted(path for path in found if path.suffix == ".events")


RECORD_AND_DIE = """
tally = Tally(sys.argv[1], spool=sys.argv[2], fsync=sys.argv[3], batch_events=20, batch_seconds=60)
for number in range(50):
    tally.record("C", "P", "T", number)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("fsync", ["always", "interval", "never"])
def test_what_a_killed_process_recorded_is_sent_by_the_next_one(service, connect, tmp_path, fsync):
    run(RECORD_AND_DIE, NOWHERE, tmp_path / "spool", fsync)
    tally = connect(spool=tmp_path / "spool", fsync=fsync)
    assert tally.flush(slack(10))
    assert sorted(service.contexts()) == list(range(50))
    assert [len(request.events) for request in service.requests] == [20, 20, 10]
    tally.close()
    assert sorted(path.name for path in (tmp_path / "spool").iterdir()) == ["lock"]


def test_a_batch_whose_answer_was_lost_with_its_process_is_sent_again_under_the_same_key(service, connect, tmp_path):
    code = """
tally = Tally(sys.argv[1], spool=sys.argv[2])
tally.record("C", "P", "T", 1)
tally.flush(60)
"""
    service.script = lambda request: os.kill(process.pid, signal.SIGKILL)  # it is stored, and nobody learns of it
    program = f"import sys\nfrom tally_client import Tally\n{code}"
    command = [sys.executable, "-c", program, service.url, str(tmp_path)]
    process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": SOURCES})
    assert process.wait(slack(20)) == -signal.SIGKILL
    service.script = lambda request: None
    connect(spool=tmp_path)
    wait_until(lambda: len(service.requests) == 2 and not segments(tmp_path), 10)
    first, second = service.requests
    assert (first.key, first.events) == (second.key, second.events)


def test_an_event_that_was_torn_is_left_out_and_the_others_are_sent(service, connect, tmp_path):
    run(RECORD_AND_DIE, NOWHERE, tmp_path / "spool", "never")
    *_, last = segments(tmp_path / "spool")
    content = last.read_bytes()
    damaged = content[:30] + bytes([content[30] ^ 1]) + content[31:-5]
    last.write_bytes(damaged)
    with connect(spool=tmp_path / "spool", exit_seconds=slack(10)):
        pass  # a short program adopts them, too
    assert sorted(service.contexts()) == [*range(40), *range(41, 49)]


def test_a_batch_that_was_stored_before_its_end_was_lost_counts_as_stored(service, connect, tmp_path):
    """A power cut may shorten the file of a batch whose answer did not arrive. Its key is used already then."""
    tally = connect(spool=tmp_path)
    service.answers(error(422, "REQUEST_KEY_REUSED"))
    tally.record("C", "P", "T", 1)
    assert tally.flush(slack(10))
    assert tally.stats[:5] == (1, 1, 0, 0, 0)


def test_a_living_process_keeps_its_events_and_those_of_an_ended_one_are_taken_over(service, connect, tmp_path):
    down = connect(url=NOWHERE, spool=tmp_path)
    down.record("C", "P", "T", "living")
    run(RECORD_AND_DIE, NOWHERE, tmp_path, "never")
    up = connect(spool=tmp_path)
    wait_until(lambda: len(service.contexts()) == 50, 10)
    assert up.flush(slack(10))
    assert "living" not in service.contexts()
    down.close(0)
    other = connect(spool=tmp_path)
    wait_until(lambda: "living" in service.contexts(), 10)
    assert sorted(map(str, service.contexts())) == sorted(map(str, ["living", *range(50)]))
    other.close()


def test_of_two_processes_that_start_at_once_one_takes_over(service, connect, tmp_path):
    run(RECORD_AND_DIE, NOWHERE, tmp_path, "never")
    starting = threading.Barrier(4)

    def start(_: int) -> None:
        starting.wait()
        connect(spool=tmp_path)

    threads = [threading.Thread(target=start, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wait_until(lambda: not segments(tmp_path), 10)
    assert sorted(service.contexts()) == list(range(50))
    assert len(service.requests) == 3


def test_the_parts_of_a_divided_batch_survive_a_kill_and_are_stored_once(service, connect, tmp_path):
    code = """
tally = Tally(sys.argv[1], spool=sys.argv[2], batch_seconds=60)
for number in range(8):
    tally.record("C", "P", "T", number)
tally.flush(60)
"""
    killed = []

    def script(request):
        if len(request.events) > 2:
            return Answer(413, b"")
        if len(service.stored) == 2 and not killed:
            killed.append(os.kill(process.pid, signal.SIGKILL))
        return None

    service.script = script
    program = f"import sys\nfrom tally_client import Tally\n{code}"
    command = [sys.executable, "-c", program, service.url, str(tmp_path)]
    process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": SOURCES})
    assert process.wait(slack(20)) == -signal.SIGKILL
    connect(spool=tmp_path)
    wait_until(lambda: not segments(tmp_path), 10)
    assert sorted(service.contexts()) == list(range(8))


def test_a_batch_that_was_not_yet_replaced_by_its_parts_is_sent_as_a_whole(service, connect, tmp_path):
    """The state between the creation of the parts and the removal of the batch: nothing of the parts was sent."""
    run(RECORD_AND_DIE, NOWHERE, tmp_path, "never")
    first, *_ = segments(tmp_path)
    records = first.read_bytes().splitlines(keepends=True)
    first.with_name(f"{first.stem}-0.events").write_bytes(b"".join(records[:10]))
    connect(spool=tmp_path)
    wait_until(lambda: not segments(tmp_path), 10)
    assert sorted(service.contexts()) == list(range(50))


@pytest.mark.parametrize("spool", [False, True])
def test_a_forked_process_has_a_queue_and_a_thread_of_its_own(service, connect, tmp_path, spool):
    code = """
tally = Tally(sys.argv[1], spool=sys.argv[2] or None, batch_seconds=60)
tally.record("C", "P", "T", "before")
children = []
for number in range(3):
    child = os.fork()
    if child == 0:
        tally.record("C", "P", "T", f"child {number}")
        sys.exit()  # which sends it
    children.append(child)
for child in children:
    assert os.waitpid(child, 0)[1] == 0
tally.record("C", "P", "T", "after")
"""
    run(code, service.url, tmp_path if spool else "", expect=0)
    assert sorted(service.contexts()) == ["after", "before", "child 0", "child 1", "child 2"]
    assert len(service.requests) == 4
    assert not segments(tmp_path)


def test_the_events_of_a_parent_are_not_taken_over_while_it_lives_nor_lost_when_a_fork_outlives_it(
    service, connect, tmp_path
):
    code = """
tally = Tally(sys.argv[1], spool=sys.argv[2], batch_seconds=60)
tally.record("C", "P", "T", "parent")
if os.fork() == 0:
    sys.stdin.read()
    os._exit(0)
os.kill(os.getpid(), signal.SIGKILL)
"""
    program = f"import os, signal, sys\nfrom tally_client import Tally\n{code}"
    command = [sys.executable, "-c", program, NOWHERE, str(tmp_path)]
    with subprocess.Popen(command, env={**os.environ, "PYTHONPATH": SOURCES}, stdin=subprocess.PIPE) as process:
        assert process.wait(slack(20)) == -signal.SIGKILL
        connect(spool=tmp_path)  # while the child still lives, which has inherited the lock's descriptor
        wait_until(lambda: service.contexts() == ["parent"], 10)


def test_a_fork_waits_for_a_thread_that_holds_a_file_of_the_spool(tmp_path):
    """Otherwise the new process would inherit the held file, and nobody could hold it again."""
    code = """
import threading, time
from pathlib import Path
from tally_client.locks import locked, try_lock
path, is_held = Path(sys.argv[1]) / "lock", threading.Event()
def hold():
    with locked(path):
        is_held.set()
        time.sleep(0.1)
threading.Thread(target=hold).start()
is_held.wait()
child = os.fork()
if child == 0:
    signal.pause()
try_lock(path)
os.kill(child, signal.SIGKILL)
"""
    run(code, tmp_path, expect=0)


def test_the_end_of_a_program_sends_what_waits_within_exit_seconds(service, tmp_path):
    code = """
tally = Tally(sys.argv[1], batch_seconds=60)
tally.record("C", "P", "T", 1)
"""
    run(code, service.url, expect=0)
    assert service.contexts() == [1]
    run(code.replace("60", "60, exit_seconds=0.1"), NOWHERE, expect=0)


def test_an_event_recorded_at_the_very_end_is_sent_although_no_thread_can_start(service):
    code = """
import atexit, threading
tally = Tally(sys.argv[1], batch_seconds=60)
def refuse(thread):
    raise RuntimeError("can't start new thread at interpreter shutdown")  # as Python 3.12 and later
def late():
    threading.Thread.start = refuse
    tally.record("C", "P", "T", "late")
atexit.register(late)
"""
    run(code, service.url, expect=0)
    assert service.contexts() == ["late"]


def test_a_failing_disk_is_no_reason_to_lose_other_events(service, connect, tmp_path, monkeypatch):
    """A write that stopped in the middle is undone, so that what follows is intact."""
    tally = connect(spool=tmp_path, overflow="raise", batch_seconds=60)
    tally.record("C", "P", "T", 1)
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[: len(data) // 2]))
    with pytest.raises(QueueFull, match="the spool cannot be written: only .* bytes could be written"):
        tally.record("C", "P", "T", 2)
    monkeypatch.undo()
    tally.record("C", "P", "T", 3)
    assert tally.flush(slack(10))
    assert service.contexts() == [1, 3]


@pytest.mark.parametrize("spool", [False, True])
def test_a_signal_handler_may_record_while_its_thread_records(service, tmp_path, spool):
    code = """
tally = Tally(sys.argv[1], spool=sys.argv[2] or None, batch_events=3)
handled = []
def handle(*_):
    handled.append(tally.record("C", "P", "T", "handler"))
signal.signal(signal.SIGALRM, handle)
signal.setitimer(signal.ITIMER_REAL, 0.0002, 0.0002)
for _ in range(2000):
    tally.record("C", "P", "T", "main")
signal.setitimer(signal.ITIMER_REAL, 0)
tally.close(60)
print(len(handled), tally.stats.sent, tally.stats.waiting)
"""
    handled, sent, waiting = map(int, run(code, service.url, tmp_path if spool else "", expect=0).split())
    assert handled > 0
    assert (sent, waiting) == (2000 + handled, 0)
    assert service.contexts().count("handler") == handled


def test_a_sync_that_fails_does_not_end_the_thread(service, connect, tmp_path, monkeypatch):
    tally = connect(spool=tmp_path, fsync="always", batch_seconds=60)
    tally.record("C", "P", "T", 1)
    failures = iter([OSError("the disk fails")] * 2)
    sync = os.fsync

    def fail(descriptor):
        for failure in failures:
            raise failure
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", fail)
    assert tally.flush(slack(10))
    assert service.contexts() == [1]
    assert tally.stats.last_error == "OSError: the disk fails"


def test_only_folders_of_processes_are_adopted(service, connect, tmp_path):
    """A spool may be in a folder that has others."""
    other = tmp_path / "other"
    other.mkdir()
    for name in ("lock", "mine.events"):
        (other / name).write_text("")
    assert connect(spool=tmp_path).flush(slack(10))
    assert sorted(path.name for path in other.iterdir()) == ["lock", "mine.events"]


def test_with_always_each_event_is_synced_before_record_returns(service, connect, tmp_path, monkeypatch):
    tally = connect(url=NOWHERE, spool=tmp_path, fsync="always", batch_events=3)
    synced = []
    sync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(os.fstat(descriptor).st_size) or sync(descriptor))
    for number in range(7):
        synced.clear()
        tally.record("C", "P", "T", number)
        size = sum(path.stat().st_size for path in segments(tmp_path)[-1:])
        assert size in synced


def test_with_interval_waiting_events_are_synced_once(service, connect, tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(os.readlink(f"/proc/self/fd/{descriptor}")))
    tally = connect(url=NOWHERE, spool=tmp_path, batch_seconds=0.01)
    tally.record("C", "P", "T", 1)
    [path] = segments(tmp_path)
    wait_until(lambda: str(path) in synced, 10)
    tally.record("C", "P", "T", 2)
    wait_until(lambda: set(synced) >= {str(path) for path in segments(tmp_path)}, 10)
    assert tally.stats.waiting == 2


def test_a_spool_that_cannot_be_created_stops_the_start(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        Tally(NOWHERE, spool=tmp_path / "file" / "spool")
