"""What the service will never accept: counted, and handed to a function or appended to a file, an event a line."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tally_client.locks import locked

MAX_FILE_BYTES = 16 * 1024 * 1024  # then the file becomes the `.1` that precedes it

Rejected = Callable[[list[dict[str, Any]], str], object]

log = logging.getLogger("tally_client")


class RejectedEvents:
    """Receiver of rejected events.

    Args:
        target: a function of a list of events and the reason, a file, or None to log them only.
    """

    def __init__(self, target: Rejected | Path | None) -> None:
        self._target = target

    def add(self, lines: Sequence[bytes], reason: str) -> None:
        """Hand rejected events over.

        Raises:
            OSError: the file cannot be written.
        """
        log.error("%d events were rejected: %s", len(lines), reason)
        if isinstance(self._target, Path):
            self._append(self._target, lines, reason)
        elif self._target is not None:
            try:
                self._target([json.loads(line) for line in lines], reason)
            except Exception:
                log.exception("The function for rejected events failed.")

    def _append(self, path: Path, lines: Sequence[bytes], reason: str) -> None:
        shown = json.dumps({"time": int(time.time() * 1000), "reason": reason})[:-1].encode()
        content = b"".join(b'%b, "event": %b}\n' % (shown, line) for line in lines)
        with locked(path.with_name(path.name + ".lock")):
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_size > MAX_FILE_BYTES:
                    path.replace(path.with_name(path.name + ".1"))
            with path.open("ab") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
