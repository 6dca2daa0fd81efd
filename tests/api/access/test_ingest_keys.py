"""Ingest keys: who may send events if INGEST_AUTH requires a key, and which events a key may send."""

from __future__ import annotations

import base64
import threading
import time

import pytest

from app.exceptions import StoreUnavailable
from app.services.access.ingest_keys import KEPT_SECONDS, NOTED_MS, IngestKeys
from app.store import database as store
from app.store.access import ingest_keys as rows
from tests.support.client import event, faults, root
from tests.support.threads import at_once

requires_key = pytest.mark.settings(ingest_auth="key")
OTHER = "tally_" + "A" * 43


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def basic(token: str, password: str = "") -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{token}:{password}".encode()).decode()}


@pytest.fixture(autouse=True)
def quiet(services):
    """Write pending uses before the database changes for the next test."""
    yield
    services.ingest_keys.flush()


@pytest.fixture
def token(services) -> str:
    """A key without restrictions."""
    return services.ingest_keys.add("everything")[1]


@pytest.fixture
def restricted(services) -> str:
    """A key restricted to two customers and one product."""
    return services.ingest_keys.add("bound", ["BARCHART", "FERNHILL"], ["PORTFOLIO"])[1]


@pytest.fixture
def advance_clock(monkeypatch):
    """Return a function that advances the clock of the keys."""
    clock = time.monotonic

    def advance(seconds: float) -> None:
        monkeypatch.setattr("app.services.access.ingest_keys.time.monotonic", lambda: clock() + seconds)

    return advance


def post(client, headers: dict | None = None, *events: dict, path: str = "/events"):
    return client.post(path, list(events) or [event()], headers=headers or {})


# Without INGEST_AUTH


def test_without_the_setting_no_key_is_required(nobody):
    assert post(nobody).status_code == 200


def test_without_the_setting_a_key_that_is_sent_is_verified_and_its_use_recorded(nobody, services, restricted):
    before = time.time() * 1000
    for headers, path in [
        ({}, f"/events?key={restricted}"),
        (bearer(restricted), "/events"),
        (basic(restricted), "/events"),
    ]:
        assert post(nobody, headers, path=path).status_code == 200
        assert post(nobody, headers, event(customer="ANYBODY"), path=path).status_code == 403
    services.ingest_keys.flush()
    assert before - 1 <= services.ingest_keys.all()[0].used_at <= time.time() * 1000


def test_without_the_setting_a_revoked_key_is_rejected(nobody, services, restricted):
    assert post(nobody, bearer(restricted)).status_code == 200
    services.ingest_keys.revoke(services.ingest_keys.named("bound"))
    for headers, path in [
        ({}, f"/events?key={restricted}"),
        (bearer(restricted), "/events"),
        (basic(restricted), "/events"),
    ]:
        answer = post(nobody, headers, path=path)
        assert (answer.status_code, answer.get_data()) == (401, b'{"message": "Unauthorized"}')
    services.ingest_keys.flush()
    assert services.ingest.count() == 1


@pytest.mark.parametrize(
    "headers", [bearer(OTHER), bearer("nonsense"), basic("anna", "secret"), basic(OTHER), {"Authorization": "Digest x"}]
)
def test_without_the_setting_other_credentials_are_ignored(nobody, headers):
    assert post(nobody, headers, event(customer="ANYBODY")).status_code == 200
    assert post(nobody, path=f"/events?key={OTHER}").status_code == 200


def test_without_the_setting_a_failed_lookup_of_a_key_does_not_delay_the_events(nobody, token, monkeypatch):
    asked = []

    def away(digest: str) -> None:
        asked.append(digest)
        raise StoreUnavailable("The database cannot be reached.")

    monkeypatch.setattr("app.services.access.ingest_keys.store.find", away)
    for _ in range(3):
        assert post(nobody, bearer(token)).status_code == 200
    assert len(asked) == 1


def test_without_the_setting_there_is_no_lookup_without_a_key(nobody, monkeypatch):
    monkeypatch.setattr(IngestKeys, "find", lambda *_: 1 / 0)
    assert post(nobody).status_code == 200


# Accepted keys


