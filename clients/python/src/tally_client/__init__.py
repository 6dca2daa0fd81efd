"""Record usage events with Tally, and read them back.

`Tally` is the whole interface: `record` and `flush` to write, `events`, `changes` and `report` to read.
`TallyHandler` records the records of `logging`.
"""

from tally_client.client import Tally
from tally_client.errors import (
    ClientClosed,
    DownloadFailed,
    InvalidEvent,
    InvalidSetting,
    LibraryMissing,
    QueueFull,
    ReportFailed,
    RequestFailed,
    TallyError,
)
from tally_client.handler import TallyHandler
from tally_client.reading import Changes, Event, Progress, Report
from tally_client.sender import Stats
from tally_client.version import VERSION as __version__

__all__ = [
    "Changes",
    "ClientClosed",
    "DownloadFailed",
    "Event",
    "InvalidEvent",
    "InvalidSetting",
    "LibraryMissing",
    "Progress",
    "QueueFull",
    "Report",
    "ReportFailed",
    "RequestFailed",
    "Stats",
    "Tally",
    "TallyError",
    "TallyHandler",
    "__version__",
]
