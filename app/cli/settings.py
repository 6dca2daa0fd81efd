"""`tally settings`: the settings that are in effect. They are changed in the environment or in a file `.env`."""

from __future__ import annotations

import click

from app.cli.output import command, say, say_all, services
from app.services.operations.system import Setting


@click.group()
def settings() -> None:
    """Settings: list, show. Change them in the environment or in the file .env of the working folder."""


@settings.command("list")
@click.option("--given", is_flag=True, help="Only those that the environment or .env sets.")
@command
def list_settings(given: bool, as_json: bool) -> None:
    """List the settings with their values. Passwords and keys are masked."""
    found = [one for one in services().system.settings() if one.is_given or not given]
    say_all(found, _as_json, _render, "The environment sets none.", json=as_json)


@settings.command()
@click.argument("name")
@command
def show(name: str, as_json: bool) -> None:
    """Show a setting by its NAME, such as DATABASE_URL."""
    found = next((one for one in services().system.settings() if one.name == name.upper()), None)
    if found is None:
        raise click.ClickException(f"There is no setting {name}. List them: tally settings list")
    say(_as_json(found), _render(found), json=as_json)


def _as_json(one: Setting) -> dict[str, object]:
    return {"name": one.name, "value": one.value or one.stands_for, "given": one.is_given}


def _render(one: Setting) -> str:
    return f"{one.name}={one.value or one.stands_for}{'' if one.is_given else '  (default)'}"