@requires_key
def test_a_key_may_be_a_bearer_token_a_basic_user_or_a_query_parameter(nobody, token):
    ways = [bearer(token), basic(token), basic(token, "any password: ü"), {"Authorization": f"bearer {token}"}]
    for headers in ways:
        assert post(nobody, headers).status_code == 200, headers
    body = b'[{"customer":"C","product":"P","type":"T","timestamp":1,"context":[]}]'
    # as navigator.sendBeacon sends it, which cannot set headers
    assert nobody.post(f"/events?key={token}", body, "text/plain;charset=UTF-8").status_code == 200


@requires_key
@pytest.mark.parametrize(
    "headers",
    [
        {},
        bearer(OTHER),
        bearer(""),
        bearer("tally_"),
        bearer("tally_" + "\u00e9" * 43),
        basic(OTHER),
        basic(""),
        {"Authorization": "Basic %%%"},
        {"Authorization": "Digest username=x"},
        {"Authorization": "Bearer"},
    ],
    ids=str,
)
def test_a_missing_or_invalid_key_is_answered_401(nobody, services, token, headers):
    answer = post(nobody, headers)
    assert answer.status_code == 401
    assert answer.get_data() == b'{"message": "Unauthorized"}'
    assert answer.headers["WWW-Authenticate"] == "Basic"
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert services.ingest.count() == 0


@requires_key
@pytest.mark.parametrize("key", ["", "nonsense", OTHER, "a%00b", "%ff", "tally_" + "%C3%A9" * 43])
def test_an_invalid_key_in_the_query_is_answered_401(nobody, key):
    assert post(nobody, path=f"/events?key={key}").status_code == 401


@requires_key
def test_a_key_in_a_header_has_precedence_over_the_query(nobody, token):
    assert post(nobody, bearer(OTHER), path=f"/events?key={token}").status_code == 401
    assert post(nobody, bearer(token), path=f"/events?key={OTHER}").status_code == 200


@requires_key
def test_a_user_is_not_accepted_as_a_key_and_a_key_not_as_a_user(admin, nobody, token):
    assert post(admin).status_code == 401
    assert nobody.get("/events", headers=basic(token)).status_code == 401
    assert nobody.get("/events", headers=bearer(token)).status_code == 401
    assert admin.get("/events").status_code == 200


@requires_key
def test_a_preflight_needs_no_key(nobody):
    answer = nobody.request("OPTIONS", "/events", headers={"Origin": "https://a.example"})
    assert answer.status_code == 204
    assert "authorization" in answer.headers["Access-Control-Allow-Headers"]


@requires_key
def test_an_invalid_key_is_rejected_before_the_body_is_read(nobody):
    assert nobody.post("/events", b"no JSON", "image/png").status_code == 401


# Restricted keys


@requires_key
def test_the_first_event_outside_the_key_s_customers_is_named_and_nothing_is_stored(nobody, services, restricted):
    assert post(nobody, bearer(restricted), event(), event(customer="FERNHILL")).status_code == 200
    answer = post(nobody, bearer(restricted), event(), event(), event(customer="OTHER"), event(customer="ANOTHER"))
    assert answer.status_code == 403
    assert root(answer) == "REQUEST_AUTHORIZATION_FAILURE"
    assert "events[2].customer" in answer.get_json()[0]["value"]["message"]
    allowed = 'events[2].customer is "OTHER"; with this key it must be "BARCHART" or "FERNHILL".'
    assert faults(answer) == [("REQUEST_AUTHORIZATION_FAILURE", allowed)]
    assert services.ingest.count() == 2


@requires_key
def test_a_product_outside_the_key_s_products_is_named(nobody, restricted):
    answer = post(nobody, bearer(restricted), event(product="WATCHLIST"))
    assert answer.status_code == 403
    assert faults(answer)[0][1] == 'events[0].product is "WATCHLIST"; with this key it must be "PORTFOLIO".'


@requires_key
def test_lenient_mode_does_not_accept_events_outside_the_key(nobody, services, restricted):
    broken = event(timestamp="noon")
    answer = post(nobody, bearer(restricted) | {"Prefer": "handling=lenient"}, broken, event(), event(customer="OTHER"))
    assert answer.status_code == 403
    assert "events[2].customer" in faults(answer)[0][1]
    assert services.ingest.count() == 0


