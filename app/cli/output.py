"""Shared by the commands: text or JSON on standard output, errors as a sentence and exit code 1."""

from __future__ import annotations

import functools
import io
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import ParamSpec, TypeVar

import click
import orjson
from flask import current_app
from flask.cli import with_appcontext

from app.exceptions import InputInvalid, TallyError
from app.ops.logs import printable, render_line
from app.services import Services

Arguments = ParamSpec("Arguments")
Row = TypeVar("Row")
SAVE = "Save it: it will not be shown again."
REFUSED = 3  # exit code if an event is rejected; 1 is a failure, 2 a usage error


def command(function: Callable[Arguments, None]) -> Callable[Arguments, None]:
    """Run a command as `with_sentences` does, and give it the option --json, `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(with_sentences(function))


def with_sentences(function: Callable[Arguments, None]) -> Callable[Arguments, None]:
    """Run a command in the application context, and print the application's errors as sentences."""

    @with_appcontext
    @functools.wraps(function)
    def run(*args: Arguments.args, **kwargs: Arguments.kwargs) -> None:
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="backslashreplace")  # an ASCII terminal must not make a command fail
        try:
            function(*args, **kwargs)
        except InputInvalid as error:
            details = "".join(f"\n  {one.message}" for one in error.field_errors)
            raise click.ClickException(f"{error}{details}") from None
        except TallyError as error:
            raise click.ClickException(str(error)) from None
        except UnicodeError:
            raise click.ClickException("The input is not valid UTF-8.") from None
        except PermissionError as error:
            raise click.ClickException(explain_permission(error)) from None

    return run


def explain_permission(error: PermissionError) -> str:
    """Return a sentence for a person who runs a command as another user than the service."""
    return f"There is no permission to use {error.filename}. Run the command as the user that runs Tally."


def services() -> Services:
    """Return the services of this process."""
    found: Services = current_app.extensions["services"]
    return found


def utc(milliseconds: int) -> str:
    """Return a time as text, to the minute."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")


def counted(number: int, what: str) -> str:
    """Return a number with what it counts, such as `2 events`."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def say(value: object, words: str, *, json: bool) -> None:
    """Print a result: `value` as JSON, or `words` without what a terminal would execute, since clients choose names."""
    click.echo(orjson.dumps(value).decode() if json else printable(words))


def say_line(sentence: str, *, err: bool = False) -> None:
    """Print a sentence in the format of log lines."""
    click.echo(render_line(sentence.encode()), nl=False, err=err)


def say_all(
    found: Sequence[Row], as_json: Callable[[Row], object], render: Callable[[Row], str], none: str, *, json: bool
) -> None:
    """Print rows: as a list of JSON, or a line each, or `none` if there are none."""
    say([as_json(one) for one in found], "\n".join(map(render, found)) or none, json=json)


def with_secret(first: str, secret: str, note: str = SAVE) -> str:
    """Return a line, and a secret that is shown only here with a note about it."""
    return f"{first}\n\n    {secret}\n\n{note}"
