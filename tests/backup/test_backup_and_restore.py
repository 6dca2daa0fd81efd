"""What is backed up while the service runs comes back, whole, into the same kind of database or the other."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path
from threading import Timer

import orjson
import psycopg
import pytest

from app.exceptions import BackupFailed, BackupRunning
from app.services import Services
from app.services.operations.archive import SETTINGS, archive_names, find_archive
from app.store import database as store
from app.store.backends import postgres
from app.store.models import Event, Report
from app.store.operations import postgres_rows, transfer
from tests.backup.conftest import SECRET, erase_last, installation, rows
from tests.support.client import Client, event

OTHER = {"sqlite": "postgresql", "postgresql": "sqlite"}


@pytest.fixture
def place(tmp_path) -> Path:
    return tmp_path / "backups"


@pytest.mark.parametrize("is_same_kind", [True, False], ids=["same", "other"])
@pytest.mark.both_databases
def test_every_row_comes_back_into_either_database(
    services, content, settings, place, other_database, redis_url, tmp_path, is_same_kind
):
    kind = settings.database.partition(":")[0]
    erase_last(services)  # its id must not be assigned again
    before = rows(settings.database)
    made = services.backups.create(str(place))
    url = other_database(kind if is_same_kind else OTHER[kind])
    with installation(tmp_path / "new", url, redis_url) as (app, new):
        done = new.restore.run(made.address)
        assert done.events == made.manifest.events == len(before["event"])
        assert rows(url) == before
        assert new.verifier.database().problems == []
        assert new.accounts.verify("anna", "correct horse").customers == ("BARCHART",)
        sent = Client(app, None).send(event(context=["after"]))
        assert Event.select(Event.id).order_by(Event.id.desc()).limit(1).scalar() > before["sequences"]["event"]
        assert sent[0]["context"] == ["after"]


def test_a_backup_has_what_was_committed_before_it_and_no_part_of_a_batch_that_came_meanwhile(
    app, services, content, settings, place, monkeypatch
):
    batch = [event(context=[str(number)]) for number in range(50)]
    lines = transfer.SqliteSource.lines if settings.database.startswith("sqlite") else transfer.PostgresSource.lines

    def lines_while_events_arrive(source, table, *args, **kwargs):
        Client(app, None).send(*batch)
        yield from lines(source, table, *args, **kwargs)

    before = services.ingest.count()
    monkeypatch.setattr(
        transfer.SqliteSource if settings.database.startswith("sqlite") else transfer.PostgresSource,
        "lines",
        lines_while_events_arrive,
    )
    made = services.backups.create(str(place))
    monkeypatch.undo()
    assert made.manifest.events == before
    assert services.ingest.count() > before
    assert services.verifier.backup(made.address).problems == []


def test_two_backups_at_once_are_refused(services, content, settings, place, monkeypatch):
    monkeypatch.setattr(postgres_rows, "CLOSING_SECONDS", 0.1)
    with transfer.snapshot(settings.database), pytest.raises(BackupRunning):
        services.backups.create(str(place))
    assert archive_names(services.backups.place(str(place))) == ([], [])  # nothing is left of it
    services.backups.create(str(place))


def test_connections_that_postgresql_is_still_closing_refuse_neither_a_restore_nor_a_backup(postgres_url):
    leaving = psycopg.connect(postgres_url, application_name="tally")
    Timer(0.2, leaving.close).start()
    transfer.target(postgres_url).close()
    assert leaving.closed
    leaving = postgres_rows.PostgresSource(postgres_url, locks=True)
    Timer(0.2, leaving.close).start()
    with transfer.snapshot(postgres_url) as source:
        assert source.tables()


def test_a_backup_can_be_made_while_an_index_is_created(postgres_url):
    with psycopg.connect(postgres_url) as indexing:
        indexing.execute("SELECT pg_advisory_xact_lock(%s)", (postgres.ITEM_INDEX,))
        with transfer.snapshot(postgres_url) as source:
            assert source.tables()


@pytest.fixture
def second(services, content, settings, place, other_database, redis_url, tmp_path) -> Iterator[Services]:
    """An installation with the same data, as a command sees it: no thread of this process has its database open."""
    url = other_database(settings.database.partition(":")[0])
    made = services.backups.create(str(tmp_path / "first"))
    with installation(tmp_path / "new", url, redis_url) as (_, new):
        new.restore.run(made.address)
        yield new


def test_nothing_is_restored_over_data_unless_asked_for(second, place):
    made = second.backups.create(str(place))
    second.accounts.add("later", "admin", None, "correct horse")
    with pytest.raises(BackupFailed, match=r"has data \(table account\).+--replace"):
        second.restore.run(made.address)
    assert second.accounts.verify("later", "correct horse")
    second.restore.run(made.address, replace=True)
    assert not second.accounts.verify("later", "correct horse")
    assert second.verifier.database().hash == made.manifest.hash


def test_the_newest_complete_backup_of_a_place_is_restored(second, place):
    second.backups.create(str(place))
    second.accounts.add("later", "admin", None, "correct horse")
    newest = second.backups.create(str(place))
    (place / "tally-29990101T000000.000Z").mkdir()  # a backup that has not ended
    second.restore.run(str(place), replace=True)
    assert second.accounts.verify("later", "correct horse")
    assert second.verifier.backup(str(place)).subject == newest.address


@pytest.mark.both_databases
def test_a_restore_is_refused_while_another_process_uses_the_database(services, content, settings, place, monkeypatch):
    monkeypatch.setattr(postgres_rows, "CLOSING_SECONDS", 0.1)
    made = services.backups.create(str(place))
    before = rows(settings.database)
    with pytest.raises(BackupFailed, match="Stop Tally"):  # the thread that writes events has a connection
        services.restore.run(made.address, replace=True)
    assert rows(settings.database) == before


def test_a_place_without_backups_is_named(services, tmp_path):
    with pytest.raises(BackupFailed, match="There is no backup in .+nothing"):
        services.restore.run(str(tmp_path / "nothing"))


def test_key_and_settings_are_in_it_and_only_their_owner_may_read_them(
    services, content, place, redis_url, tmp_path, monkeypatch, other_database
):
    monkeypatch.setenv("ADMIN_PASSWORD", "it's a \\ 'quoted' #word")
    made = services.backups.create(str(place))
    files = [path for path in Path(made.address).rglob("*") if path.is_file()]
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    assert stat.S_IMODE(Path(made.address).stat().st_mode) == 0o700
    settings = find_archive(services.backups.place(made.address), "").content(SETTINGS)
    assert b"ADMIN_PASSWORD='it\\'s a \\\\ \\'quoted\\' #word'\n" in settings
    with installation(tmp_path / "new", other_database("sqlite"), redis_url, secret_key="") as (_, new):
        done = new.restore.run(made.address)
        assert (tmp_path / "new" / "secret.key").read_text() == "a secret for the tests"
        assert stat.S_IMODE((tmp_path / "new" / "secret.key").stat().st_mode) == 0o600
        assert (tmp_path / "new" / "settings.restored.env").read_bytes() == settings
        assert "settings.restored.env" in done.notes[0]


def test_another_key_in_the_environment_is_told(services, content, place, redis_url, tmp_path, other_database):
    made = services.backups.create(str(place))
    with installation(tmp_path / "new", other_database("sqlite"), redis_url) as (_, new):
        assert "SECRET_KEY differs" in new.restore.run(made.address).notes[0]
    assert (tmp_path / "new" / "secret.key.restored").read_text() == "a secret for the tests"
    assert SECRET != "a secret for the tests"


@pytest.fixture
def finished(services, content) -> Report:
    """A report whose file is there."""
    report = Report.select().first()
    services.runner.run(report.job)
    store.release()
    return Report.get(Report.job == report.job)


@pytest.mark.parametrize("with_files", [True, False])
def test_report_files_are_in_it_if_asked_for_and_otherwise_have_expired(
    services, finished, settings, place, redis_url, tmp_path, other_database, with_files
):
    made = services.backups.create(str(place), with_files=with_files)
    with installation(tmp_path / "new", other_database("sqlite"), redis_url) as (app, new):
        done = new.restore.run(made.address)
        assert (done.reports, done.expired) == ((1, 0) if with_files else (0, 1))
        admin = Client(app, ("admin", "correct horse"))
        answer = admin.get(f"/reports/JOB-{finished.job}", headers={"Accept": "text/csv"})
        assert answer.status_code == (302 if with_files else 410)
        assert new.verifier.database(read_files=True).problems == []
    if with_files:
        copies = [(tmp_path / name / "reports" / finished.file).read_bytes() for name in ("var", "new")]
        assert copies[0] == copies[1]


def test_a_backup_of_a_newer_version_is_refused_by_name(services, content, place, monkeypatch):
    made = services.backups.create(str(place))
    monkeypatch.setattr(transfer, "known_migrations", lambda: set())
    with pytest.raises(BackupFailed, match="newer version of Tally .+ has the migration 0"):
        services.restore.run(made.address, replace=True)


def test_an_older_backup_is_migrated_after_its_restore(second, place, monkeypatch):
    made = second.backups.create(str(place))
    upgraded = []
    monkeypatch.setattr(store, "upgrade", lambda: upgraded.append(True))
    second.restore.run(made.address, replace=True)
    assert upgraded == [True]


def test_the_manifest_says_what_is_in_it(services, content, place):
    made = services.backups.create(str(place))
    manifest = orjson.loads((Path(made.address) / "manifest.json").read_bytes())
    assert manifest["events"] == services.ingest.count()
    assert manifest["tables"]["account"]["rows"] == 2
    assert manifest["migrations"] == [name for name, _ in store.migrations()]
    assert set(manifest["files"]) == {
        path.relative_to(made.address).as_posix() for path in Path(made.address).rglob("*.zst")
    }
    assert "session" not in manifest["tables"]


def test_only_so_many_backups_are_kept_and_old_remains_are_removed(services, content, place):
    made = [services.backups.create(str(place)) for _ in range(4)]
    for name in ("tally-20200101T000000.000Z", "tally-29990101T000000.000Z"):
        (place / name / "tables").mkdir(parents=True)
        (place / name / "tables" / "event.tsv.zst.partial").touch()
    services.backups.prune(str(place), 2)
    left = sorted(path.name for path in place.iterdir())
    assert left == [*(Path(one.address).name for one in made[2:]), "tally-29990101T000000.000Z"]
