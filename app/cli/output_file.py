"""Output file of a command, given on the command line."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import click

PRIVATE, USUAL = 0o600, 0o666  # modes, before the umask


@contextmanager
def output_file(target: Path, mode: int = USUAL, *, is_kept: bool = True) -> Iterator[BinaryIO]:
    """Yield a temporary file beside the target. Without an error, it replaces the target if `is_kept`."""
    partial = target.with_name(f".{target.name}.partial")
    try:
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as file:
            yield file
        if is_kept:
            partial.replace(target)
    except OSError as error:
        raise click.ClickException(f"Cannot write {target}: {error.strerror}.") from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def check_writable(target: Path) -> None:
    """Raise ClickException if the file cannot be written."""
    with output_file(target, is_kept=False):
        pass
