"""Entry points of RQ, named by strings in `queue` and run in a worker's child process."""

from __future__ import annotations

from collections.abc import Callable

from app.services import Services

_services: Services | None = None
_worker = ""
_is_stopping: Callable[[], bool]


def serve(services: Services, worker: str, is_stopping: Callable[[], bool]) -> None:
<<<<<<< HEAD
    """Set the services that this process's jobs use. The worker calls it once, before it claims reports.

    Args:
        worker: the worker's name.
        is_stopping: returns whether the calling child process is shutting down.
=======
    """Set the services that this process's jobs use. The worker calls this once, before it accepts jobs.

    Args:
        worker: its name.
        is_stopping: returns whether the child that calls it must end.
>>>>>>> 823b319 (Reword docstrings of app modules and the worker)
    """
    global _services, _worker, _is_stopping
    _services, _worker, _is_stopping = services, worker, is_stopping


def work() -> None:
<<<<<<< HEAD
    """Claim and attempt the next report in the fair queue. The call itself names no report."""
=======
    """Claim the next report of the fair queue and write it; the call only signals that a report waits."""
>>>>>>> 823b319 (Reword docstrings of app modules and the worker)
    _here().runner.work(_worker, _is_stopping)


def help_with(job: str) -> None:
    """Write parts of the report with this UUID, which another worker has claimed."""
    _here().runner.help(job, _worker, _is_stopping)


def _here() -> Services:
    if _services is None:
        raise RuntimeError("app.jobs.serve has not been called: jobs run under worker.py")
    return _services
