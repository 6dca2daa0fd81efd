"""Scheduler: runs the periodic tasks until a signal ends it. `python -m app.scheduler` needs no web application."""

from __future__ import annotations

import signal
import threading

from app.config import Settings
from app.exceptions import SettingInvalid
from app.ops import logs
from app.services import Services, start

TICK_SECONDS = 1.0
FINISH_SECONDS = 10.0  # for deliveries at the end; what takes longer is sent again


def run(services: Services) -> None:
    """Run the periodic tasks until SIGTERM or Ctrl-C. Any number of schedulers may run."""
    stop, tasks = threading.Event(), services.scheduler
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    for name in tasks.slow:
        tasks.run_beside(name)
    while not stop.wait(TICK_SECONDS):
        tasks.run_due()
    services.deliveries.flush(FINISH_SECONDS)


def main() -> None:
    """Run the periodic tasks of the services that the environment describes."""
    settings = Settings.from_environment()
    logs.configure(settings.log_format)
    services = start(settings)
    settings.secret()  # an unreadable key must prevent the start
    run(services)


if __name__ == "__main__":
    try:
        main()
    except SettingInvalid as error:
        logs.exit_with(error)
