"""Ingest keys: who may send events where INGEST_AUTH asks for one, and whose events each may send."""

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

asks = pytest.mark.settings(ingest_auth="key")
OTHER = "tally_" + "A" * 43


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def basic(token: str, password: str = "") -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{token}:{password}".encode()).decode()}


@pytest.fixture(autouse=True)
def quiet(services):
    """No use is still being noted when the database of the next test comes."""
    yield
    services.ingest_keys.flush()


@pytest.fixture
def token(services) -> str:
    """A key that may send everything."""
    return services.ingest_keys.add("everything")[1]


@pytest.fixture
def bound(services) -> str:
    """A key of two customers and one product."""
    return services.ingest_keys.add("bound", ["BARCHART", "FERNHILL"], ["PORTFOLIO"])[1]


@pytest.fixture
def later(monkeypatch):
    """Let seconds pass, as the keys see it."""
    clock = time.monotonic

    def pass_by(seconds: float) -> None:
        monkeypatch.setattr("app.services.access.ingest_keys.time.monotonic", lambda: clock() + seconds)

    return pass_by


def post(client, headers: dict | None = None, *events: dict, path: str = "/events"):
    return client.post(path, list(events) or [event()], headers=headers or {})


# Without INGEST_AUTH


def test_without_the_setting_anybody_may_send(nobody):
    assert post(nobody).status_code == 200


def test_without_the_setting_a_key_that_is_sent_is_looked_at_and_its_use_is_noted(nobody, services, bound):
    before = time.time() * 1000
    for headers, path in [({}, f"/events?key={bound}"), (bearer(bound), "/events"), (basic(bound), "/events")]:
        assert post(nobody, headers, path=path).status_code == 200
        assert post(nobody, headers, event(customer="ANYBODY"), path=path).status_code == 403
    services.ingest_keys.flush()
    assert before - 1 <= services.ingest_keys.all()[0].used <= time.time() * 1000


def test_without_the_setting_a_revoked_key_is_refused(nobody, services, bound):
    assert post(nobody, bearer(bound)).status_code == 200
    services.ingest_keys.revoke(services.ingest_keys.named("bound"))
    for headers, path in [({}, f"/events?key={bound}"), (bearer(bound), "/events"), (basic(bound), "/events")]:
        answer = post(nobody, headers, path=path)
        assert (answer.status_code, answer.get_data()) == (401, b'{"message": "Unauthorized"}')
    services.ingest_keys.flush()
    assert services.ingest.count() == 1


@pytest.mark.parametrize(
    "headers", [bearer(OTHER), bearer("nonsense"), basic("anna", "secret"), basic(OTHER), {"Authorization": "Digest x"}]
)
def test_without_the_setting_what_is_no_key_of_ours_passes_as_nothing(nobody, headers):
    assert post(nobody, headers, event(customer="ANYBODY")).status_code == 200
    assert post(nobody, path=f"/events?key={OTHER}").status_code == 200


def test_without_the_setting_the_events_do_not_wait_for_a_key_that_cannot_be_looked_up(nobody, token, monkeypatch):
    asked = []

    def away(digest: str) -> None:
        asked.append(digest)
        raise StoreUnavailable("The database cannot be reached.")

    monkeypatch.setattr("app.services.access.ingest_keys.store.find", away)
    for _ in range(3):
        assert post(nobody, bearer(token)).status_code == 200
    assert len(asked) == 1


def test_without_the_setting_no_key_is_looked_up_unless_one_is_sent(nobody, monkeypatch):
    monkeypatch.setattr(IngestKeys, "find", lambda *_: 1 / 0)
    assert post(nobody).status_code == 200


# What is a key


@asks
def test_a_key_is_sent_as_bearer_as_basic_user_or_in_the_address(nobody, token):
    ways = [bearer(token), basic(token), basic(token, "any password: ü"), {"Authorization": f"bearer {token}"}]
    for headers in ways:
        assert post(nobody, headers).status_code == 200, headers
    body = b'[{"customer":"C","product":"P","type":"T","timestamp":1,"context":[]}]'
    assert nobody.post(f"/events?key={token}", body, "text/plain;charset=UTF-8").status_code == 200  # a beacon


@asks
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
def test_no_key_or_a_wrong_one_is_the_401_that_clients_know(nobody, services, token, headers):
    answer = post(nobody, headers)
    assert answer.status_code == 401
    assert answer.get_data() == b'{"message": "Unauthorized"}'
    assert answer.headers["WWW-Authenticate"] == "Basic"
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert services.ingest.count() == 0


@asks
@pytest.mark.parametrize("key", ["", "nonsense", OTHER, "a%00b", "%ff", "tally_" + "%C3%A9" * 43])
def test_a_wrong_key_in_the_address_is_no_key(nobody, key):
    assert post(nobody, path=f"/events?key={key}").status_code == 401


@asks
def test_a_key_in_a_header_goes_before_one_in_the_address(nobody, token):
    assert post(nobody, bearer(OTHER), path=f"/events?key={token}").status_code == 401
    assert post(nobody, bearer(token), path=f"/events?key={OTHER}").status_code == 200


