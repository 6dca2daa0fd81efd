"""Questions before a command destroys something, under `tally` only: scripts that call `flask` are not asked."""

from __future__ import annotations

import sys

import click

_ASKS = f"{__name__}.asks"  # in the context's meta, which the contexts below share

yes_option = click.option("--yes", is_flag=True, help="Do not ask.")


def ask_before_loss(context: click.Context) -> None:
    """Make the commands below a context ask before they destroy something."""
    context.meta[_ASKS] = True


def can_ask() -> bool:
    """Return whether the command may ask a question that has a harmless answer without a terminal."""
    return bool(click.get_current_context().meta.get(_ASKS)) and sys.stdin.isatty()


def confirm(question: str, *, yes: bool) -> None:
    """Ask whether to continue, unless `yes` is set or the command runs under `flask`.

    Raises:
        click.ClickException: the answer is no, or there is no answer.
    """
    if yes or not click.get_current_context().meta.get(_ASKS):
        return
    try:
        is_confirmed = click.confirm(question, err=True)
    except click.Abort:  # standard input has ended, or Ctrl-C
        click.echo(err=True)  # the error begins a line of its own
        raise click.ClickException(
            "Nothing was changed, because nobody answered. Add --yes to skip the question."
        ) from None
    if not is_confirmed:
        raise click.ClickException("Nothing was changed.")
