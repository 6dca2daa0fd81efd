"""An installation with something in every table, and what of two of them is compared."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from peewee import BlobField, BooleanField, Field, TextField

from app import create_app
from app.config import Settings
from app.services import Services
from app.services.people.principal import SYSTEM
from app.store import database as store
from app.store import models
from app.store.events import hourly_counts
from app.store.models import Event, JsonField, RejectedEvent
from app.store.operations import transfer
from tests.cli.conftest import fails, flask, prints, succeeds  # noqa: F401
from tests.conftest import finish_database_threads
from tests.support import backing_servers
from tests.support.client import Client, event

SECRET = "the secret of the backed up one"
# Each must come back as it was, from and into either database.
ODD_ITEMS = ['"', "\\", "a\\\\b\\n", "tab\there", "line\nend\r\n", "\b\f\v\x01\x7f", "null", "{a,b}", "é✓🙂", "", " "]
ODD_VERSIONS = ["1.0", "", "\\N", "a\tb\nc\\", "\x0b\x0c\x08", None]
# Tables that `fill` does not use otherwise.
RARE = (
    models.EndedSession,
    models.OidcOnce,
    models.RecoveryCode,
    models.ApiToken,
    models.IngestKey,
    models.Schedule,
    models.ScheduleRecipient,
    models.ScheduleWebhook,
    models.Webhook,
    models.WebhookSecret,
    models.Delivery,
    models.DeliveryTry,
    models.AlertNormal,
    models.Alert,
    models.AlertSilence,
    models.AlertMessage,
    models.AlertChannel,
)
# Tables that a restore changes: it leaves out sessions, and writes a line of the audit log.
OWN = {"session", "audit", "setting_seen"}


@pytest.fixture
def content(services, app) -> None:
    """Something in every table, and events whose texts must be escaped somewhere."""
    fill(app, services)


def fill(app, services: Services) -> None:
    """See `content`."""
    services.accounts.add("admin", "admin", None, "correct horse")
    services.accounts.add("anna", "analyst", ["BARCHART"], "correct horse")
    services.catalog.load_sample()
    admin = Client(app, ("admin", "correct horse"))
    events = [
        event(context=[item, None, item], version=version, timestamp=1_793_000_000_000 + number * 7_200_000)
        for number, item in enumerate(ODD_ITEMS)
        for version in ODD_VERSIONS
    ]
    events += [event(customer="back\\slash", product="[x]", type="{y}", context=[])]
    admin.post("/events", {"events": events}, headers={"Idempotency-Key": "once"})
    admin.post("/events", {"events": [event(type=None)]})
    admin.start_report()
    finish_database_threads()
    assert RejectedEvent.select().count() == 1
    count()
    for model in RARE:
        model.create(**{field.name: odd_value(field) for field in model._meta.sorted_fields if field.name != "id"})
    store.release()


def odd_value(field: Field) -> object:
    """Return a value of a column that is difficult to copy."""
    if isinstance(field, JsonField):
        return ODD_ITEMS
    if isinstance(field, TextField):
        return "".join(ODD_ITEMS)
    if isinstance(field, BlobField):
        return bytes(range(256))
    return False if isinstance(field, BooleanField) else None if field.null else 7


def count() -> None:
    """Bring the hourly counts up to date."""
    while hourly_counts.advance():
        pass


def rows(url: str) -> dict[str, object]:
    """Return the rows of all tables as text, sorted, without those that a restore changes."""
    with transfer.reading(url) as source:
        found = {
            table.name: sorted(b"".join(data for data, _ in source.lines(table)).splitlines())
            for table in source.tables()
            if table.name not in OWN
        }
        return found | {"sequences": {name: n for name, n in source.sequences().items() if name not in OWN and n}}


def erase_last(services: Services) -> None:
    """Erase the event with the highest id, as a user would."""
    last = Event.select().order_by(Event.id.desc()).first()
    assert sum(services.retention.erase(SYSTEM, services.retention.plan({"customer": last.customer}))) == 1
    store.release()


@pytest.fixture
def other_database(request, tmp_path) -> Callable[[str], str]:
    """Make an empty database of a kind, and return its URL."""

    def make(kind: str) -> str:
        if kind == "sqlite":
            return f"sqlite:///{tmp_path / 'other' / 'events.db'}"
        server = request.getfixturevalue("postgres_server")
        return backing_servers.make_database(server, f"other_{hashlib.md5(str(tmp_path).encode()).hexdigest()}")

    return make


@contextmanager
def installation(folder: Path, url: str, redis_url: str, **settings: object) -> Iterator[tuple[object, Services]]:
    """Another installation in this process, which becomes the one that the models use."""
    store.disconnect()
    app = create_app(
        Settings(**({"data_dir": folder, "database_url": url, "redis_url": redis_url, "secret_key": SECRET} | settings))
    )
    try:
        yield app, app.extensions["services"]
    finally:
        store.disconnect()
