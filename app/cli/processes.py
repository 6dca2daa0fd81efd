"""`tally web`, `tally worker`, `tally scheduler`: one process of the service, for containers and separate machines.

Each first checks what it needs. It does not start if it could never work: without a migrated database, or without a
Redis that the other processes can reach. What may be away for a while is only named, because the process waits for it.
So is a setting that suits one machine only, if the database or Redis may be shared with others.
`tally bootstrap` prepares the database once, as `tally serve` does at each start.
"""

from __future__ import annotations

import click
from flask import current_app

from app.cli.output import command, say, say_line, services, with_secret, with_sentences
from app.cli.scheduler import scheduler as run_scheduler
from app.exceptions import DatabaseUnsuitable, SettingInvalid, StoreUnavailable
from app.ops import standalone
from app.ops.programs import WEB
from app.services.operations import bootstrap as bootstrapping
from app.store import database

WORKER, SCHEDULER = "worker", "scheduler"
NAMED = ("database", "redis", "storage", "disk", "spool")  # checks of the health service that concern every process

UNMIGRATED = "The database needs migrating ({first}). Run: tally bootstrap"
NO_REDIS_URL = (
    "REDIS_URL is not set, and no private Valkey runs with DATA_DIR {folder}. Set REDIS_URL to a Redis or Valkey that "
    "all processes reach, or run everything on this machine: tally serve"
)


@click.command()
@with_sentences
def web() -> None:
    """Run the web server alone: it accepts events, and serves the API and the dashboard."""
    _start(WEB)


@click.command()
@with_sentences
def worker() -> None:
    """Run a report worker alone, in any number, on any machine."""
    _start(WORKER)


@click.command()
@click.option("--once", is_flag=True, help="Run every task once and exit.")
@click.pass_context
@with_sentences
def scheduler(context: click.Context, once: bool) -> None:
    """Run the periodic tasks alone, in any number, on any machine."""
    _check(SCHEDULER)
    context.invoke(run_scheduler, once=once)


@click.command()
@command
def bootstrap(as_json: bool) -> None:
    """Migrate the database and, if it has no user yet, create the user admin. Run it before the separate processes.

    The password is ADMIN_PASSWORD, or a random one, which is printed once.
    """
    start = bootstrapping.prepare(services(), current_app.config["SETTINGS"].admin_password)
    words, user = "The database is up to date.", None
    if start.is_first:
        user = bootstrapping.FIRST_USER
        words += f"\nAdded the user {user}."
    if start.password:
        words = with_secret(words, start.password, "Save this password: it will not be shown again.")
    say({"user": user, "password": start.password}, words, json=as_json)


PROCESSES: tuple[click.Command, ...] = (bootstrap, web, worker, scheduler)


def _start(program: str) -> None:
    _check(program)
    settings = standalone.prepare(current_app.config["SETTINGS"], program)
    if program == WEB:
        say_line(f"Tally is at {settings.base_url}/", err=True)
    standalone.execute(settings, program)


def _check(program: str) -> None:
    """Name what is missing.

    Raises:
        SettingInvalid: a setting is missing without which the process could never work.
        StoreUnavailable: the database is missing, not migrated or newer.
        BackupFailed: a restore was interrupted.
    """
    settings = current_app.config["SETTINGS"]
    is_shared = not settings.database.startswith("sqlite")  # other machines may use the database
    services().restore.refuse_unfinished()
    if not settings.redis_url and services().health.redis().problem:
        raise SettingInvalid(NO_REDIS_URL.format(folder=settings.data_dir.absolute()))
    try:
        database.refuse_newer()
        if pending := database.pending():
            raise DatabaseUnsuitable(UNMIGRATED.format(first=pending[0]))
    except DatabaseUnsuitable:
        raise
    except StoreUnavailable:
        if not is_shared:
            raise
    finally:
        database.release()
    for one in services().health.checks():
        if one.problem and one.name in NAMED:
            say_line(f"{one.name}: {one.problem}", err=True)
    for sentence in standalone.one_machine_settings(settings):
        say_line(sentence, err=True)
