"""RQ's entry points: named by string in `queue`, run in a worker's child process."""

from __future__ import annotations

from collections.abc import Callable

from app.services import Services

_services: Services | None = None
_worker = ""
_is_stopping: Callable[[], bool]


def serve(services: Services, worker: str, is_stopping: Callable[[], bool]) -> None:
    """Set the services that this process's jobs use. The worker calls it once, before it claims reports.

    Args:
        worker: the worker's name.
        is_stopping: returns whether the calling child process is shutting down.
    """
    global _services, _worker, _is_stopping
    _services, _worker, _is_stopping = services, worker, is_stopping


def work() -> None:
    """Claim and attempt the next report in the fair queue. The call itself names no report."""
    _here().runner.work(_worker, _is_stopping)


def help_with(job: str) -> None:
    """Write parts of the report with this UUID, which another worker holds."""
    _here().runner.help(job, _worker, _is_stopping)


def _here() -> Services:
    if _services is None:
        raise RuntimeError("app.jobs.serve has not been called: jobs run under worker.py")
    return _services
