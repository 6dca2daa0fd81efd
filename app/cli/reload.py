"""`tally reload`: load new code into a running service without refusing a request."""

from __future__ import annotations

import importlib

import click
from flask import current_app

from app.cli.output import command, say, services
from app.ops import preflight
from app.ops import reload as reloading
from app.services.operations import bootstrap
from app.store.database import refuse_beside_older_code

WAIT_SECONDS = 900.0


@click.command("reload")
@click.option("--prepare", is_flag=True, hidden=True, help="What the launcher runs before it replaces its processes.")
@command
def reload(prepare: bool, as_json: bool) -> None:
    """Bring new code into a running service: migrate, then replace web processes, workers and scheduler in turn.

    No connection is refused. If the new code cannot run, the running processes continue.
    """
    settings = current_app.config["SETTINGS"]
    if not prepare:
        reloading.reload(settings, WAIT_SECONDS)
        say({"reloaded": True}, "Reloaded.", json=as_json)
        return
    preflight.private_folder(preflight.run_folder(settings))
    importlib.import_module("worker")
    refuse_beside_older_code()
    bootstrap.prepare(services(), settings.admin_password)