@requires_key
def test_the_message_lists_only_some_of_a_key_s_many_customers(nobody, services):
    many = services.ingest_keys.add("many", [f"C{number}" for number in range(1000)])[1]
    answer = post(nobody, bearer(many))
    assert len(answer.get_data()) < 500
    assert '"C4" or another' in faults(answer)[0][1]


@requires_key
def test_invalid_events_of_a_restricted_key_get_the_usual_errors(nobody, restricted):
    assert post(nobody, bearer(restricted), event(timestamp="noon")).status_code == 400
    assert nobody.post("/events", b"[", headers=bearer(restricted)).status_code == 400


@pytest.mark.settings(ingest_auth="key", catalog_mode="strict")
def test_a_restricted_key_learns_nothing_about_other_customers_in_the_catalog(nobody, restricted, sample_catalog):
    answer = post(nobody, bearer(restricted), event(customer="BARCHARD"))
    assert answer.status_code == 403


@requires_key
def test_a_restricted_key_does_not_get_the_replay_of_another_key(nobody, services, token):
    narrow = services.ingest_keys.add("narrow", ["FERNHILL"])[1]
    again = {"Idempotency-Key": "once"}
    first = post(nobody, bearer(token) | again)
    assert post(nobody, bearer(token) | again).get_data() == first.get_data()
    assert post(nobody, bearer(narrow) | again).status_code == 403
    assert services.ingest.count() == 1


# Revocation


@requires_key
def test_a_revoked_key_is_rejected_immediately(nobody, services, token):
    assert post(nobody, bearer(token)).status_code == 200
    services.ingest_keys.revoke(services.ingest_keys.named("everything"))
    assert post(nobody, bearer(token)).status_code == 401


@requires_key
def test_a_revocation_takes_effect_in_other_processes_within_five_seconds(services, token, advance_clock):
    elsewhere = IngestKeys()
    assert elsewhere.verify(token)
    services.ingest_keys.revoke(services.ingest_keys.named("everything"))
    advance_clock(KEPT_SECONDS)
    assert elsewhere.verify(token) is None
    assert elsewhere.find(token).revoked_at, "which counts without INGEST_AUTH, too"
    assert 2 * KEPT_SECONDS < 5  # even if another process looked the key up just before
    elsewhere.flush()


@requires_key
def test_a_name_can_be_reused_after_its_key_is_revoked(nobody, services, token):
    services.ingest_keys.revoke(services.ingest_keys.named("everything"))
    again = services.ingest_keys.add("everything")[1]
    assert post(nobody, bearer(again)).status_code == 200
    assert post(nobody, bearer(token)).status_code == 401


def test_concurrent_additions_of_a_name_create_one_key(services):
    def add(number: int) -> bool:
        try:
            services.ingest_keys.add("web")
        except Exception as error:  # noqa: BLE001 - the test checks its type
            return type(error).__name__ != "InputInvalid"
        return True

    assert sum(at_once(4, add)) == 1


# Storage


def test_only_the_hash_of_a_key_is_stored(services, token):
    table = store.database.execute_sql("SELECT * FROM ingest_key").fetchall()
    assert token not in str(table)
    assert len(token) == 49
    assert services.ingest_keys.all()[0].hint == token[:10]


@requires_key
def test_the_last_use_is_recorded_once_a_minute(nobody, services, token, monkeypatch):
    noted = []
    monkeypatch.setattr("app.services.access.ingest_keys.store.note_use", lambda key, moment: noted.append(moment))
    for minutes in (0, 0, 1, 1, 1):
        moment = int(time.time() * 1000) + minutes * NOTED_MS
        monkeypatch.setattr("app.services.access.ingest_keys.now", lambda moment=moment: moment)
        monkeypatch.setattr("app.services.access.ingest_keys.KEPT_SECONDS", 0)
        post(nobody, bearer(token))
        services.ingest_keys.flush()
    assert len(noted) == 2


