"""A user limited to some customers learns nothing about others: no code, text or number, and not that they exist.

Every page and API call is requested before and after another customer gets events, a catalog, reports, rejected events,
keys and users. A user of BARCHART must get the same response both times. Things of the other customer must be answered
as things that do not exist.
"""

from __future__ import annotations

import re
import shutil
import uuid

import orjson
import pytest

from app.schemas.reports import source
from app.services.people.principal import Principal
from app.store.events import hourly_counts, rejected
from app.store.models import Alert, Event, RejectedEvent
from app.store.notifications import deliveries
from app.support.clock import now
from app.support.paths import is_api
from tests.admin.conftest import Visitor
from tests.conftest import PASSWORD
from tests.security.matrix import RECURRING, rows
from tests.security.world import VARIABLE, World
from tests.support.client import Client, event
from tests.support.pace import by_turns
from tests.support.webhooks import announce, link_webhook

ROWS = rows()
THEIRS = "ZZ-THEIRS"  # in everything that the other customer has
LIMITED = {"anna": "analyst", "otto": "operator", "ada": "admin"}  # each to BARCHART
READ = [path for path in sorted(row.split()[1] for row in ROWS if row.startswith("GET ")) if "filename" not in path]
# what belongs to a customer, so that another user gets 404
OWNED = [row for row in ROWS if re.search(r"/(reports|events|rejected)/.*<(source|key|uuid)>", row)]
# queries that count, search, sum up or suggest
ASKED = (
    f"/admin/events?text={THEIRS}",
    "/admin/events?text=mine",
    "/admin/events?product=PORTFOLIO",
    "/admin/?range=1h",
    "/admin/?range=7d&by=type",
    "/admin/overview/chart?range=30d&by=type",
    "/admin/catalog/part?kind=missing",
    "/admin/catalog/part?kind=types",
    f"/admin/catalog/part?kind=customers&find={THEIRS}",
    "/admin/catalog/type?product=PORTFOLIO&code=PORTFOLIO-APPLICATION-LOADED",
    "/admin/audit?text=ZZ",
    "/admin/rejected/by/event?before=999",
    "/admin/rejected/by/request?before=999",
    "/events?limit=1",
    "/events?product=PORTFOLIO",
    "/reports?limit=1",
)
# these show the machine, the common queue and this user's own requests; of them only the first half is compared
CHANGING_PAGES = re.compile(r"/admin/(system|audit|me\b)|/health/|/metrics")
CHANGING = re.compile(
    r"""csrf_token"[^>]*value="[^"]+"|<time.*?</time>|expires=\d+&(amp;)?nonce=[\w-]+&(amp;)?signature=[\w-]+"""
    r"""|data-key="[^"]+"|(start|end)=\d{13}(&(amp;)?)?|request <code>[0-9a-f]{32}</code>"""
)


class SeparateWorld(World):
    """A world with users limited to BARCHART, and another customer that arrives later."""

    def __init__(self, app) -> None:
        super().__init__(app)
        for name in ("otto", "ada"):
            self._services.accounts.add(name, LIMITED[name], ["BARCHART"], PASSWORD)
        self.visitors = {name: Visitor(app).sign_in(name) for name in LIMITED}
        self.clients = {name: Client(app, (name, PASSWORD)) for name in LIMITED}
        Client(app, None).send(event(timestamp=now(), context=["mine"]))
        self._count()
        self.own = {path: self.address_of("GET", path) for path in READ}
        self._count()

    def ask_as(self, name: str, verb: str, address: str, **fields: str) -> tuple[int, str]:
        """Return the status and text of a user's response, without what differs each time."""
        if is_api(address.partition("?")[0]):
            body = {"data": b"{}", "content_type": "application/json"} if verb == "POST" else {}
            answer = self.clients[name].request(verb, address, **body)
        else:
            visitor = self.visitors[name]
            data = fields | {"csrf_token": self.csrf_token_of(visitor)} if verb == "POST" else None
            answer = visitor.flask_client.open(address, method=verb, data=data)
        where = answer.headers.get("Location", "")
        return answer.status_code, CHANGING.sub("…", f"{where}\n{answer.get_data(as_text=True)}")

    def everything(self, name: str) -> dict[str, tuple[int, str]]:
        """Return all responses that a user can get. The analyst and the operator ask for one half each."""
        addresses = (*self.own.values(), *ASKED)
        asked = addresses if name == "ada" else by_turns(addresses, list(LIMITED).index(name), 2)
        return {address: self.ask_as(name, "GET", address) for address in asked}

    def come(self) -> dict[str, object]:
        """Create everything that a customer can have for the other customer, and return the ids by their names in a
        path.
        """
        services, boss = self._services, self._services.accounts.verify("admin", PASSWORD)
        codes = dict.fromkeys(("customer", "product", "type", "version"), THEIRS)
        sent = [event(**codes, timestamp=now() + 1, context=[THEIRS, "mine"]), event(customer=THEIRS, timestamp=now())]
        Client(self.app, None).send(*sent, event(customer=THEIRS, type=THEIRS, timestamp=now() - 86_400_000))
        self._catalog(boss)
        self._alerts(boss)
        services.accounts.add(THEIRS, "analyst", [THEIRS], PASSWORD, by=boss)
        services.ingest_keys.add(THEIRS, [THEIRS], [THEIRS], by=boss)
        wanted = {"customer": THEIRS, "product": THEIRS}
        done = services.reports.start(boss, wanted, None)
        services.runner.run(done.job)
        ids = {"source": source(done), "word": "customer", "act": "delete"} | self._recurring_of(boss, wanted)
        values = dict.fromkeys(("address", "request_id", "event", "customer", "product", "type"), THEIRS)
        rejected.add(
            [{"received_at": now(), "place": 1, "reasons": [THEIRS], "field": "type", "fault": "", **values}], 0
        )
        Client(self.app, None).post("/events", [event(**codes), event(**codes, timestamp=-1)])
        services.rejected.flush()
        ids["uuid"] = rejected.requests(1)[0].uuid
        self._count()
        keys = {"events": Event.get(Event.product == THEIRS).id, "rejected": RejectedEvent.get(customer=THEIRS).id}
        return ids | keys

    def _alerts(self, boss: Principal) -> None:
        services, about = self._services, dict.fromkeys(("customer", "product", "type"), THEIRS)
        rule = services.alert_rules.add(boss, about | {"name": THEIRS, "kind": "stopped"})
        services.alert_silences.add(boss, about | {"hours": 1, "reason": THEIRS})
        for state in ("firing", "resolved"):
            words = dict.fromkeys(("rule_name", "subject", "title", "seen", "expected"), THEIRS)
            times = dict.fromkeys(("since_at", "pending_at", "firing_at", "checked_at"), now())
            Alert.create(rule=rule.id, kind="stopped", state=state, details={}, **about, **words, **times)

    def _catalog(self, boss: Principal) -> None:
        entry = {"code": THEIRS, "description": THEIRS}
        types = [entry | {"product": THEIRS, "context": [THEIRS]}]
        document = {"customers": [entry], "products": [entry | {"columns": [THEIRS]}], "types": types}
        self._services.catalog_editor.put(boss, orjson.dumps(document))

    def _recurring_of(self, boss: Principal, filter: dict[str, str]) -> dict[str, int]:
        wanted = {name: RECURRING[name] for name in ("recurrence", "mode")} | {
            "name": THEIRS,
            "hour": 6,
            "filter": filter,
        }
        made = self._services.schedules.add(boss, wanted).schedule
        webhook = link_webhook(made)
        self._services.runner.run(self._services.schedule_runs.run(boss, made).job)
        announce(THEIRS)
        return {"recurring": made.id, "webhooks": webhook.id, "number": deliveries.newest(1, schedule=made.id)[0].id}

    def _count(self) -> None:
        while hourly_counts.advance():
            pass


