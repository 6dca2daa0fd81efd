"""Commands of `tally …` and `flask --app wsgi …`, a module per noun.

They exit non-zero on failure and print JSON with --json.
"""

from __future__ import annotations

import click
from flask import Flask

from app.cli.alert import alert
from app.cli.backup import backup, restore, verify
from app.cli.catalog import catalog
from app.cli.channel import channel
from app.cli.db import db
from app.cli.events import events
from app.cli.key import key
from app.cli.move import move
from app.cli.reload import reload
from app.cli.reports import reports
from app.cli.scheduler import scheduler
from app.cli.serve import serve
from app.cli.settings import settings
from app.cli.token import token
from app.cli.user import user
from app.cli.webhook import webhook

COMMANDS: tuple[click.Command, ...] = (
    serve,
    reload,
    scheduler,
    db,
    user,
    token,
    key,
    catalog,
    channel,
    events,
    reports,
    alert,
    webhook,
    settings,
    backup,
    restore,
    verify,
    move,
)


def register(app: Flask) -> None:
    """Add the commands to `flask`."""
    for command in COMMANDS:
        app.cli.add_command(command)