@asks
def test_a_user_is_no_key_and_a_key_no_user(admin, nobody, token):
    assert post(admin).status_code == 401
    assert nobody.get("/events", headers=basic(token)).status_code == 401
    assert nobody.get("/events", headers=bearer(token)).status_code == 401
    assert admin.get("/events").status_code == 200


@asks
def test_a_preflight_needs_no_key(nobody):
    answer = nobody.request("OPTIONS", "/events", headers={"Origin": "https://a.example"})
    assert answer.status_code == 204
    assert "authorization" in answer.headers["Access-Control-Allow-Headers"]


@asks
def test_a_wrong_key_is_answered_before_the_body_is_looked_at(nobody):
    assert nobody.post("/events", b"no JSON", "image/png").status_code == 401


# What a key may send


@asks
def test_the_first_event_that_a_key_may_not_send_is_named_and_nothing_is_stored(nobody, services, bound):
    assert post(nobody, bearer(bound), event(), event(customer="FERNHILL")).status_code == 200
    answer = post(nobody, bearer(bound), event(), event(), event(customer="OTHER"), event(customer="ANOTHER"))
    assert answer.status_code == 403
    assert root(answer) == "REQUEST_AUTHORIZATION_FAILURE"
    assert "events[2].customer" in answer.get_json()[0]["value"]["message"]
    allowed = 'events[2].customer is "OTHER"; with this key it must be "BARCHART" or "FERNHILL".'
    assert faults(answer) == [("REQUEST_AUTHORIZATION_FAILURE", allowed)]
    assert services.ingest.count() == 2


@asks
def test_a_product_that_a_key_may_not_send_is_named(nobody, bound):
    answer = post(nobody, bearer(bound), event(product="WATCHLIST"))
    assert answer.status_code == 403
    assert faults(answer)[0][1] == 'events[0].product is "WATCHLIST"; with this key it must be "PORTFOLIO".'


@asks
def test_lenience_does_not_let_other_events_in(nobody, services, bound):
    broken = event(timestamp="noon")
    answer = post(nobody, bearer(bound) | {"Prefer": "handling=lenient"}, broken, event(), event(customer="OTHER"))
    assert answer.status_code == 403
    assert "events[2].customer" in faults(answer)[0][1]
    assert services.ingest.count() == 0


@asks
def test_a_key_of_many_customers_is_not_told_in_full(nobody, services):
    many = services.ingest_keys.add("many", [f"C{number}" for number in range(1000)])[1]
    answer = post(nobody, bearer(many))
    assert len(answer.get_data()) < 500
    assert '"C4" or another' in faults(answer)[0][1]


@asks
def test_invalid_events_are_told_to_a_bound_key_as_to_anybody(nobody, bound):
    assert post(nobody, bearer(bound), event(timestamp="noon")).status_code == 400
    assert nobody.post("/events", b"[", headers=bearer(bound)).status_code == 400


@pytest.mark.settings(ingest_auth="key", catalog_mode="strict")
def test_a_bound_key_learns_nothing_of_the_catalog_of_others(nobody, bound, sample_catalog):
    answer = post(nobody, bearer(bound), event(customer="BARCHARD"))
    assert answer.status_code == 403


@asks
def test_a_bound_key_is_not_told_the_answer_that_another_got(nobody, services, token):
    narrow = services.ingest_keys.add("narrow", ["FERNHILL"])[1]
    again = {"Idempotency-Key": "once"}
    first = post(nobody, bearer(token) | again)
    assert post(nobody, bearer(token) | again).get_data() == first.get_data()
    assert post(nobody, bearer(narrow) | again).status_code == 403
    assert services.ingest.count() == 1


# The end of a key


@asks
def test_a_revoked_key_is_refused_at_once(nobody, services, token):
    assert post(nobody, bearer(token)).status_code == 200
    services.ingest_keys.revoke(services.ingest_keys.named("everything"))
    assert post(nobody, bearer(token)).status_code == 401


@asks
def test_a_revocation_counts_in_other_processes_within_five_seconds(services, token, later):
    elsewhere = IngestKeys()
    assert elsewhere.verify(token)
    services.ingest_keys.revoke(services.ingest_keys.named("everything"))
    later(KEPT_SECONDS)
    assert elsewhere.verify(token) is None
    assert elsewhere.find(token).revoked, "which counts without INGEST_AUTH, too"
    assert 2 * KEPT_SECONDS < 5  # even where the look at the database was just over when it was revoked
    elsewhere.flush()


@asks
def test_a_name_is_free_again_once_its_key_is_revoked(nobody, services, token):
    services.ingest_keys.revoke(services.ingest_keys.named("everything"))
    again = services.ingest_keys.add("everything")[1]
    assert post(nobody, bearer(again)).status_code == 200
    assert post(nobody, bearer(token)).status_code == 401


