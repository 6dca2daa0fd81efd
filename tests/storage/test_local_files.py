"""Report files on disk are synced before they get their names, and a full disk is reported."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from app.exceptions import StorageFailed
from app.storage import open_storage
from app.storage.local import LocalStorage
from tests.storage.test_every_storage import KEY, PART, content, names, put


@pytest.fixture
def storage(local_storage) -> LocalStorage:
    return local_storage


def fail(*arguments: object, **named: object) -> None:
    raise OSError(28, "No space left on device")


def test_a_committed_file_has_a_path_and_no_link(storage, tmp_path):
    assert storage.path(KEY) is None
    put(storage, KEY)
    assert storage.path(KEY) == tmp_path / "reports" / KEY
    assert storage.link(KEY, "report.csv", "text/csv", 60) is None


def test_a_file_is_synced_before_it_is_renamed_and_its_folder_after_it(storage, monkeypatch):
    put(storage, PART)  # creates the folder
    calls = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda fd: calls.append("folder" if is_folder(fd) else "file") or fsync(fd))
    monkeypatch.setattr(os, "rename", lambda *names: calls.append("name") or replace(*names))
    monkeypatch.setattr(os, "replace", lambda *names: calls.append("name") or replace(*names))
    put(storage, KEY)
    assert calls == ["file", "name", "folder"]


def test_the_parents_of_a_new_folder_are_synced(tmp_path, monkeypatch):
    synced, fsync = [], os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append(os.readlink(f"/proc/self/fd/{fd}")) or fsync(fd))
    LocalStorage(tmp_path / "deep" / "reports").create(KEY)
    assert synced == [str(tmp_path), str(tmp_path / "deep")]


def is_folder(descriptor: int) -> bool:
    return os.path.isdir(f"/proc/self/fd/{descriptor}")


def test_an_abort_after_a_failed_commit_leaves_nothing(storage, tmp_path, monkeypatch):
    upload = storage.create(KEY)
    upload.write(b"data")
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(StorageFailed, match=r"^The disk that report files are written to is full\.$"):
        upload.commit()
    upload.abort()
    assert list((tmp_path / "reports").iterdir()) == []


def test_an_abort_that_fails_raises_nothing_and_leaves_the_file_to_cleanup(storage, monkeypatch):
    upload = storage.create(KEY)
    with monkeypatch.context() as broken:
        broken.setattr(Path, "unlink", fail)
        upload.abort()
    assert names(storage) == [KEY]
    storage.discard(KEY)
    assert names(storage) == []


def test_a_write_is_complete_although_the_system_writes_less_at_a_time(storage):
    upload = storage.create(KEY)
    file = upload._file

    class PartialWriter:
        """File that writes seven bytes at a time, as a nearly full pipe or disk may."""

        def write(self, data: memoryview) -> int:
            return file.write(data[:7])

        def __getattr__(self, name: str) -> object:
            return getattr(file, name)

    upload._file = PartialWriter()
    upload.write(bytes(range(256)))
    upload.commit()
    assert content(storage, KEY) == bytes(range(256))


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk takes root")
def test_a_full_disk_is_reported_and_no_partial_file_remains(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)], check=True)
    try:
        storage = LocalStorage(disk / "reports")
        put(storage, PART)
        upload = storage.create(KEY)
        with pytest.raises(StorageFailed, match=r"^The disk that report files are written to is full\.$"):
            for _ in range(12):
                upload.write(bytes(256 * 1024))
        upload.abort()
        assert names(storage) == [PART]
        put(storage, KEY, bytes(1024 * 1024))
        assert storage.size(KEY) == 1024 * 1024
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def test_an_unusable_folder_is_reported(tmp_path):
    (tmp_path / "reports").write_text("a file, not a folder")
    storage = LocalStorage(tmp_path / "reports")
    with pytest.raises(StorageFailed, match=r"^The folder of report files cannot be used: .+\.$"):
        storage.create(KEY)


def test_an_error_while_reading_is_reported(storage, tmp_path):
    (tmp_path / "reports" / KEY).mkdir(parents=True)
    with pytest.raises(StorageFailed, match=r"^The folder of report files cannot be used: Is a directory\.$"):
        storage.open(KEY)
    put(storage, PART)
    with storage.open(PART) as file, open("/dev/null", "wb") as unreadable:
        os.dup2(unreadable.fileno(), file.fileno())
        with pytest.raises(StorageFailed, match="Bad file descriptor"):
            file.read()


def test_a_folder_with_a_file_s_name_is_not_a_file(storage, tmp_path):
    (tmp_path / "reports" / KEY).mkdir(parents=True)
    assert storage.path(KEY) is None
    assert storage.size(KEY) is None


def test_other_files_are_not_listed(storage, tmp_path):
    put(storage, KEY)
    for name in ("notes.txt", f"{KEY}.1", f".{KEY}", "x.csv"):
        (tmp_path / "reports" / name).write_text("somebody else's")
    assert names(storage) == [KEY]


def test_a_file_removed_during_listing_is_skipped(storage):
    for key in (KEY, PART):
        put(storage, key)
    contents = storage.contents()
    first, _ = next(contents)
    storage.discard(KEY if first == PART else PART)
    assert list(contents) == []


def test_an_unfinished_file_has_the_time_of_its_last_write(storage, tmp_path):
    upload = storage.create(KEY)
    os.utime(tmp_path / "reports" / f".{KEY}.partial", (7, 7.5))
    assert list(storage.contents()) == [(KEY, 7500)]
    upload.write(b"more")
    [(_, moment)] = storage.contents()
    assert abs(moment - time.time() * 1000) < 5000


def test_no_folder_is_created_before_the_first_file(tmp_path):
    LocalStorage(tmp_path / "reports")
    assert list(tmp_path.iterdir()) == []


def test_a_storage_is_opened_by_its_folder_s_url(tmp_path):
    storage = open_storage(f"file://{tmp_path}/with%20space")
    put(storage, KEY)
    assert (tmp_path / "with space" / KEY).exists()
