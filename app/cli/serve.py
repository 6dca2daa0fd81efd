"""`tally serve`: run everything in the foreground, as `make run` and the systemd unit do."""

from __future__ import annotations

import os
import sys

import click
from flask import current_app
from flask.cli import with_appcontext

from app.cli.output import explain_permission, say_line, services
from app.exceptions import TallyError
from app.ops import preflight, supervise
from app.services.operations import bootstrap


@click.command("serve")
@with_appcontext
def serve() -> None:
    """Run everything in the foreground: web, worker, scheduler and, without REDIS_URL, a private Valkey."""
    settings = current_app.config["SETTINGS"]
    os.umask(preflight.UMASK)
    try:
        lock = preflight.check(preflight.resolved(settings))
        if settings.redis_url and (problem := services().health.redis().problem):  # the private Valkey starts later
            say_line(f"REDIS_URL: {problem}", err=True)
        start, welcome = bootstrap.prepare(services(), settings.admin_password), []
        if start.is_first and start.password is None:  # its owner knows a configured password, and logs are stored
            welcome = [f"Sign in as the user {bootstrap.FIRST_USER} with the password that ADMIN_PASSWORD has."]
        elif start.is_first:
            welcome = ["Sign in as", f"    user:     {bootstrap.FIRST_USER}", f"    password: {start.password}"]
            welcome.append("Save it: it will not be shown again.")

        def announce() -> None:
            say_line(f"Tally is at {settings.base_url}/  Ctrl-C stops it.")
            while welcome:
                say_line(welcome.pop(0))

        try:
            code = supervise.run(preflight.resolved(settings), lock, announce)
        finally:
            for line in welcome:  # the service never became ready, but the password exists and nobody has seen it yet
                say_line(line)
    except (TallyError, PermissionError) as error:
        say_line(explain_permission(error) if isinstance(error, PermissionError) else str(error), err=True)
        code = 1
    sys.exit(code)