@requires_key
def test_a_failure_to_record_a_use_does_not_affect_the_request(nobody, services, token, monkeypatch):
    def away(*_: object) -> None:
        raise StoreUnavailable("The database is locked.")

    monkeypatch.setattr("app.services.access.ingest_keys.store.note_use", away)
    assert post(nobody, bearer(token)).status_code == 200
    services.ingest_keys.flush()


# Lookups in the database


@requires_key
def test_a_repeated_invalid_key_is_looked_up_once(nobody, monkeypatch):
    asked = count_lookups(monkeypatch)
    for _ in range(5):
        assert post(nobody, bearer(OTHER)).status_code == 401
    assert len(asked) == 1


@requires_key
def test_a_malformed_key_is_not_looked_up(nobody, monkeypatch):
    asked = count_lookups(monkeypatch)
    for token in ("admin", OTHER + "A", "TALLY_" + "A" * 43, "tally_" + "ü" * 43):
        assert post(nobody, path=f"/events?key={token}").status_code == 401
    assert asked == []


def test_concurrent_requests_share_the_lookup_of_a_key(services, token, advance_clock, monkeypatch):
    services.ingest_keys.verify(token)
    advance_clock(KEPT_SECONDS)
    asked = count_lookups(monkeypatch, seconds=0.2)
    assert all(at_once(8, lambda _: services.ingest_keys.verify(token)))
    assert len(asked) == 1


def test_many_invalid_keys_do_not_exhaust_the_memory(services, token, monkeypatch):
    monkeypatch.setattr("app.services.access.ingest_keys.MAX_KEPT", 10)
    assert services.ingest_keys.verify(token)
    for number in range(50):
        assert services.ingest_keys.verify(f"tally_{number:043}") is None
    assert len(services.ingest_keys._kept) <= 11
    asked = count_lookups(monkeypatch)
    assert services.ingest_keys.verify(token)
    assert asked == []


@requires_key
def test_the_connection_is_released_before_the_events_are_written(nobody, services, token, monkeypatch):
    closed = []
    accept = services.ingest.accept
    monkeypatch.setattr(
        services.ingest,
        "accept",
        lambda *args, **kwargs: (closed.append(store.database.is_closed()), accept(*args, **kwargs))[1],
    )
    store.release()
    assert post(nobody, bearer(token)).status_code == 200
    assert closed == [True]


@requires_key
def test_without_the_database_a_cached_key_stays_valid(nobody, services, token, advance_clock, monkeypatch):
    services.ingest_keys.verify(token)
    fresh = services.ingest_keys.add("fresh")[1]
    advance_clock(60)
    monkeypatch.setattr("app.services.access.ingest_keys.store.find", away)
    assert post(nobody, bearer(token)).status_code == 200
    answer = post(nobody, bearer(fresh))
    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) > 0


def away(*_: object) -> None:
    raise StoreUnavailable("The database cannot be reached.")


def count_lookups(monkeypatch, seconds: float = 0.0) -> list[str]:
    """Record the digests looked up from now on, each lookup taking this many seconds."""
    asked, find, lock = [], rows.find, threading.Lock()

    def counted(digest: str):
        with lock:
            asked.append(digest)
        time.sleep(seconds)
        return find(digest)

    monkeypatch.setattr("app.services.access.ingest_keys.store.find", counted)
    return asked


# OpenAPI


def fetch_document(client) -> dict:
    return client.get("/openapi.json").get_json()


@requires_key
def test_the_openapi_document_describes_required_keys(nobody):
    document = fetch_document(nobody)
    operation = document["paths"]["/events"]["post"]
    schemes = document["components"]["securitySchemes"]
    required = [schemes[name] for requirement in operation["security"] for name in requirement]
    assert {(scheme["type"], scheme.get("scheme") or scheme["name"]) for scheme in required} == {
        ("http", "bearer"),
        ("http", "basic"),
        ("apiKey", "key"),
    }
    assert {"401", "403"} <= set(operation["responses"])


def test_the_openapi_document_describes_optional_keys(nobody):
    operation = fetch_document(nobody)["paths"]["/events"]["post"]
    assert {} in operation["security"]
    assert {"KeyAsUser": []} in operation["security"]
    assert {"401", "403"} <= set(operation["responses"])
    assert "429" not in operation["responses"]
