"""A report file is there whole, or not at all; and nobody names another file than a report's."""

from __future__ import annotations

import os

import pytest

from app.storage import open_storage
from app.storage.local import LocalStorage

KEY = "0d3f5a52-7f6c-4d0a-9d5b-0c7f3b0a1e11.0123456789abcdef.csv"


@pytest.fixture
def storage(tmp_path) -> LocalStorage:
    return LocalStorage(tmp_path / "reports")


def test_a_file_appears_when_it_is_committed_and_not_before(storage):
    upload = storage.create(KEY)
    upload.write(b"first ")
    assert storage.path(KEY) is None
    upload.write(b"second")
    assert storage.path(KEY) is None
    upload.commit()
    assert storage.path(KEY).read_bytes() == b"first second"


def test_a_file_is_on_disk_before_it_has_its_name_and_its_name_is_on_disk_too(storage, monkeypatch):
    done = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda fd: done.append("folder" if is_folder(fd) else "file") or fsync(fd))
    monkeypatch.setattr(os, "rename", lambda *names: done.append("name") or replace(*names))
    monkeypatch.setattr(os, "replace", lambda *names: done.append("name") or replace(*names))
    upload = storage.create(KEY)
    upload.write(b"data")
    upload.commit()
    assert done == ["file", "name", "folder"]


def is_folder(descriptor: int) -> bool:
    return os.path.isdir(f"/proc/self/fd/{descriptor}")


def test_an_aborted_file_leaves_nothing(storage, tmp_path):
    upload = storage.create(KEY)
    upload.write(b"data")
    upload.abort()
    assert list((tmp_path / "reports").iterdir()) == []


def test_a_commit_that_fails_leaves_nothing_after_the_abort(storage, tmp_path, monkeypatch):
    upload = storage.create(KEY)
    upload.write(b"data")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        upload.commit()
    upload.abort()
    assert list((tmp_path / "reports").iterdir()) == []


def test_an_abort_may_come_twice_and_after_the_end(storage):
    upload = storage.create(KEY)
    upload.abort()
    upload.abort()
    done = storage.create(KEY)
    done.commit()
    done.abort()
    assert storage.path(KEY) is not None


def test_two_attempts_write_beside_each_other(storage):
    other = KEY.replace("0123456789abcdef", "fedcba9876543210")
    first, second = storage.create(KEY), storage.create(other)
    first.write(b"first")
    second.write(b"second")
    second.commit()
    first.commit()
    assert (storage.path(KEY).read_bytes(), storage.path(other).read_bytes()) == (b"first", b"second")


def test_a_write_is_whole_although_the_system_may_take_less(storage, monkeypatch):
    upload = storage.create(KEY)
    file = upload._file

    class Slow:
        """Takes seven bytes at a time, as a nearly full pipe or disk may."""

        def write(self, data: memoryview) -> int:
            return file.write(data[:7])

        def __getattr__(self, name: str) -> object:
            return getattr(file, name)

    upload._file = Slow()
    upload.write(bytes(range(256)))
    upload.commit()
    assert storage.path(KEY).read_bytes() == bytes(range(256))


def test_a_removed_file_is_gone_and_may_be_removed_again(storage):
    storage.create(KEY).commit()
    storage.delete(KEY)
    assert storage.path(KEY) is None
    storage.delete(KEY)


def test_a_folder_of_that_name_is_no_file(storage, tmp_path):
    (tmp_path / "reports" / KEY).mkdir(parents=True)
    assert storage.path(KEY) is None


@pytest.mark.parametrize(
    "key",
    [
        "", ".", "..", "../../etc/passwd", f"../{KEY}", f"/{KEY}", f"{KEY}/x", f"x/{KEY}", f"{KEY}\n", f"{KEY}\0",
        KEY.replace("-", "/"), KEY.upper(), f".{KEY}.partial", KEY.replace(".csv", ".csv/../../x"), "report.csv",
    ],
)  # fmt: skip
def test_a_key_that_the_service_did_not_make_is_refused(storage, key, tmp_path):
    for use in (storage.create, storage.path, storage.delete):
        with pytest.raises(ValueError, match="not a key of a report file"):
            use(key)
    assert not any((tmp_path / "reports").glob("*"))


def test_nothing_is_written_before_the_first_file(tmp_path):
    LocalStorage(tmp_path / "reports")
    assert list(tmp_path.iterdir()) == []


def test_a_storage_is_named_by_its_folder_s_url(tmp_path):
    storage = open_storage(f"file://{tmp_path}/with%20space")
    storage.create(KEY).commit()
    assert (tmp_path / "with space" / KEY).exists()
