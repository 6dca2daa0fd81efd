"""`tally events`: the stored events, imports, erasure, a person's data, and rejected events."""

from __future__ import annotations

import click

from app.cli.erase_events import erase
from app.cli.follow_events import follow
from app.cli.import_events import import_file
from app.cli.list_events import count, list_events, show_event
from app.cli.personal_data import hand_over
from app.cli.rejected import rejected, resend


@click.group()
def events() -> None:
    """Events: list, show, count, follow, import from a file, erase, hand over; rejected events: rejected."""


for _command in (list_events, show_event, count, follow, import_file, erase, hand_over, rejected, resend):
    events.add_command(_command)
