"""Automatic backups: BACKUP_URL, BACKUP_EVERY and BACKUP_KEEP, the page System, and the backup before a migration."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.exceptions import BackupFailed
from app.services.operations import backup as backup_module
from app.services.operations.bootstrap import prepare
from app.store import database as store
from app.store.operations import transfer
from tests.admin.conftest import Visitor
from tests.support.client import Client

HOUR_MS = 3_600_000


@pytest.fixture
def settings(settings, tmp_path):
    """With automatic backups every six hours, of which two are kept."""
    for name, value in {"backup_url": str(tmp_path / "backups"), "backup_every": 6, "backup_keep": 2}.items():
        object.__setattr__(settings, name, value)
    return settings


@pytest.fixture
def clock(monkeypatch):
    """A clock that is set forward by hours."""
    offset = [0.0]
    real = backup_module.now
    monkeypatch.setattr(backup_module, "now", lambda: real() + int(offset[0] * HOUR_MS))

    def forward(hours: float) -> None:
        offset[0] += hours

    return forward


@pytest.fixture
def errors(monkeypatch) -> list[str]:
    """The lines of the log at level error."""
    lines: list[str] = []
    monkeypatch.setattr(backup_module.log, "error", lambda line, **details: lines.append(line))
    return lines


@pytest.fixture
def names(settings):
    return lambda: sorted(path.name for path in Path(settings.backup_url).glob("tally-*"))


def test_the_scheduler_makes_a_backup_when_one_is_due_and_keeps_the_newest(services, content, clock, names):
    services.scheduler.run_all()
    first = names()
    assert len(first) == 1
    services.scheduler.run_all()
    clock(5.9)
    services.scheduler.run_all()
    assert names() == first
    for _ in range(2):
        clock(6.1)
        services.scheduler.run_all()
    assert len(names()) == 2
    assert first[0] not in names()


def test_backups_dated_in_the_future_neither_stop_others_nor_outlast_them(services, content, clock, names):
    clock(40 * 24)
    services.scheduler.run_all()
    wrong = names()
    clock(-40 * 24)
    for number in (2, 2, 2):
        services.scheduler.run_all()
        assert len(names()) == number
        clock(6.1)
    assert wrong[0] not in names()


def test_a_failure_is_logged_and_tried_again_after_a_quarter_of_an_hour(
    services, content, clock, names, settings, errors
):
    Path(settings.backup_url).touch()
    services.scheduler.run_all()
    services.scheduler.run_all()
    assert errors == ["backup failed, it is tried again"]
    Path(settings.backup_url).unlink()
    clock(0.2)
    services.scheduler.run_all()
    assert names() == []
    clock(0.1)
    services.scheduler.run_all()
    assert len(names()) == 1


def test_a_backup_that_another_scheduler_makes_is_left_to_it(services, content, settings, names, errors):
    with transfer.snapshot(settings.database):
        services.scheduler.run_all()
    assert names() == []
    assert errors == []


@pytest.fixture
def see_system(app, content, uncached):
    """What an administrator sees on the page System now."""
    visitor = Visitor(app).sign_in("admin")
    return lambda: visitor.read("/admin/system")


def test_the_page_system_shows_the_last_backup_and_warns_when_it_is_old(app, see_system, services, clock, settings):
    assert "There is no backup in" in see_system()
    services.scheduler.run_all()
    page = see_system()
    assert "The latest was made" in page
    assert settings.backup_url in page
    assert "There is no backup in" not in page
    clock(13)
    assert "The last backup is 13 hours old, and BACKUP_EVERY is 6." in see_system()
    ready = Client(app, None).get("/health/ready").get_json()
    assert ready["checks"]["backup"].startswith("The last backup is 13 hours old")
    object.__setattr__(settings, "backup_url", "")
    assert "BACKUP_URL is empty" in see_system()


def test_a_start_backs_up_before_it_migrates(services, content, settings, names, monkeypatch):
    prepare(services, "correct horse")
    assert names() == []
    monkeypatch.setattr(store, "pending", lambda: ["0099_next"])
    prepare(services, "correct horse")
    assert len(names()) == 1
    assert services.verifier.backup(settings.backup_url).problems == []


def test_without_backup_url_that_backup_is_in_the_data_folder(services, content, settings, monkeypatch):
    object.__setattr__(settings, "backup_url", "")
    monkeypatch.setattr(store, "pending", lambda: ["0099_next"])
    prepare(services, "correct horse")
    assert len(list((settings.data_dir / "backups").glob("tally-*/manifest.json"))) == 1


def test_a_start_whose_backup_fails_does_not_migrate(services, content, settings, monkeypatch):
    Path(settings.backup_url).touch()
    monkeypatch.setattr(store, "pending", lambda: ["0099_next"])
    monkeypatch.setattr("app.services.operations.bootstrap.upgrade", lambda: pytest.fail("it was migrated"))
    with pytest.raises(BackupFailed, match=r"needs migrating \(0099_next\).+BACKUP_BEFORE_MIGRATION=off"):
        prepare(services, "correct horse")


def test_a_start_may_be_told_not_to_back_up(services, content, settings, names, monkeypatch):
    object.__setattr__(settings, "backup_before_migration", False)
    monkeypatch.setattr(store, "pending", lambda: ["0099_next"])
    prepare(services, "correct horse")
    assert names() == []


def test_the_very_first_start_has_nothing_to_back_up(services, settings, names, monkeypatch):
    monkeypatch.setattr(store, "pending", lambda: ["0001_initial"])
    prepare(services, "correct horse")
    assert names() == []


def test_db_upgrade_backs_up_before_it_migrates_and_says_where(services, content, settings, names, prints, monkeypatch):
    assert prints("db", "upgrade") == {"applied": [], "backup": None}
    assert names() == []
    monkeypatch.setattr(store, "pending", lambda: ["0099_next"])
    backup = prints("db", "upgrade")["backup"]
    assert [backup] == [f"{settings.backup_url}/{name}" for name in names()]
    assert services.verifier.backup(backup).problems == []


def test_db_upgrade_may_be_told_not_to_back_up(content, settings, names, succeeds, monkeypatch):
    monkeypatch.setattr(store, "pending", lambda: ["0099_next"])
    assert f"The backup from before is {settings.backup_url}/tally-" in succeeds("db", "upgrade")
    object.__setattr__(settings, "backup_before_migration", False)
    assert succeeds("db", "upgrade") == "The database is up to date.\n"
    assert len(names()) == 1


def test_db_upgrade_without_its_backup_does_not_migrate(services, content, settings, fails, monkeypatch):
    Path(settings.backup_url).touch()
    monkeypatch.setattr(store, "pending", lambda: ["0099_next"])
    monkeypatch.setattr("app.services.operations.bootstrap.upgrade", lambda: pytest.fail("it was migrated"))
    assert "BACKUP_BEFORE_MIGRATION=off" in fails("db", "upgrade")
