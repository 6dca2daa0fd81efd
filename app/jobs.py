"""RQ's entry points: named by string in `queue`, run in a worker's child process."""

from __future__ import annotations

from app.services import Services

_services: Services | None = None


def serve(services: Services) -> None:
    """Give this process the services that its jobs use; the worker calls it once, before it takes work."""
    global _services
    _services = services


def run_report(job: str) -> None:
    """Write the file of the report with this UUID."""
    if _services is None:
        raise RuntimeError("app.jobs.serve has not been called: jobs run under worker.py")
    _services.reports.run(job)
