"""A backup that is not as it was written is recognized, and the damaged file is named; nothing of it is restored."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from app.exceptions import BackupDamaged, BackupFailed, StorageFailed
from tests.backup.conftest import rows

EVENTS = "tables/event.tsv.zst"


@pytest.fixture
def database_url(sqlite_url) -> str:
    """SQLite: what is damaged are files."""
    return sqlite_url


@pytest.fixture
def backup(services, content, tmp_path) -> Path:
    return Path(services.backups.create(str(tmp_path / "backups")).address)


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def swap(path: Path) -> None:
    """Put another whole file in its place."""
    path.write_bytes((path.parent / "account.tsv.zst").read_bytes())


DAMAGES = [
    (truncate, "bytes instead of"),
    (flip, "damaged|differs"),
    (swap, "bytes instead of"),
    (Path.unlink, "missing"),
]


@pytest.mark.parametrize(("damage", "said"), DAMAGES, ids=lambda value: getattr(value, "__name__", ""))
def test_a_damaged_file_is_named_and_nothing_is_restored(services, backup, settings, damage, said):
    damage(backup / EVENTS)
    before = rows(settings.database)
    problems = services.verifier.backup(str(backup)).problems
    assert len(problems) == 1
    with pytest.raises(BackupDamaged, match=rf"^{EVENTS}: .*({said})"):
        raise BackupDamaged(problems[0])
    with pytest.raises(BackupDamaged, match=rf"^{EVENTS}: .*({said})"):
        services.restore.run(str(backup), replace=True)
    assert rows(settings.database) == before
    assert [path.name for path in Path(settings.database.removeprefix("sqlite:///")).parent.glob("*.incoming*")] == []
    assert not (settings.data_dir / "restore-unfinished").exists()


@pytest.mark.parametrize("name", ["secret.key.zst", "settings.env.zst", "days.tsv.zst", "tables/account.tsv.zst"])
def test_each_file_counts(services, backup, settings, name):
    flip(backup / name)
    assert [problem.partition(":")[0] for problem in services.verifier.backup(str(backup)).problems] == [name]
    with pytest.raises(BackupDamaged, match=f"^{name}: "):
        services.restore.run(str(backup), replace=True)
    assert services.accounts.verify("anna", "correct horse")


def test_all_damaged_files_are_named_at_once(services, backup):
    for name in ("secret.key.zst", EVENTS):
        truncate(backup / name)
    problems = services.verifier.backup(str(backup)).problems
    assert sorted(problem.partition(":")[0] for problem in problems) == ["secret.key.zst", EVENTS]


@pytest.mark.parametrize("damage", [truncate, flip])
def test_a_damaged_manifest_is_named(services, backup, damage):
    damage(backup / "manifest.json")
    with pytest.raises(BackupDamaged, match=r"^manifest\.json: its (content is damaged|checksum differs)"):
        services.verifier.backup(str(backup))


def test_without_its_manifest_it_is_no_backup(services, backup):
    (backup / "manifest.json").unlink()
    with pytest.raises(BackupDamaged, match="has no manifest.json, so it is not a complete backup"):
        services.restore.run(str(backup), replace=True)
    with pytest.raises(BackupFailed, match="There is no backup in"):
        services.restore.run(str(backup.parent), replace=True)


def test_a_backup_that_cannot_be_written_leaves_nothing(services, content, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StorageFailed, match=r"The folder of backups cannot be used: .+file"):
        services.backups.create(str(tmp_path / "file"))


def test_a_backup_that_fails_half_way_is_removed(services, content, tmp_path, monkeypatch):
    def fail(*args: object) -> None:
        raise StorageFailed("The disk is full.")

    monkeypatch.setattr("app.storage.archives.LocalArchiveUpload.commit", fail)
    with pytest.raises(StorageFailed):
        services.backups.create(str(tmp_path / "backups"))
    assert list((tmp_path / "backups").iterdir()) == []
