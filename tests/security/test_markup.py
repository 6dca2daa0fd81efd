"""No hostile text is treated as markup: it is sent in every field, and looked for on every page."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable

import orjson
import pytest
import zstandard
from werkzeug.test import TestResponse

from app.services.people import audit
from app.store.events import hourly_counts, rejected
from app.store.models import (
    AuditEntry,
    Delivery,
    DeliveryTry,
    Event,
    IngestKey,
    RejectedEvent,
    RejectedRequest,
    Report,
    ReportAttempt,
    Schedule,
    Session,
)
from app.support.clock import now
from tests.admin.conftest import Visitor
from tests.admin.test_pages import CORPUS, inline
from tests.conftest import PASSWORD
from tests.security.matrix import rows
from tests.security.test_authorization import PATHS
from tests.security.world import World
from tests.support.client import Client, event
from tests.support.pace import by_turns

PAGES = [path for path in PATHS if path.startswith("/admin") and f"GET {path}" in rows()]
TELLTALE = [text for text in CORPUS if set(text) & set("<\"'")]
# all parameters that any page reads from its address, sent to every page
PARAMETERS = (
    "next",
    "who",
    "action",
    "text",
    "start",
    "end",
    "before",
    "after",
    "customer",
    "product",
    "types",
    "range",
    "find",
    "page",
    "kind",
    "code",
    "status",
    "field",
    "reason",
    "delimiter",
    "layout",
    "header",
    "format",
    "compression",
    "day",
    "from",
    "to",
    "q",
    "sort",
    "key",
    "source",
    "type",
)


# columns with text from outside or from other servers, and the page that shows each
SHOWN = {
    AuditEntry: ("who", "object", "address"),
    DeliveryTry: ("said",),
    IngestKey: ("name", "hint"),
    RejectedEvent: ("event", "field", "product", "type"),
    RejectedRequest: ("request_id", "address"),
    Report: ("account_name", "name", "reason"),
    ReportAttempt: ("reason",),
    Schedule: ("name", "owner_name", "reason"),
    Session: ("agent", "address"),
}


EVENT = ("customer", "product", "type", "version")
CHARTS = ("/admin/?range=1h", "/admin/?range=1h&by=type", "/admin/?range=24h&by=type", "/admin/events?range=1h")


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """Use SQLite, because escaping does not depend on the database."""
    return sqlite_url


@pytest.fixture
def world(app) -> World:
    """A world in which everything with a name has a hostile one."""
    world, services = World(app), app.extensions["services"]
    anna = services.accounts.verify("anna", PASSWORD)
    codes = [text[:128] for text in CORPUS]
    Client(app, None).send(*[event(customer=one, product=one, type=one, context=[one, None]) for one in codes])
    document = {
        "customers": [{"code": one, "description": one} for one in codes],
        "products": [{"code": one, "description": one, "columns": [one]} for one in codes],
        "types": [{"code": one, "description": one, "product": one, "context": [one]} for one in codes],
    }
    services.catalog.put(orjson.dumps(document))
    for number, one in enumerate(codes):
        name = one.replace(":", "")
        services.accounts.add(name, "analyst", [one], PASSWORD)
        services.ingest_keys.add(one, [one], [one])
        audit.note(anna, "report started", one, {one: one, "list": [one]}, customer="BARCHART")
        services.reports.start(services.accounts.verify("admin", PASSWORD), {"customer": one, "product": one}, None)
        rejected.add([_refused(one, number)], 0, [_refused_request(one, number)])
    Session.update(agent=CORPUS[0]).execute()
    return world


def _refused(text: str, place: int) -> dict[str, object]:
    values = {"address": "", "request_id": text, "event": text, "field": text, "fault": "", "customer": text}
    return {"received_at": now(), "place": place, "reasons": [text], **values}


def _refused_request(text: str, number: int) -> dict[str, object]:
    body = zstandard.compress(text.encode())
    values = {"address": text, "request_id": text, "idempotency_key": text, "customer": text}
    values |= {"events": 2, "invalid": 1, "is_lines": False}
    return {"uuid": str(number), "received_at": now(), "body": body, "bytes": len(body), **values}


def faults(answer: TestResponse) -> list[str]:
    """Return what a browser would run of a page that is not ours."""
    headers = answer.headers
    if answer.mimetype == "application/json" and headers["X-Content-Type-Options"] == "nosniff":
        return []  # for a script, and no browser makes a page of it
    if answer.mimetype != "text/html":  # a file, which is saved and not shown
        is_kept = headers["X-Content-Type-Options"] == "nosniff" and "attachment" in headers["Content-Disposition"]
        return [] if is_kept else [f"a file of {answer.mimetype} that a browser shows"]
    page = answer.get_data(as_text=True).replace("https://tally.example/files/", "/files/")
    return inline(page) + [text for text in (*TELLTALE, "<b onclick") if text in page]


def test_hostile_names_are_text_on_every_page(world):
    """One world for all pages, because filling it takes longer than looking at a page."""
    found = []
    for place, path in enumerate(PAGES):
        for who in ("admin", *by_turns(("operator", "other"), place, 2)):
            answer = world.ask(who, "GET", path)
            assert answer.status_code < 500
            found += [(path, who, fault) for fault in faults(answer)]
    assert found == []


def test_hostile_addresses_are_text_on_every_page(world):
    boss = world.known_client("admin")
    found = []
    for path, text in by_turns(list(itertools.product(PAGES, CORPUS)), 0, 7):  # of 9 texts, a page gets 1 or 2
        address = world.address_of("GET", path).partition("?")[0]
        answer = boss.get(address, query_string=dict.fromkeys(PARAMETERS, text))
        where = answer.headers.get("Location", "/")
        assert answer.status_code < 500, (path, text)
        found += [(path, text, fault) for fault in faults(answer)]
        found += [(path, text, where)] if not re.match(r"/(?!/)|https://tally\.example/files/", where) else []
    assert found == []


def test_hostile_form_values_are_returned_as_text(world):
    boss = world.known_client("admin")
    token = world.csrf_token_of(boss)
    found = []
    for form in (
        "/admin/people/new",
        "/admin/keys/new",
        "/admin/me/tokens/new",
        "/admin/reports/new",
        "/admin/me/password",
        "/admin/sign-in",
    ):
        page = boss.get(form).get_data(as_text=True) if form != "/admin/sign-in" else ""
        names = set(re.findall(r'name="(\w+)"', page)) | {"user", "password", "customer", "product", "name"}
        for text in CORPUS:
            answer = boss.post(form, dict.fromkeys(names, f"{text}\0") | {"csrf_token": token})
            assert answer.status_code < 500, (form, text)
            found += [(form, text, fault) for fault in faults(answer)]
    assert found == []


def test_a_hostile_address_without_a_page_is_text(app):
    somebody = Visitor(app)
    for text in CORPUS:
        for path in (f"/admin/{text}", f"/admin/reports/{text}", f"/static/{text}", f"/docs/{text}"):
            answer = somebody.get(path)
            assert answer.status_code < 500
            assert faults(answer) == [], path


def hostile_columns(app, text: Callable[[str], str] | None = None) -> tuple[World, list[str]]:
    """A world in which every column of SHOWN and of an event has markup, or a given text, and each page's address.

    Each column has a text of its own, which shows that it appeared on some page.
    """
    text = text or _hostile
    world = World(app)
    addresses = [world.address_of("GET", path) for path in PAGES]
    codes = {name: text(f"Event.{name}") for name in EVENT} | {"version": "<b onclick=x>Event.version</b>"}
    hostile = event(**codes, timestamp=now(), context=[text("Event.context")])
    Client(app, None).send(event(timestamp=now()), hostile)  # the chart names customers if there are two
    while hourly_counts.advance():
        pass
    for one in Delivery.select():
        DeliveryTry.insert(delivery=one.id, began_at=now(), took_ms=1, code=500, said="").execute()
    Report.update(status="FAILED").where(Report.id.in_(range(0, 1_000, 2))).execute()
    for one in list(ReportAttempt.select()):  # a single one that succeeded is not shown
        ReportAttempt.create(job=one.job, number=2, token="", worker="", began_at=now())
    ReportAttempt.update(ended_at=now(), outcome="failed").execute()
    for model, names in SHOWN.items():
        for one in model.select():
            texts = {name: text(f"{model.__name__}.{name}") for name in names}
            texts |= {"name": f"{texts['name']}{one.id}"} if "name" in texts else {}  # values of a unique column differ
            model.update(texts).where(model.id == one.id).execute()
    RejectedEvent.update(reasons=[text("RejectedEvent.reasons")]).execute()
    newest = Event.select().order_by(Event.id.desc()).get().id
    groups = re.findall('href="(/admin/rejected/group[^"]+)"', world.known_client("admin").see("/admin/rejected"))
    return world, [*addresses, *CHARTS, f"/admin/events/{newest}", groups[0]]


def test_hostile_columns_are_text_wherever_they_are_shown(app):
    world, addresses = hostile_columns(app)
    pages = {address: world.known_client("admin").get(address) for address in addresses}
    assert [(address, fault) for address, page in pages.items() for fault in faults(page)] == []
    said = "".join(page.get_data(as_text=True) for page in pages.values() if page.mimetype == "text/html")
    marks = [f"{model.__name__}.{name}" for model, names in SHOWN.items() for name in names]
    marks += [*(f"Event.{name}" for name in EVENT), "Event.context", "RejectedEvent.reasons"]
    assert [mark for mark in marks if f"&lt;b onclick=x&gt;{mark}&lt;" not in said] == []
    bars = "".join(re.findall("<title>([^<]*)</title><rect", said))
    assert "&lt;b onclick=x&gt;Event.product&lt;" in bars
    assert "&lt;b onclick=x&gt;Event.type&lt;" in bars


def _hostile(mark: str) -> str:
    return f"\"'><b onclick=x>{mark}</b><script>alert(1)</script><img src=x onerror=alert(2)>"
