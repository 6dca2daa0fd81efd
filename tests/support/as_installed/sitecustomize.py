"""Python imports this first in processes with `PYTHONPATH` of `tests.support.running`.

It hides what an installation lacks: structlog would load `rich`, which takes a tenth of a process's start.
"""

from __future__ import annotations

import sys

sys.modules["rich"] = None
