"""In every kind of storage, a report file exists completely or not at all."""

from __future__ import annotations

import random
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from app.exceptions import FileMissing, StorageFailed
from app.storage import Storage
from tests.support.pace import times

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


def exists(storage: Storage, key: str) -> bool:
    return storage.size(key) is not None


def test_a_file_appears_only_when_it_is_committed(storage):
    upload = storage.create(KEY)
    upload.write(b"first ")
    assert not exists(storage, KEY)
    upload.write(b"second")
    assert not exists(storage, KEY)
    upload.commit()
    assert content(storage, KEY) == b"first second"
    assert storage.size(KEY) == 12


def test_a_file_may_be_empty(storage):
    put(storage, KEY, b"")
    assert (content(storage, KEY), storage.size(KEY)) == (b"", 0)


def test_a_file_of_many_writes_is_complete(storage):
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


def test_a_missing_file_is_reported_as_missing(storage):
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
        assert not exists(storage, KEY)


def test_an_abort_may_be_repeated_and_has_no_effect_after_a_commit(storage):
    upload = storage.create(KEY)
    upload.abort()
    upload.abort()
    for data in (b"data", bytes(9 * MIB)):
        committed = storage.create(KEY)
        committed.write(data)
        committed.commit()
        committed.abort()
        assert content(storage, KEY) == data


def test_two_attempts_write_independently(storage):
    first, second = storage.create(KEY), storage.create(PART)
    first.write(b"first")
    second.write(b"second")
    second.commit()
    first.commit()
    assert (content(storage, KEY), content(storage, PART)) == (b"first", b"second")


def test_threads_write_many_parts_concurrently(storage):
    keys = [f"{JOB}.{number:x}.part" for number in range(times(6, 20))]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda key: put(storage, key, key.encode() * 220_000), keys))
    assert names(storage) == sorted(keys)
    assert all(content(storage, key) == key.encode() * 220_000 for key in keys)


def test_a_removed_file_is_missing_and_may_be_removed_again(storage):
    put(storage, KEY)
    put(storage, PART)
    storage.discard(KEY)
    assert (names(storage), exists(storage, KEY)) == ([PART], False)
    storage.discard(KEY)


def test_contents_include_unfinished_files_and_have_times(storage):
    before = time.time() * 1000 - 1000  # S3 has times in whole seconds
    put(storage, KEY)
    upload = storage.create(PART)
    upload.write(bytes(9 * MIB))
    write_more(upload)
    assert names(storage) == [KEY, PART]
    assert all(before <= moment <= time.time() * 1000 + 1000 for key, moment in storage.contents() if key == KEY)
    upload.abort()


def test_contents_can_be_limited_to_one_report(storage):
    put(storage, KEY)
    put(storage, f"{OTHER_JOB}.0123456789abcdef.csv")
    upload = storage.create(PART)
    upload.write(bytes(9 * MIB))
    write_more(upload)
    assert sorted(key for key, _ in storage.contents(JOB)) == sorted([KEY, PART])
    assert [key for key, _ in storage.contents(OTHER_JOB)] == [f"{OTHER_JOB}.0123456789abcdef.csv"]
    assert list(storage.contents("00000000")) == []
    upload.abort()


def write_more(upload: object) -> None:
    """Write more, so that the background upload of the earlier data has surely begun."""
    upload.write(bytes(8 * MIB))


def test_an_unfinished_file_of_a_dead_process_is_discarded(storage):
    put(storage, KEY)
    unfinished = storage.create(PART)
    unfinished.write(bytes(9 * MIB))
    write_more(unfinished)
    storage.discard(PART)
    assert names(storage) == [KEY]
    storage.discard(KEY)
    assert names(storage) == []


def test_an_upload_that_was_discarded_cannot_be_committed(storage):
    upload = storage.create(PART)
    upload.write(bytes(9 * MIB))
    write_more(upload)
    storage.discard(PART)
    with pytest.raises(StorageFailed):
        upload.commit()
    upload.abort()
    assert names(storage) == []


def test_a_new_storage_is_empty(storage):
    assert names(storage) == []
    storage.discard(KEY)


FOREIGN = [
    "", ".", "..", "../../etc/passwd", f"../{KEY}", f"/{KEY}", f"{KEY}/x", f"x/{KEY}", f"{KEY}\n", f"{KEY}\0",
    KEY.replace("-", "/"), KEY.upper(), f".{KEY}.partial", KEY.replace(".csv", ".csv/../../x"), f"{KEY}.", "report.csv",
]  # fmt: skip


def test_a_key_that_is_not_a_report_file_s_is_rejected(storage):
    for key in FOREIGN:
        for operation in (storage.create, storage.open, storage.size, storage.discard, storage.path):
            with pytest.raises(ValueError, match="not a key of a report file"):
                operation(key)
        with pytest.raises(ValueError, match="not a key of a report file"):
            storage.link(key, "report.csv", "text/csv", 60)
    assert names(storage) == []
