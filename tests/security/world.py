"""Users of the authorization matrix, and what their requests need, created again after a permitted request."""

from __future__ import annotations

import itertools
import json
import re

from werkzeug.test import TestResponse

from app.schemas.reports import source
from app.services.people import saved_views, tokens
from app.services.people.kept_forms import KeptForm
from app.services.people.principal import SYSTEM, Principal
from app.services.people.sessions import ProviderSession
from app.store.events import rejected
from app.store.models import Alert, AlertChannel, AlertRule, AlertSilence, ApiToken, Event, RejectedEvent, Session
from app.store.notifications import deliveries, recipients
from app.store.people import oidc, second_factors
from app.support.clock import now
from app.support.paths import is_api
from tests.admin.conftest import TOKEN, Visitor
from tests.conftest import PASSWORD
from tests.security.matrix import QUERIES, RECURRING, SCOPES, SENT, rows
from tests.support.client import Client, event
from tests.support.webhooks import announce, link_webhook

NAMES = {"other": "fern", "analyst": "anna", "operator": "olga", "admin": "admin", "expired": "admin"}
VARIABLE = re.compile(r"<(\w+)>")
ROWS = rows()
DAYS = 30 * 86_400_000


class World:
    """An application with a user of each kind, and things that belong to the customer BARCHART."""

    def __init__(self, app) -> None:
        self.app = app
        self._services = app.extensions["services"]
        self._numbers = itertools.count()
        self._tokens: dict[Visitor, str] = {}
        self._kept: dict[str, dict[str, object]] = {}
        self._filled: set[str] = set()
        self._services.catalog.load_sample()
        for name, role, customers in (
            ("admin", "admin", None),
            ("olga", "operator", None),
            ("anna", "analyst", ["BARCHART"]),
            ("fern", "analyst", ["FERNHILL"]),
        ):
            self._services.accounts.add(name, role, customers, PASSWORD)
        Client(app, None).send(event())
        self._visitors: dict[str, Visitor] = {}

    def ask(self, who: str, verb: str, path: str) -> TestResponse:
        """Send a user's request for a path of the URL map, with everything that it needs."""
        address, sent = self.address_of(verb, path), SENT.get(f"{verb} {path}", {})
        if is_api(path):
            response = self._call(who, verb, address, sent)
        else:
            visitor = self._visitor(who) if path == "/admin/sign-out" else self.known_client(who)
            response = self.ask_page(visitor, verb, path, address)
        self._note(verb, path, response)
        return response

    def _note(self, verb: str, path: str, response: TestResponse) -> None:
        """Forget what a request may have removed or changed, which one that is sent to sign in has not."""
        is_stranger = response.headers.get("Location", "").startswith("/admin/sign-in")
        if verb not in ("GET", "HEAD", "OPTIONS") and response.status_code < 400 and not is_stranger:
            del self._kept[path]

    def ask_page(self, visitor: Visitor, verb: str, path: str, address: str) -> TestResponse:
        """Send a request of a visitor for a page, with the fields that its form needs."""
        sent = SENT.get(f"{verb} {path}", {})
        if verb == "GET" or f"{verb} {path}" not in ROWS:
            return visitor.flask_client.open(address, method=verb)
        fields = {name: value.replace("{}", str(next(self._numbers))) for name, value in sent.items()}
        return visitor.flask_client.open(
            address, method=verb, data={**fields, "csrf_token": self.csrf_token_of(visitor)}
        )

    def ask_with_token(self, token: str, verb: str, path: str) -> TestResponse:
        """Send a request of a program that sends an API token as the password of any user."""
        address, sent = self.address_of(verb, path), SENT.get(f"{verb} {path}", {})
        body = {} if verb in ("GET", "DELETE") else {"data": json.dumps(sent), "content_type": "application/json"}
        response = Client(self.app, ("anybody", token)).request(verb, address, **body)
        self._note(verb, path, response)
        return response

    def token(self, kind: str) -> str:
        """Return a token of the admin: with one scope, or expired or revoked with all of them."""
        scopes = [kind] if kind in SCOPES else SCOPES
        made, text = tokens.add(self._services.accounts.named("admin"), f"for {kind}", scopes)
        if kind == "expired":
            ApiToken.update(expires_at=now()).where(ApiToken.id == made.id).execute()
        if kind == "revoked":
            tokens.revoke(made)
        return text

    def _call(self, who: str, verb: str, address: str, sent: object) -> TestResponse:
        body = {} if verb in ("GET", "HEAD", "OPTIONS", "DELETE") else {"content_type": "application/json"}
        if body:
            body["data"] = json.dumps(sent)
        if who == "expired":  # a session, valid or expired, which the API does not accept
            return self.known_client("admin").flask_client.open(address, method=verb, **body)
        credentials = {"nobody": None, "wrong": ("admin", "wrong"), "empty": next(self._empty)}.get(who)
        if who in NAMES:
            credentials = (NAMES[who], PASSWORD)
        return Client(self.app, credentials).request(verb, address, **body)

    _empty = itertools.cycle([("\0", "\0"), ("", ""), ("admin", ""), ("", PASSWORD), ("admin\0", PASSWORD)])

    def known_client(self, who: str) -> Visitor:
        """Return the dashboard client of a kind of user, which is the same each time."""
        if who not in self._visitors:
            self._visitors[who] = self._visitor(who)
        return self._visitors[who]

    def of_provider(self, *, is_active: bool) -> tuple[Visitor, str]:
        """Return an administrator with an account of the identity provider, and a token of theirs with all scopes."""
        name = "active" if is_active else "deactivated"
        oidc.add("https://login.example", name, name, "admin", None, "version", now())
        who, visitor = self._services.accounts.named(name), Visitor(self.app)
        _, token = tokens.add(who, "program", list(SCOPES))
        visitor.with_session(name, ProviderSession("sid", "token"))
        self.csrf_token_of(visitor)
        if not is_active:
            self._services.accounts.deactivate(name)
        return visitor, token

    def _visitor(self, who: str) -> Visitor:
        visitor = Visitor(self.app)
        if who in NAMES:
            visitor.sign_in(NAMES[who])
        elif who != "nobody":
            name, password = ("olga", "wrong") if who == "wrong" else ("\0", "")
            assert visitor.send("/admin/sign-in", {"user": name, "password": password}).status_code == 401
        if who == "expired":
            last = Session.select().order_by(Session.id.desc()).get()
            Session.update(created_at=Session.created_at - DAYS).where(Session.id == last.id).execute()
        return visitor

    def csrf_token_of(self, visitor: Visitor) -> str:
        if visitor not in self._tokens:
            self._tokens[visitor] = self._find_token(visitor)
        return self._tokens[visitor]

    def _find_token(self, visitor: Visitor) -> str:
        for page in ("/admin/me", "/admin/sign-in"):
            found = TOKEN.search(visitor.get(page).get_data(as_text=True))
            if found:
                return found[1]
        raise AssertionError("no page has a token")

    def address_of(self, verb: str, path: str) -> str:
        """Return a path with its variables replaced by things that exist."""
        made = self._kept.get(path) or self._things(path, VARIABLE.findall(path))
        self._kept[path] = made
        address = VARIABLE.sub(lambda name: str(made[name[1]]), path)
        return f"{address}?{QUERIES[path]}" if path in QUERIES else address

    def _things(self, path: str, names: list[str]) -> dict[str, object]:
        made: dict[str, object] = {
            "word": "product",
            "act": "delete",
            "filename": "style.css",
            "path": "swagger-ui.css",
        }
        if path.startswith("/bootstrap"):
            made["filename"] = "css/bootstrap.min.css"
        if "source" in names:
            made["source"] = self._report()
        if path.startswith("/admin/events/<key>"):
            made["key"] = Event.get(Event.customer == "BARCHART").id
        if "/receipts/" in path:
            wanted = {"value": "nobody's"}
            made["key"] = self._services.personal_data.erase(SYSTEM, wanted, delete_files=True)[1]
        if path.startswith("/admin/alerts/"):
            made["key"] = self._alerting(path)
        if path.startswith("/admin/kept-forms/<key>"):
            form = KeptForm(self._anna().id, "admin.start_report", "/admin/reports/new", [])
            made["key"] = self._services.kept_forms.keep(form)
        if path.startswith("/admin/tokens/<key>"):
            made["key"] = tokens.add(self._anna(), f"{next(self._numbers)}", ["events:read"])[0].id
        if path.startswith("/admin/me/views/<key>"):
            made["key"] = saved_views.add(self._anna(), "events", "product=P", f"view {next(self._numbers)}").id
        if path.startswith("/admin/keys/<key>"):
            made["key"] = self._services.ingest_keys.add(f"key {next(self._numbers)}")[0].id
        if path.startswith("/admin/reports/recurring/<key>"):
            made |= self._recurring(path)
        if "token" in names:
            made["token"] = self._unsubscribe_token(path)
        if path.startswith("/admin/reports/webhooks/<key>"):
            things = self._recurring(path)
            made |= {**things, "key": things["webhook"]}
        if path.startswith("/admin/rejected/<key>"):
            made["key"] = self._rejected()
        if path.startswith("/admin/rejected/request/<uuid>"):
            made["uuid"] = self._refused_request()
        if path.startswith("/admin/rejected/group"):
            self._rejected()
        if path.startswith("/admin/people/<key>") or "session" in names:
            made |= self._user()
        if path == "/admin/people/<key>/second-factor":
            second_factors.turn_on(made["key"], "a salt", 0, "a version")
        if path.startswith("/admin/catalog"):
            self._services.catalog.load_sample()
        return made

    def _anna(self) -> Principal:
        return self._services.accounts.verify("anna", PASSWORD)

    def _report(self) -> str:
        report = self._services.reports.start(self._anna(), {"customer": "BARCHART", "product": "PORTFOLIO"}, None)
        self._services.runner.run(report.job)
        return source(report)

    def _recurring(self, path: str) -> dict[str, int]:
        """Create a recurring report of anna's with a webhook, which has recorded a report if it is the path's first.

        A report takes longer than all else here, and only what a path names must exist each time.
        """
        wanted = RECURRING | {"name": f"Number {next(self._numbers)}", "hour": 6}
        filter = {name: wanted.pop(name) for name in ("customer", "product")}
        made = self._services.schedules.add(self._anna(), wanted | {"filter": filter}).schedule
        webhook = link_webhook(made)
        things = {"key": made.id, "webhook": webhook.id}
        if path in self._filled and "<number>" not in path:
            return things
        self._filled.add(path)
        report = self._services.schedule_runs.run(SYSTEM, made)
        self._services.runner.run(report.job)
        announce(report.job)
        return things | {"number": deliveries.newest(1, schedule=made.id)[0].id}

    def _unsubscribe_token(self, path: str) -> str:
        """Create a recurring report of which anna gets mail, and return what unsubscribes her."""
        schedule, anna, added_at = self._recurring(path)["key"], self._anna(), now()
        recipients.set_all(schedule, {anna.id: anna.name}, added_at)
        return self._services.mail._unsubscribe_url(schedule, anna.id, added_at).rpartition("/")[2]

    def _alerting(self, path: str) -> int:
        """Create an alert about BARCHART, or a rule, a silence or a channel."""
        number = next(self._numbers)
        if "/channels" in path:
            made = AlertChannel(name=f"C{number}", addresses=["ops@mail.example"], shown="ops@mail.example")
        elif "/silences" in path:
            made = AlertSilence(reason="planned work", who="olga", until_at=now() + DAYS)
        else:
            made = AlertRule(name=f"R{number}", kind="stopped", per="product", parameters={"minutes": 15})
        made.created_at = made.changed_at = now()
        made.save(force_insert=True)
        if path.startswith("/admin/alerts/<key>"):
            times = {name: now() for name in ("since_at", "pending_at", "firing_at", "checked_at")}
            about = {"rule": made.id, "rule_name": made.name, "kind": "stopped", "details": {}, "state": "firing"}
            about |= {"customer": "BARCHART", "product": f"P{number}", "type": "", "subject": ""}
            made = Alert.create(title="No events", seen="None.", expected="One.", **about, **times)
        return made.id

    def _rejected(self) -> int:
        values = {"address": "", "request_id": "r", "place": 1, "event": "{}", "customer": "BARCHART"}
        values |= {"field": "type", "fault": ""}
        rejected.add([{"received_at": now(), "reasons": ["It has no type."], **values}], 0)
        return RejectedEvent.select().order_by(RejectedEvent.id.desc()).get().id

    def _refused_request(self) -> str:
        """Create a request with a valid event, and an invalid one that was removed."""
        Client(self.app, None).post("/events", [event(), {}])
        self._services.rejected.flush()
        request = rejected.requests(1)[0]
        rejected.remove([one.id for one in rejected.members(request.uuid)])
        return request.uuid

    def _user(self) -> dict[str, int]:
        made = self._services.accounts.add(f"user-{next(self._numbers)}", "analyst", ["BARCHART"], PASSWORD, by=SYSTEM)
        self._services.sessions.begin(made, "Firefox")
        return {"key": made.id, "session": self._services.sessions.of(made.id)[0].id}
