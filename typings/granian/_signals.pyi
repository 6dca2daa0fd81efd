from collections.abc import Callable
from types import FrameType

from granian._granian import WorkerSignal

def set_main_signals(
    interrupt: Callable[[int, FrameType | None], None], reload: Callable[[int, FrameType | None], None] | None = ...
) -> None: ...

set_sync_signals: Callable[[], WorkerSignal]
