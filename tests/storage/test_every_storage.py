"""What a report may rely on wherever its file lives: it is there whole, or not at all."""

from __future__ import annotations

import random
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from app.exceptions import FileMissing, StorageFailed
from app.storage import Storage

JOB = "0d3f5a52-7f6c-4d0a-9d5b-0c7f3b0a1e11"
KEY = f"{JOB}.0123456789abcdef.csv.gz"
PART = f"{JOB}.fedcba9876543210.part"
OTHER_JOB = "1d3f5a52-7f6c-4d0a-9d5b-0c7f3b0a1e11"
MIB = 1024 * 1024


def put(storage: Storage, key: str, data: bytes = b"data") -> None:
    upload = storage.create(key)
    upload.write(data)
    upload.commit()


def content(storage: Storage, key: str) -> bytes:
    with storage.open(key) as file:
        return file.read()


def names(storage: Storage) -> list[str]:
    return sorted(key for key, _ in storage.contents())


def is_there(storage: Storage, key: str) -> bool:
    return storage.size(key) is not None


def test_a_file_appears_when_it_is_committed_and_not_before(storage):
    upload = storage.create(KEY)
    upload.write(b"first ")
    assert not is_there(storage, KEY)
    upload.write(b"second")
    assert not is_there(storage, KEY)
    upload.commit()
    assert content(storage, KEY) == b"first second"
    assert storage.size(KEY) == 12


def test_a_file_may_be_empty(storage):
    put(storage, KEY, b"")
    assert (content(storage, KEY), storage.size(KEY)) == (b"", 0)


def test_a_file_of_many_writes_is_whole(storage):
    data = random.Random(1).randbytes(20 * MIB + 1)
    upload = storage.create(KEY)
    place = 0
    for size in (1, 7, 256 * 1024, 8 * MIB, 0, 8 * MIB + 3, len(data)):
        upload.write(data[place : place + size])
        place += size
    upload.commit()
    assert content(storage, KEY) == data
    assert storage.size(KEY) == len(data)


def test_a_file_is_read_in_blocks_of_any_size(storage):
    data = random.Random(2).randbytes(3 * MIB)
    put(storage, KEY, data)
    with storage.open(KEY) as file:
        assert file.read(5) == data[:5]
        assert file.read(2 * MIB) == data[5 : 2 * MIB + 5]
        assert b"".join(iter(lambda: file.read(1000), b"")) == data[2 * MIB + 5 :]
        assert file.read(1) == b""


def test_a_file_that_is_not_there_is_told_as_missing(storage):
    with pytest.raises(FileMissing):
        storage.open(KEY)
    assert storage.size(KEY) is None
    put(storage, KEY)
    with pytest.raises(FileMissing):
        storage.open(PART)


def test_an_aborted_file_leaves_nothing(storage):
    for data in (b"", b"little", bytes(9 * MIB)):
        upload = storage.create(KEY)
        upload.write(data)
        upload.abort()
        assert names(storage) == []
        assert not is_there(storage, KEY)


def test_an_abort_may_come_twice_and_after_the_end(storage):
    upload = storage.create(KEY)
    upload.abort()
    upload.abort()
    for data in (b"data", bytes(9 * MIB)):
        done = storage.create(KEY)
        done.write(data)
        done.commit()
        done.abort()
        assert content(storage, KEY) == data


def test_two_attempts_write_beside_each_other(storage):
    first, second = storage.create(KEY), storage.create(PART)
    first.write(b"first")
    second.write(b"second")
    second.commit()
    first.commit()
    assert (content(storage, KEY), content(storage, PART)) == (b"first", b"second")


def test_many_parts_are_written_at_once_by_threads(storage):
    keys = [f"{JOB}.{number:x}.part" for number in range(8)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda key: put(storage, key, key.encode() * 300_000), keys))
    assert names(storage) == sorted(keys)
    assert all(content(storage, key) == key.encode() * 300_000 for key in keys)


def test_a_removed_file_is_gone_and_may_be_removed_again(storage):
    put(storage, KEY)
    put(storage, PART)
    storage.discard(KEY)
    assert (names(storage), is_there(storage, KEY)) == ([PART], False)
    storage.discard(KEY)


def test_what_is_here_is_told_with_its_time_finished_or_not(storage):
    before = time.time() * 1000 - 1000  # of which S3 knows whole seconds
    put(storage, KEY)
    upload = storage.create(PART)
    upload.write(bytes(9 * MIB))
    settle(upload)
    assert names(storage) == [KEY, PART]
    assert all(before <= moment <= time.time() * 1000 + 1000 for key, moment in storage.contents() if key == KEY)
    upload.abort()


def test_what_is_here_of_one_report_is_told_alone(storage):
    put(storage, KEY)
    put(storage, f"{OTHER_JOB}.0123456789abcdef.csv")
    upload = storage.create(PART)
    upload.write(bytes(9 * MIB))
    settle(upload)
    assert sorted(key for key, _ in storage.contents(JOB)) == sorted([KEY, PART])
    assert [key for key, _ in storage.contents(OTHER_JOB)] == [f"{OTHER_JOB}.0123456789abcdef.csv"]
    assert list(storage.contents("00000000")) == []
    upload.abort()


def settle(upload: object) -> None:
    """A little more, so that what was begun in the background is surely under way."""
    upload.write(bytes(8 * MIB))


def test_what_a_dead_process_began_is_discarded(storage):
    put(storage, KEY)
    left = storage.create(PART)
    left.write(bytes(9 * MIB))
    settle(left)
    storage.discard(PART)
    assert names(storage) == [KEY]
    storage.discard(KEY)
    assert names(storage) == []


def test_the_discarded_upload_of_a_process_that_lives_does_not_come_back(storage):
    upload = storage.create(PART)
    upload.write(bytes(9 * MIB))
    settle(upload)
    storage.discard(PART)
    with pytest.raises(StorageFailed):
        upload.commit()
    upload.abort()
    assert names(storage) == []


def test_nothing_is_here_at_first(storage):
    assert names(storage) == []
    storage.discard(KEY)


FOREIGN = [
    "", ".", "..", "../../etc/passwd", f"../{KEY}", f"/{KEY}", f"{KEY}/x", f"x/{KEY}", f"{KEY}\n", f"{KEY}\0",
    KEY.replace("-", "/"), KEY.upper(), f".{KEY}.partial", KEY.replace(".csv", ".csv/../../x"), f"{KEY}.", "report.csv",
]  # fmt: skip


def test_a_key_that_the_service_did_not_make_is_refused(storage):
    for key in FOREIGN:
        for use in (storage.create, storage.open, storage.size, storage.discard, storage.path):
            with pytest.raises(ValueError, match="not a key of a report file"):
                use(key)
        with pytest.raises(ValueError, match="not a key of a report file"):
            storage.link(key, "report.csv", "text/csv", 60)
    assert names(storage) == []
