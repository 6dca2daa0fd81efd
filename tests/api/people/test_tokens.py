"""API tokens in requests: as `Bearer`, and as the password of Basic."""

from __future__ import annotations

import pytest

from app.services.people import tokens
from app.store.models import AuditEntry
from tests.conftest import PASSWORD
from tests.support.client import Client, event


@pytest.fixture
def token(admin, services) -> str:
    return tokens.add(services.accounts.named("admin"), "notebook", ["events:read", "reports:write"])[1]


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def test_it_is_sent_as_bearer_or_as_the_password_of_any_user(app, nobody, token):
    nobody.send(event())
    for name in ("admin", "somebody", "", "ümläut"):
        assert len(Client(app, (name, token)).get("/events").get_json()["events"]) == 1
    assert len(nobody.get("/events", headers=bearer(token)).get_json()["events"]) == 1


def test_an_unknown_token_gets_the_401_of_the_contract(nobody, token):
    wrong = token[:20] + ("a" if token[20] != "a" else "b") + token[21:]
    answer = nobody.get("/events", headers=bearer(wrong))
    assert (answer.status_code, answer.get_data()) == (401, b'{"message": "Unauthorized"}')


def test_a_missing_scope_is_named(nobody, services, admin):
    _, text = tokens.add(services.accounts.named("admin"), "reader", ["events:read", "reports:read"])
    answer = nobody.post("/reports", {"filter": {"customer": "A", "product": "P"}}, headers=bearer(text))
    assert answer.status_code == 403
    message = "The API token reader needs the scope reports:write; it has events:read, reports:read."
    assert message in answer.get_data(as_text=True)


def test_it_sees_only_its_customers(nobody, services, admin):
    nobody.send(event(), event(customer="FERNHILL"))
    _, text = tokens.add(services.accounts.named("admin"), "one", ["events:read"], ["FERNHILL"])
    answer = nobody.get("/events?customer=FERNHILL", headers=bearer(text))
    assert [one["customer"] for one in answer.get_json()["events"]] == ["FERNHILL"]
    assert nobody.get("/events?customer=BARCHART", headers=bearer(text)).status_code == 403


def test_wrong_passwords_from_its_address_do_not_reject_it(app, nobody, token):
    nobody.send(event())
    wrong = Client(app, ("admin", "an old password"))
    while wrong.get("/events").status_code != 429:
        pass
    assert Client(app, ("admin", PASSWORD)).get("/events").status_code == 429
    assert nobody.get("/events", headers=bearer(token)).status_code == 200
    assert Client(app, ("admin", token)).get("/events").status_code == 200


def test_the_audit_log_names_the_token_of_an_action(nobody, token):
    nobody.send(event())
    wanted = {"filter": {"customer": "BARCHART", "product": "PORTFOLIO"}}
    assert nobody.post("/reports", wanted, headers=bearer(token)).status_code == 200
    entry = AuditEntry.get(AuditEntry.action == "report started")
    assert (entry.who, entry.details["API token"]) == ("admin", "notebook")


def test_it_does_not_sign_in_on_the_dashboard(nobody, token):
    answer = nobody.get("/admin/events", headers=bearer(token))
    assert (answer.status_code, answer.headers["Location"].split("?")[0]) == (302, "/admin/sign-in")


@pytest.mark.settings(metrics_token="for Prometheus")
def test_metrics_are_read_with_a_token_of_the_scope_admin_system(nobody, services, admin, token):
    _, system = tokens.add(services.accounts.named("admin"), "prometheus", ["admin:system"])
    statuses = [nobody.get("/metrics", headers=bearer(one)).status_code for one in ("for Prometheus", system, token)]
    assert statuses == [200, 200, 401]


def test_the_openapi_document_names_the_scope_of_each_operation(nobody):
    paths = nobody.get("/openapi.json").get_json()["paths"]
    assert {"ApiToken": ["reports:write"]} in paths["/reports"]["post"]["security"]
    assert {"ApiToken": ["reports:read"]} in paths["/reports"]["get"]["security"]
    assert {"ApiToken": []} in paths["/service/authenticate"]["get"]["security"]
