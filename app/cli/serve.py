"""`flask serve`: everything in the foreground, as `make run` and the systemd unit start it."""

from __future__ import annotations

import os
import sys

import click
from flask import current_app
from flask.cli import with_appcontext

from app.cli.output import services
from app.exceptions import TallyError
from app.ops import preflight, supervise
from app.services import setup

OTHERS = 0o027  # what is written is the service's own: its group may read (a proxy that sends files), others nothing


@click.command("serve")
@with_appcontext
def serve() -> None:
    """Run everything in the foreground: web, worker, scheduler and, without REDIS_URL, a private Valkey."""
    settings = current_app.config["SETTINGS"]
    os.umask(OTHERS)
    try:
        lock = preflight.check(settings)
        if why := preflight.redis_away(settings):
            click.echo(f"Redis at REDIS_URL cannot be reached ({why}). Reports wait until it can.", err=True)
        welcome = _welcome(setup.prepare(services(), settings.admin_password).password)
        code = _run(lock, welcome)
    except TallyError as error:
        click.echo(str(error), err=True)
        code = 1
    sys.exit(code)


def _welcome(password: str | None) -> list[str]:
    if not password:
        return []
    return ["Sign in as", "    user:     admin", f"    password: {password}", "This password is shown only now."]


def _run(lock: int, welcome: list[str]) -> int:
    settings = current_app.config["SETTINGS"]

    def announce() -> None:
        click.echo(f"Tally is at {settings.base_url}/  Ctrl-C stops it.")
        while welcome:
            click.echo(welcome.pop(0))

    try:
        return supervise.run(settings, lock, announce)
    finally:
        for line in welcome:  # never ready, but the password exists, and nobody has seen it yet
            click.echo(line)
