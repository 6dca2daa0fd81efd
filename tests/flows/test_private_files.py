"""The data of a service on SQLite with its own Valkey belongs to its user alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.flows.conftest import Visitor
from tests.support.client import event

pytestmark = pytest.mark.processes


@pytest.fixture(scope="module")
def data(shared_service) -> Path:
    """The folder of the service, which has stored an event and written a report."""
    visitor = Visitor(shared_service)
    assert visitor.post("/events", json=[event(customer="PRIVATE")]).status_code == 200
    assert visitor.until_ended(visitor.start_report("PRIVATE", "PORTFOLIO"))["status"] == "COMPLETE"
    return shared_service.data


def test_other_users_of_the_machine_cannot_read_the_data(data):
    written = {path.relative_to(data): path.stat().st_mode & 0o007 for path in data.rglob("*")}
    assert [path for path, rights in written.items() if rights] == []
    assert {"reports", "events.db", "valkey"} <= {str(path) for path in written}
    assert list(data.glob("reports/*.csv"))


def test_files_with_secrets_are_readable_by_their_owner_only(data):
    for name in ("secret.key", "events.db", "valkey", "run"):
        assert (data / name).stat().st_mode & 0o077 == 0, name
