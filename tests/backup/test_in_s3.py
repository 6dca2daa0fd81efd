"""Backups in an S3-compatible store."""

from __future__ import annotations

import pytest

from app.exceptions import BackupDamaged, BackupFailed, SettingInvalid, StorageFailed
from app.services.operations.archive import archive_names
from tests.backup.conftest import installation, rows
from tests.support.s3 import STORAGE

PLACE = f"s3://{STORAGE}/backups/ours"
EVENTS = "tables/event.tsv.zst"


@pytest.fixture
def database_url(sqlite_url) -> str:
    """SQLite: what differs is where the files are."""
    return sqlite_url


@pytest.fixture
def backup(s3, services, content) -> str:
    return services.backups.create(PLACE).address


def test_a_backup_in_s3_comes_back(s3, backup, services, settings, redis_url, tmp_path, other_database):
    assert backup.startswith(f"{PLACE}/tally-")
    assert services.verifier.backup(backup).problems == []
    url, before = other_database("sqlite"), rows(settings.database)
    with installation(tmp_path / "new", url, redis_url, **s3.settings) as (_, new):
        new.restore.run(PLACE)  # the newest one there
        assert rows(url) == before


@pytest.mark.parametrize("is_missing", [pytest.param(True, marks=pytest.mark.soak), False])
def test_a_damaged_object_is_named(s3, backup, services, is_missing):
    key = f"{backup.removeprefix(f's3://{STORAGE}/')}/{EVENTS}"
    if is_missing:
        s3.client.delete_object(Bucket=STORAGE, Key=key)
    else:
        s3.client.put_object(Bucket=STORAGE, Key=key, Body=s3.objects()[key][:-1])
    (problem,) = services.verifier.backup(backup).problems
    assert problem.startswith(f"{EVENTS}: ")
    with pytest.raises(BackupDamaged, match=f"^{EVENTS}: "):
        services.restore.run(backup, replace=True)


def test_without_its_manifest_it_is_no_backup(s3, backup, services):
    s3.client.delete_object(Bucket=STORAGE, Key=f"{backup.removeprefix(f's3://{STORAGE}/')}/manifest.json")
    with pytest.raises(BackupDamaged, match="not a complete backup"):
        services.verifier.backup(backup)
    with pytest.raises(BackupFailed, match="There is no backup in"):
        services.verifier.backup(PLACE)


def test_old_backups_are_removed_and_other_objects_are_not(s3, backup, services):
    s3.client.put_object(Bucket=STORAGE, Key="backups/other/tally-20200101T000000.000Z/manifest.json", Body=b"{}")
    s3.client.put_object(Bucket=STORAGE, Key="backups/ours/notes.txt", Body=b"mine")
    newest = services.backups.create(PLACE)
    assert services.backups.prune(PLACE, 1) == [backup.rpartition("/")[2]]
    assert archive_names(services.backups.place(PLACE)) == ([newest.address.rpartition("/")[2]], [])
    names = set(s3.objects())
    assert {"backups/other/tally-20200101T000000.000Z/manifest.json", "backups/ours/notes.txt"} < names
    assert not any(backup.rpartition("/")[2] in name for name in names)


def test_a_missing_bucket_is_named_and_nothing_is_left(s3, services, content):
    with pytest.raises(StorageFailed, match="no bucket nobody"):
        services.backups.create("s3://nobody/backups")


@pytest.mark.parametrize("place", ["ftp://host/folder", "s3://", "s3:///prefix", "s3://bucket/prefix?x=1"])
def test_a_place_that_is_none_is_refused(services, place):
    with pytest.raises(SettingInvalid, match="is not a place for backups"):
        services.backups.place(place)
