"""kill -9 at any moment of a backup, a restore or a move leaves nothing, or what the next run recognizes.

A child process kills itself before its first, second, third … step that changes a disk or a database, until it gets to
its end. Each time this process then looks at what is left.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from app.exceptions import BackupFailed, StoreUnavailable
from app.services import Services
from app.services.operations import move
from app.services.operations.archive import archive_names
from app.services.operations.bootstrap import prepare
from app.store import database as store
from app.store.operations import move_state, postgres_rows, sqlite_rows
from tests.backup.conftest import installation, rows
from tests.support.pace import times
from tests.support.rows import fill as fill_events

KILLED = -signal.SIGKILL
STEPS = (
    (os, "fsync"),
    (os, "truncate"),
    (Path, "rename"),
    (Path, "unlink"),
    (sqlite_rows.SqliteTarget, "_opened"),
    (sqlite_rows, "_copy"),
    (postgres_rows.PostgresTarget, "_run"),
    (postgres_rows.PostgresTarget, "_copy"),
    (postgres_rows.PostgresTarget, "fetch"),
    (postgres_rows.PostgresTarget, "_refuse_others"),
    (move_state, "begin"),
    (move_state, "finish"),
    (store, "upgrade"),
)


def run_until_step(number: int, work: Callable[[], object]) -> int:
    """Run in a child that is killed before a step, from 1 on, and after it if the step is the last; its exit code."""
    store.disconnect()
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    code = 1
    try:
        left = [number]
        for owner, name in STEPS:
            setattr(owner, name, _counted(getattr(owner, name), left))
        work()
        code = 0
    except BaseException:  # noqa: BLE001 - the child must not go on as another pytest
        traceback.print_exc(file=sys.__stderr__)
    finally:
        os._exit(code)


def _counted(step: Callable, left: list[int]) -> Callable:
    def counted(*args: object, **kwargs: object) -> object:
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return step(*args, **kwargs)

    return counted


def until_done(work: Callable[[], object], check: Callable[[], None], every: int = 1) -> int:
    """Kill a child before each step, or each so many, and check after each; return how many steps there were."""
    number = 1
    while (code := run_until_step(number, work)) != 0:
        assert code == KILLED
        check()
        number += every
        assert number < 1_000
    return number - 1


@pytest.fixture
def backup(services, content, tmp_path) -> str:
    return services.backups.create(str(tmp_path / "first"), with_files=True).address


@pytest.fixture
def second(backup, settings, tmp_path, redis_url, other_database) -> Iterator[Services]:
    """A restored installation, whose database no thread of this process has open."""
    kind = settings.database.partition(":")[0]
    with installation(tmp_path / "new", other_database(kind), redis_url) as (_, new):
        new.restore.run(backup)
        yield new


@pytest.mark.both_databases
def test_a_backup_is_whole_or_none(second, tmp_path):
    place = str(tmp_path / "backups")

    def check() -> None:
        for name in archive_names(second.backups.place(place))[0]:
            assert second.verifier.backup(f"{place}/{name}").problems == []

    steps = until_done(lambda: second.backups.create(place), check, times(23, 1))
    assert steps > 50  # each of its files has two
    check()
    complete, incomplete = archive_names(second.backups.place(place))
    assert complete
    assert incomplete
    assert not list((tmp_path / "other").glob("*.copy"))  # the last run removed what the killed ones left


@pytest.mark.both_databases
def test_a_restore_leaves_the_old_data_or_says_what_to_run_again(backup, second, tmp_path):
    url, marker = second.backups._settings.database, tmp_path / "new" / "restore-unfinished"
    complete = rows(url)
    second.accounts.add("later", "admin", None, "correct horse")
    before = rows(url)
    assert before != complete

    def check() -> None:
        if marker.exists():
            with pytest.raises(BackupFailed, match=f"A restore of {backup} was interrupted. Run it again"):
                prepare(second, "correct horse")
        else:
            assert rows(url) in (before, complete)

    assert until_done(lambda: second.restore.run(backup, replace=True), check, times(19, 1)) > 20
    assert not marker.exists()
    assert rows(url) == complete
    assert second.verifier.database().problems == []
    prepare(second, "correct horse")


def test_an_interrupted_restore_is_completed_without_replace(backup, second, tmp_path):
    (tmp_path / "new" / "restore-unfinished").write_text("anything")
    second.restore.run(backup)
    assert not (tmp_path / "new" / "restore-unfinished").exists()


def test_a_move_resumes_and_loses_and_doubles_nothing(backup, redis_url, tmp_path, other_database, monkeypatch):
    monkeypatch.setattr(move, "CHUNK_ROWS", 30)
    monkeypatch.setattr(sqlite_rows, "ROWS", 10)
    source, target = other_database("sqlite"), other_database("postgresql")
    with installation(tmp_path / "new", source, redis_url) as (_, new):
        new.restore.run(backup)
        fill_events(300)
        store.release()
        before = rows(source)

        def check() -> None:
            assert rows(source) == before
            if new.move.state():
                with pytest.raises(StoreUnavailable, match="moved"):
                    new.accounts.add("later", "admin", None, "correct horse")
            store.disconnect()

        def run() -> None:
            moved = new.move.run(target)
            Path(tmp_path / "resumed").write_text(str(moved.resumed))

        assert until_done(run, check, times(37, 1)) > 60
        assert int((tmp_path / "resumed").read_text()) > 0
        assert rows(target) == before
        assert new.move.state().finished_at
