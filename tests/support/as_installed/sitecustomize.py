"""Python imports this first in processes with `PYTHONPATH` of `tests.support.running`.

It hides what an installation lacks: structlog would load `rich`, which takes a tenth of a process's start. And it keeps
the programs idle that a test's service has no use for.
"""

from __future__ import annotations

import os
import sys

sys.modules["rich"] = None

program = sys.orig_argv[-1].removeprefix("app.") if sys.orig_argv[-2:-1] == ["-m"] else ""
if program in os.environ.get("TALLY_IDLE", "").split():
    import signal

    signal.pause()  # until SIGTERM or SIGKILL ends it, as the supervisor does
