"""RQ's entry points: named by string in `queue`, run in a worker's child process."""

from __future__ import annotations

from collections.abc import Callable

from app.services import Services

_services: Services | None = None
_worker = ""
_is_stopping: Callable[[], bool]


def serve(services: Services, worker: str, is_stopping: Callable[[], bool]) -> None:
    """Give this process the services that its jobs use; the worker calls it once, before it takes work.

    Args:
        worker: its name.
        is_stopping: whether the child that asks is to end.
    """
    global _services, _worker, _is_stopping
    _services, _worker, _is_stopping = services, worker, is_stopping


def work() -> None:
    """Take the report whose turn it is: the call only says that one waits."""
    _here().runner.work(_worker, _is_stopping)


def help_with(job: str) -> None:
    """Write parts of the report with this UUID, which another worker holds."""
    _here().runner.help(job, _worker, _is_stopping)


def _here() -> Services:
    if _services is None:
        raise RuntimeError("app.jobs.serve has not been called: jobs run under worker.py")
    return _services