def test_a_name_is_taken_once_also_at_once(services):
    def add(number: int) -> bool:
        try:
            services.ingest_keys.add("web")
        except Exception as error:  # noqa: BLE001 - its kind is what the test is about
            return type(error).__name__ != "InputInvalid"
        return True

    assert sum(at_once(4, add)) == 1


# What is kept


def test_a_key_is_kept_as_its_hash_only(services, token):
    table = store.database.execute_sql("SELECT * FROM ingest_key").fetchall()
    assert token not in str(table)
    assert len(token) == 49
    assert services.ingest_keys.all()[0].hint == token[:10]


@asks
def test_the_last_use_is_noted_once_a_minute(nobody, services, token, monkeypatch):
    noted = []
    monkeypatch.setattr("app.services.access.ingest_keys.store.note_use", lambda key, moment: noted.append(moment))
    for minutes in (0, 0, 1, 1, 1):
        moment = int(time.time() * 1000) + minutes * NOTED_MS
        monkeypatch.setattr("app.services.access.ingest_keys.now", lambda moment=moment: moment)
        monkeypatch.setattr("app.services.access.ingest_keys.KEPT_SECONDS", 0)
        post(nobody, bearer(token))
        services.ingest_keys.flush()
    assert len(noted) == 2


@asks
def test_a_use_that_cannot_be_noted_disturbs_nobody(nobody, services, token, monkeypatch):
    def away(*_: object) -> None:
        raise StoreUnavailable("The database is locked.")

    monkeypatch.setattr("app.services.access.ingest_keys.store.note_use", away)
    assert post(nobody, bearer(token)).status_code == 200
    services.ingest_keys.flush()


# The database, asked seldom


@asks
def test_a_wrong_key_that_keeps_coming_is_looked_up_once(nobody, monkeypatch):
    asked = count_looks(monkeypatch)
    for _ in range(5):
        assert post(nobody, bearer(OTHER)).status_code == 401
    assert len(asked) == 1


@asks
def test_what_has_not_the_form_of_a_key_is_not_looked_up(nobody, monkeypatch):
    asked = count_looks(monkeypatch)
    for token in ("admin", OTHER + "A", "TALLY_" + "A" * 43, "tally_" + "ü" * 43):
        assert post(nobody, path=f"/events?key={token}").status_code == 401
    assert asked == []


def test_requests_at_once_look_a_key_up_once_when_it_is_due_again(services, token, later, monkeypatch):
    services.ingest_keys.verify(token)
    later(KEPT_SECONDS)
    asked = count_looks(monkeypatch, seconds=0.2)
    assert all(at_once(8, lambda _: services.ingest_keys.verify(token)))
    assert len(asked) == 1


def test_wrong_keys_without_end_do_not_fill_the_memory(services, token, monkeypatch):
    monkeypatch.setattr("app.services.access.ingest_keys.MAX_KEPT", 10)
    assert services.ingest_keys.verify(token)
    for number in range(50):
        assert services.ingest_keys.verify(f"tally_{number:043}") is None
    assert len(services.ingest_keys._kept) <= 11
    asked = count_looks(monkeypatch)
    assert services.ingest_keys.verify(token)
    assert asked == []


@asks
def test_the_connection_is_free_again_before_the_events_are_written(nobody, services, token, monkeypatch):
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


@asks
def test_while_the_database_is_away_a_key_seen_before_stays_good(nobody, services, token, later, monkeypatch):
    services.ingest_keys.verify(token)
    fresh = services.ingest_keys.add("fresh")[1]
    later(60)
    monkeypatch.setattr("app.services.access.ingest_keys.store.find", away)
    assert post(nobody, bearer(token)).status_code == 200
    answer = post(nobody, bearer(fresh))
    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) > 0


def away(*_: object) -> None:
    raise StoreUnavailable("The database cannot be reached.")


def count_looks(monkeypatch, seconds: float = 0.0) -> list[str]:
    """The digests that are looked up from now on, each taking so long."""
    asked, find, lock = [], rows.find, threading.Lock()

    def counted(digest: str):
        with lock:
            asked.append(digest)
        time.sleep(seconds)
        return find(digest)

    monkeypatch.setattr("app.services.access.ingest_keys.store.find", counted)
    return asked


# What the API says of itself


def described(client) -> dict:
    return client.get("/openapi.json").get_json()


@asks
def test_the_description_tells_of_keys_where_they_are_asked_for(nobody):
    document = described(nobody)
    operation = document["paths"]["/events"]["post"]
    schemes = document["components"]["securitySchemes"]
    told = [schemes[name] for one in operation["security"] for name in one]
    assert {(one["type"], one.get("scheme") or one["name"]) for one in told} == {
        ("http", "bearer"),
        ("http", "basic"),
        ("apiKey", "key"),
    }
    assert {"401", "403"} <= set(operation["responses"])


def test_the_description_tells_that_a_key_may_be_sent_where_none_is_asked_for(nobody):
    operation = described(nobody)["paths"]["/events"]["post"]
    assert {} in operation["security"]
    assert {"KeyAsUser": []} in operation["security"]
    assert {"401", "403"} <= set(operation["responses"])
    assert "429" not in operation["responses"]
