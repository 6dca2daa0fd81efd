"""`tally`: every command of `flask --app wsgi`, and each process of the service as a command of its own.

Commands need the application only when they run, so help, the version and the completion of the shell also work where
the settings are invalid. Errors are one line on standard error: 1 is a failure, 2 a wrong call.
"""

from __future__ import annotations

import errno
import io
import os
import sys
from pathlib import Path
from typing import NoReturn

import click
from flask import Flask
from flask.cli import ScriptInfo

import app
from app.cli import COMMANDS
from app.cli.confirm import ask_before_loss
from app.cli.processes import PROCESSES
from app.cli.schedule import schedule
from app.exceptions import SettingInvalid
from app.ops import logs
from app.version import VERSION

EPILOG = "Settings are environment variables, or lines of a file .env in this folder; `tally settings list` shows them."
IMPORTING = ("serve", "web", "worker", "reload")  # they start programs whose first place to import from is this folder
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
MODULES = ("app", "app.py", "wsgi.py", "worker.py")  # another project's would be imported in place of Tally's


def main() -> NoReturn:
    """Run the command line, and exit with its code."""
    os.environ["FLASK_RUN_FROM_CLI"] = "true"  # as `flask` does: a command that only reads creates no key
    raw = getattr(sys.stdout, "buffer", None)
    if isinstance(raw, io.RawIOBase):  # with PYTHONUNBUFFERED, Python ignores that a full disk took only a part
        encoding, errors = sys.stdout.encoding, sys.stdout.errors
        sys.stdout = io.TextIOWrapper(io.BufferedWriter(raw), encoding, errors, write_through=True)
    try:
        code = tally.main(prog_name="tally", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        code = error.exit_code
    except click.ClickException as error:
        lines = [line.strip() for line in error.format_message().splitlines()]
        if isinstance(error, click.UsageError) and error.ctx:
            lines.append(f"See: {error.ctx.command_path} --help")
        click.echo(f"Error: {' '.join(filter(None, lines))}", err=True)
        code = error.exit_code
    except click.Abort:
        click.echo("Aborted.", err=True)
        code = 1
    except OSError as error:
        if error.errno not in FULL or error.filename:
            raise
        click.echo(f"Error: Cannot write the output: {error.strerror}.", err=True)
        os._exit(1)  # at a usual exit, Python would try to write the rest
    sys.exit(code)


def load_application() -> Flask:
    """Return the application without routes, which commands do not need."""
    try:
        return app.create_app(routes=False)
    except SettingInvalid as error:
        logs.exit_with(error)


@click.group(context_settings={"help_option_names": ["-h", "--help"]}, epilog=EPILOG)
@click.version_option(VERSION, message="tally %(version)s")
@click.pass_context
def tally(context: click.Context) -> None:
    """Tally records usage events and returns the raw events."""
    if context.invoked_subcommand in IMPORTING:
        found = next((name for name in MODULES if Path(name).exists()), None)
        if found and not Path(app.__file__).parents[1].samefile("."):
            message = f"This folder has {found} of another project. Start Tally in a folder of its own."
            raise click.ClickException(message)
    context.obj = ScriptInfo(create_app=load_application)
    ask_before_loss(context)


for _command in (*COMMANDS, *PROCESSES):
    tally.add_command(_command)
tally.add_command(schedule, "schedules")