@pytest.fixture
def world(app, monkeypatch) -> SeparateWorld:
    """With a fixed disk and fixed charts, because other programs and a minute that begins would change them."""
    made, moment, disk = SeparateWorld(app), now(), shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: disk)
    clocks = ("app.services.events.volume", "app.admin.events.volume", "app.admin.operations.overview")
    for module in (*clocks, "app.services.alerts.alerts"):
        monkeypatch.setattr(f"{module}.now", lambda: moment)
    return made


def test_another_customer_changes_nothing_in_a_users_responses(world):
    before = {name: world.everything(name) for name in LIMITED}
    world.come()
    responses = {name: world.everything(name) for name in LIMITED}
    assert [found for name in LIMITED for found in _named(responses[name], name)] == []
    changed = [
        (name, address, *_difference(before[name][address], answer))
        for name in LIMITED
        for address, answer in responses[name].items()
        if answer != before[name][address] and not CHANGING_PAGES.match(address)
    ]
    assert changed == []
    assert THEIRS in world.ask("admin", "GET", "/admin/events").get_data(as_text=True)  # the other customer does exist


def _named(responses: dict[str, tuple[int, str]], name: str) -> list[tuple[str, str]]:
    """Return the places with something of the other customer that the request did not contain."""
    return [(name, address) for address, (_, text) in responses.items() if THEIRS in text and THEIRS not in address]


def _difference(before: tuple[int, str], after: tuple[int, str]) -> tuple[object, object]:
    """Return the first lines that differ."""
    lines = zip(before[1].splitlines(), after[1].splitlines(), strict=False)
    return next(((one, other) for one, other in lines if one != other), (before[0], after[0]))


def test_things_of_another_customer_are_answered_as_missing(world):
    ids = world.come()
    missing = {
        "source": f"JOB-{uuid.uuid4()}",
        "uuid": str(uuid.uuid4()),
        "key": 999_999_999,
        "number": 999_999_999,
        "word": "x",
        "act": "delete",
    }
    wrong = []
    for verb, path in map(str.split, OWNED):
        kind = next(
            (one for one in ("recurring", "webhooks", "rejected") if f"/{one}/" in path.split("<")[0]), "events"
        )
        existing = ids | {"key": ids[kind]}
        for name in LIMITED:
            found, nothing = (
                _without(world.ask_as(name, verb, VARIABLE.sub(lambda part, ids=ids: str(ids[part[1]]), path)), ids)
                for ids in (existing, missing)
            )
            if found != nothing or found[0] not in (403, 404):
                wrong.append((name, verb, path, found[0], nothing[0], *_difference(nothing, found)))
    assert wrong == []


def _without(answer: tuple[int, str], ids: dict[str, object]) -> tuple[int, str]:
    """Return a response without the ids that it may repeat from the request."""
    return answer[0], re.sub(r"\d+", "0", answer[1].replace(str(ids["source"]), "…"))
