"""Backups and moves: how many events a second are backed up, verified, restored and moved.

    python -m bench.backups [--short] [--only backup|move] [--json FILE]

Each figure is of the whole command, with everything that it compares, on a database whose events are scattered over
half a year. The service does not run meanwhile.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from app import create_app
from app.config import Settings
from app.services import Services
from app.store import database
from bench.report import Figure, Goal, command, progress, say
from bench.scattered_rows import Mixture
from bench.servers import Postgres, migrate, postgres, workspace

SHORT, LONG = 1_000_000, 10_000_000  # events
EVERY = 20
PIECES = ("backup", "move")
MOVE_GOAL = Goal(100_000)  # events a second


def run(short: bool, pieces: Sequence[str] = PIECES) -> list[Figure]:
    """Measure SQLite, PostgreSQL, and the move from one to the other."""
    mixture = Mixture(SHORT if short else LONG, EVERY)
    with workspace() as folder, postgres(folder) as server:
        figures: list[Figure] = []
        if "backup" in pieces:
            figures += _measure(folder, server, mixture)
        return figures + ([_move(folder, server, mixture)] if "move" in pieces else [])


def _move(folder: Path, server: Postgres, mixture: Mixture) -> Figure:
    url, target = f"sqlite:///{folder / 'moved.db'}", server.create("moved")
    _fill(url, mixture)
    with _installation(folder / "moved", url) as services:
        return _figure("move to PostgreSQL", mixture, lambda: services.move.run(target), MOVE_GOAL)


def _fill(url: str, mixture: Mixture) -> None:
    progress("filling …")
    migrate(url)
    mixture.fill(url)


def _measure(folder: Path, server: Postgres, mixture: Mixture) -> Iterator[Figure]:
    sources = {"SQLite": f"sqlite:///{folder / 'source.db'}", "PostgreSQL": server.create("source")}
    empty = {"SQLite": f"sqlite:///{folder / 'restored.db'}", "PostgreSQL": server.create("restored")}
    for name, url in sources.items():
        _fill(url, mixture)
        place = str(folder / f"backups-{name}")
        with _installation(folder / f"source-{name}", url) as services:
            yield _figure(f"{name}: backup", mixture, lambda one=services, to=place: one.backups.create(to))
            yield _figure(f"{name}: verify a backup", mixture, lambda one=services, of=place: one.verifier.backup(of))
            yield _figure(f"{name}: verify the database", mixture, services.verifier.database)
        with _installation(folder / f"restored-{name}", empty[name]) as services:
            yield _figure(f"{name}: restore", mixture, lambda one=services, of=place: one.restore.run(of))


@contextmanager
def _installation(folder: Path, url: str) -> Iterator[Services]:
    app = create_app(Settings(data_dir=folder, database_url=url))
    try:
        yield app.extensions["services"]
    finally:
        database.disconnect()


def _figure(name: str, mixture: Mixture, work: Callable[[], object], goal: Goal | None = None) -> Figure:
    progress(f"{name} …")
    began, used = time.monotonic(), time.process_time()
    work()
    seconds, processor = time.monotonic() - began, time.process_time() - used
    rate = mixture.total / seconds
    say(f"{name}: {rate:,.0f} events/s, {processor / mixture.total * 1e6:.1f} µs of this process's time each")
    return Figure(name, rate, "events/s", None, None, goal)


if __name__ == "__main__":
    command("bench.backups", __doc__ or "", run, PIECES)
