"""Rejected requests: the whole request is recorded, and can be sent again as one batch, once."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from app import create_app
from app.exceptions import Forbidden, InputInvalid, KeyReused, RejectedUnknown
from app.services.events import rejected as service
from app.services.events.resend import Change
from app.services.people.principal import SYSTEM, Principal
from app.store.events import rejected
from app.store.models import AuditEntry, RejectedEvent, RejectedRequest
from tests.support.client import Client, event
from tests.support.rows import newest_events

LIMITED = Principal(1, "otto", "operator", ("BARCHART",), "")
strict = pytest.mark.settings(catalog_mode="strict")
MIXED = [event(context=["1"]), event(timestamp=-1, context=["2"]), event(context=["3"])]


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """SQLite only, because other tests cover the queries on both databases."""
    return sqlite_url


@pytest.fixture
def send_invalid(nobody, services):
    """Return a function that sends an invalid request, and returns the recorded request."""

    def send(*sent: object, headers: dict | None = None, **kwargs: object) -> RejectedRequest | None:
        answer = nobody.post("/events", list(sent), headers=headers or {}, **kwargs)
        assert answer.status_code == 400
        services.rejected.flush()
        return RejectedRequest.select().order_by(RejectedRequest.id.desc()).first()

    return send


def stored() -> list[tuple[int, list]]:
    return sorted((row.sequence, row.context) for row in newest_events(1_000))


def batches() -> int:
    return len({row.batch for row in newest_events(1_000)})


def rejected_indexes() -> list[int]:
    """Return the indexes of the recorded rejected events."""
    return sorted(rejected_event.place for rejected_event in rejected.newest(1_000))


@strict
def test_a_rejected_request_is_stored_as_one_batch_after_the_catalog_is_fixed(send_invalid, services, sample_catalog):
    request = send_invalid(event(context=["1"]), event(customer="NEW", context=["2"]), event(context=["3"]))
    assert (request.events, request.invalid) == (3, 1)
    with pytest.raises(InputInvalid):
        services.resend.send_request(SYSTEM, request.uuid)
    assert (stored(), rejected_indexes()) == ([], [2])
    services.catalog_editor.add(SYSTEM, "customers", {"code": "NEW", "description": ""})
    sent = services.resend.send_request(SYSTEM, request.uuid)
    assert sent.events == 3
    assert (stored(), batches()) == ([(1, ["1"]), (2, ["2"]), (3, ["3"])], 1)
    assert rejected_indexes() == []
    with pytest.raises(RejectedUnknown):
        services.resend.send_request(SYSTEM, request.uuid)
    (entry,) = AuditEntry.select().where(AuditEntry.action == "rejected request sent again")
    assert (entry.object, entry.details["events"]) == (f"refused request {request.uuid}", 3)


def test_a_request_without_valid_events_is_not_recorded(send_invalid):
    assert send_invalid(event(timestamp=-1), {}) is None
    assert rejected_indexes() == [1, 2]


def test_events_removed_or_sent_on_their_own_are_excluded_from_their_request(send_invalid, services):
    request = send_invalid(event(context=["1"]), event(timestamp=-1), event(timestamp=-2), event(context=["4"]))
    alone, removed = RejectedEvent.select().order_by(RejectedEvent.place)
    services.resend.send(SYSTEM, alone.id, json.dumps(event(context=["alone"])))
    services.rejected.discard(SYSTEM, removed)
    assert rejected.request(request.uuid).excluded_places == [2, 3]
    assert services.resend.send_request(SYSTEM, request.uuid).events == 2
    assert sorted(context for _, context in stored()) == [["1"], ["4"], ["alone"]]


def test_a_group_is_sent_with_the_requests_of_its_events(send_invalid, services):
    send_invalid(*MIXED)
    send_invalid(event(context=["4"]), event(timestamp=-1, context=["5"]), event(timestamp=-1, context=["6"]))
    key = services.rejected_groups.every(SYSTEM, "day")[0].key
    last = rejected.newest(1)[0].id
    sent = services.rejected_groups.send(SYSTEM, key, last, Change("timestamp"))
    assert (sent.stored, sent.refused, sent.left) == (6, 0, 0)
    assert sorted(context for _, context in stored()) == [[str(number)] for number in range(1, 7)]
    assert (batches(), rejected_indexes(), RejectedRequest.select().count()) == (2, [], 0)


def test_a_request_of_a_group_that_is_still_invalid_is_rejected_once_and_kept(send_invalid, services, monkeypatch):
    monkeypatch.setattr("app.services.events.rejected_groups.AT_ONCE", 1)
    request = send_invalid(event(), event(timestamp=-1), event(timestamp=-1), event(type=""))
    key = next(group.key for group in services.rejected_groups.every(SYSTEM, "day") if group.key.field == "timestamp")
    sent = services.rejected_groups.send(SYSTEM, key, rejected.newest(1)[0].id, Change("timestamp"))
    assert (sent.stored, sent.refused, sent.left) == (0, 2, 0)
    assert sent.reasons[0].startswith("events[3].type")
    assert (stored(), rejected_indexes()) == ([], [2, 3, 4])
    assert rejected.request(request.uuid)


def test_a_client_s_repeat_after_the_resend_is_not_stored_again(send_invalid, nobody, services, sample_catalog):
    services.catalog.strict = True
    headers = {"Idempotency-Key": "mine"}
    sent = [event(), event(customer="NEW")]
    request = send_invalid(*sent, headers=headers)
    services.catalog.strict = False
    batch = services.resend.send_request(SYSTEM, request.uuid).batch
    repeated = nobody.post("/events", sent, headers=headers)
    assert repeated.headers["Idempotency-Replayed"] == "true"
    assert {stored_event["batch"] for stored_event in repeated.get_json()} == {batch}
    assert len(stored()) == 2


def test_a_resend_is_rejected_if_the_client_stored_a_request_under_the_same_key(send_invalid, nobody, services):
    headers = {"Idempotency-Key": "mine"}
    request = send_invalid(*MIXED, headers=headers)
    assert nobody.post("/events", [event(), event(), event()], headers=headers).status_code == 200
    with pytest.raises(KeyReused, match="remove the request"):
        services.resend.send_request(SYSTEM, request.uuid, {2: json.dumps(event())})
    assert len(stored()) == 3
    assert rejected.request(request.uuid)


def test_a_request_is_stored_and_removed_in_one_transaction(send_invalid, services, monkeypatch):
    request = send_invalid(*MIXED)
    fixed = {2: json.dumps(event())}
    with monkeypatch.context() as patch:
        patch.setattr(rejected, "claim_request", lambda *args: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            services.resend.send_request(SYSTEM, request.uuid, fixed)
    assert (stored(), rejected_indexes()) == ([], [2])
    assert services.resend.send_request(SYSTEM, request.uuid, fixed).events == 3
    assert len(stored()) == 3


@pytest.mark.parametrize("first", ["event", "request"])
def test_a_request_and_one_of_its_events_sent_concurrently_are_stored_once(send_invalid, services, monkeypatch, first):
    request = send_invalid(*MIXED)
    (rejected_event,) = rejected.newest(1)

    def send_event() -> None:
        services.resend.send(SYSTEM, rejected_event.id, json.dumps(event(context=["2"])))

    def send_request() -> None:
        services.resend.send_request(SYSTEM, request.uuid, {2: json.dumps(event(context=["2"]))})

    faster, slower = (send_event, send_request) if first == "event" else (send_request, send_event)
    accept = services.ingest.accept

    def accept_late(*args: object, **kwargs: object) -> object:
        """Let the faster resend finish after the slower one has read what it sends."""
        monkeypatch.setattr(services.ingest, "accept", accept)
        faster()
        return accept(*args, **kwargs)

    monkeypatch.setattr(services.ingest, "accept", accept_late)
    with pytest.raises(RejectedUnknown, match="meanwhile"):
        slower()
    assert [context for _, context in stored()].count(["2"]) == 1
    if first == "event":
        services.resend.send_request(SYSTEM, request.uuid)
    assert sorted(context for _, context in stored()) == [["1"], ["2"], ["3"]]


def test_a_request_and_its_invalid_events_are_recorded_in_one_transaction(nobody, services, monkeypatch):
    monkeypatch.setattr(service, "GROUP_EVENTS", 1)
    calls = []
    monkeypatch.setattr(rejected, "add", lambda rows, dropped, requests: calls.append((rows, requests)))
    with services.rejected._writing:  # requests that arrive now wait
        nobody.post("/events", [event(timestamp=-1), {}])
        nobody.post("/events", [event(), event(timestamp=-1), {}])
        nobody.post("/events", [event(), {}, {}])
    services.rejected.flush()
    for rows, requests in calls:
        assert {row["request"] for row in rows if row["request"]} == {request["uuid"] for request in requests}
    assert sum(len(requests) for _, requests in calls) == 2
    assert sum(len(rows) for rows, _ in calls) == 6


@pytest.mark.parametrize("kind", ["application/json", "application/x-ndjson"])
def test_the_body_is_recorded_exactly_as_sent(nobody, services, kind):
    body = json.dumps(event(own="kept")).encode() + b' \n{"customer": \n' + json.dumps(event()).encode()
    if kind == "application/json":
        body = b'{"more": 1, "events": [%s, {"n": 1e400}]}' % json.dumps(event()).encode()
    nobody.post("/events", body, kind)
    services.rejected.flush()
    (request,) = RejectedRequest.select()
    assert services.rejected.start_of_body(request, 10_000) == body.decode()
    (rejected_event,) = rejected.newest(10)
    services.rejected.discard(SYSTEM, rejected_event)
    sent = services.resend.send_request(SYSTEM, request.uuid)
    assert sent.events == (1 if kind == "application/json" else 2)


def test_a_request_with_events_of_other_customers_is_hidden_and_its_own_events_are_sent_singly(send_invalid, services):
    mixed = send_invalid(event(), event(timestamp=-1), event(customer="OTHER"))
    own = send_invalid(event(), event(timestamp=-1))
    assert [request.uuid for request in services.rejected.requests(LIMITED, 10)] == [own.uuid]
    assert services.rejected.request_totals(LIMITED) == (1, 1)
    assert services.rejected.request_totals(SYSTEM) == (2, 3)
    for action in (services.rejected.request, services.resend.send_request):
        with pytest.raises(RejectedUnknown):
            action(LIMITED, mixed.uuid)
    with pytest.raises(Forbidden):
        services.resend.send_request(LIMITED, own.uuid, {2: json.dumps(event(customer="OTHER"))})
    key = services.rejected_groups.every(LIMITED, "day")[0].key
    sent = services.rejected_groups.send(LIMITED, key, 2**40, Change("timestamp"))
    assert (sent.stored, sent.refused) == (3, 0)
    assert rejected.request(mixed.uuid).excluded_places == [2]


@pytest.mark.settings(invalid_events="store-valid")
@pytest.mark.parametrize(("prefer", "status"), [(None, 200), ("handling=lenient", 200), ("handling=strict", 400)])
def test_store_valid_makes_lenient_mode_the_default_and_prefer_overrides_it(nobody, services, prefer, status):
    answer = nobody.post("/events", MIXED, headers={"Prefer": prefer} if prefer else {})
    assert answer.status_code == status
    services.rejected.flush()
    assert rejected_indexes() == [2]
    if status == 200:
        assert answer.headers["Preference-Applied"] == "handling=lenient"
        assert answer.headers["X-Rejected-Events"] == "1"
        assert stored() == [(1, ["1"]), (3, ["3"])]
    else:
        assert stored() == []
    assert RejectedRequest.select().count() == (status == 400)


@pytest.mark.settings(invalid_events="store-valid")
def test_a_resent_event_that_is_still_invalid_is_rejected_under_store_valid(nobody, services):
    nobody.post("/events", [event(timestamp=-1)])
    services.rejected.flush()
    (outcome,) = services.resend.send_many(None)
    assert outcome.reasons
    assert rejected_indexes() == [1]


def test_a_repeat_gets_the_same_response_after_the_setting_changed(nobody, settings):
    headers = {"Idempotency-Key": "k"}
    first = nobody.post("/events", [event()], headers=headers)
    changed = Client(create_app(replace(settings, invalid_events="store-valid")), None)
    repeated = changed.post("/events", [event()], headers=headers)
    assert (repeated.status_code, repeated.get_data()) == (200, first.get_data())


def test_valid_events_of_a_request_that_does_not_fit_in_the_queue_count_as_dropped(nobody, services, monkeypatch):
    monkeypatch.setattr(service, "QUEUE_BYTES", 10)
    nobody.post("/events", MIXED)
    services.rejected.flush()
    assert services.rejected.dropped() == 3
    assert RejectedRequest.select().count() == 0


def test_erasing_events_also_erases_them_from_rejected_requests(send_invalid, services):
    request = send_invalid(event(context=["x"]), event(timestamp=-1), event(customer="OTHER", context=["stays"]))
    plan = services.retention.plan({"customer": "BARCHART"})
    assert plan.rejected_number == 2
    list(services.retention.erase(SYSTEM, plan))
    remaining = rejected.request(request.uuid)
    assert "BARCHART" not in services.rejected.start_of_body(remaining, 10_000)
    assert services.resend.send_request(SYSTEM, request.uuid).events == 1
    assert stored() == [(1, ["stays"])]


# Events outside the scope of their ingest key


@pytest.fixture
def restricted(services) -> dict[str, str]:
    """The header of a key that may send events of BARCHART and PORTFOLIO."""
    return {"Authorization": "Bearer " + services.ingest_keys.add("bound", ["BARCHART"], ["PORTFOLIO"])[1]}


@pytest.mark.settings(ingest_auth="key")
@pytest.mark.parametrize("wrong", [{"customer": "VICTIM"}, {"product": "WATCHLIST"}])
def test_an_invalid_event_outside_its_key_s_scope_belongs_to_no_customer(send_invalid, services, restricted, wrong):
    send_invalid(event(timestamp=None, **wrong), headers=restricted)
    (rejected_event,) = rejected.newest(10)
    assert rejected_event.customer == ""
    assert rejected_event.reasons[-1] == "The ingest key bound may not send events of this customer and product."
    for customer in ("VICTIM", "BARCHART"):
        principal = Principal(1, "otto", "operator", (customer,), "")
        assert services.rejected.page(principal, 10) == []
        assert services.rejected_groups.every(principal, "day") == []
    key = services.rejected_groups.every(SYSTEM, "day")[0].key
    sent = services.rejected_groups.send(SYSTEM, key, rejected_event.id, Change("timestamp"))
    assert (sent.stored, sent.refused) == (0, 1)
    assert "may not send" in sent.reasons[0]
    services.resend.send(SYSTEM, rejected_event.id, json.dumps(event()))  # edited by a user with full access
    assert len(stored()) == 1


@pytest.mark.settings(ingest_auth="key")
def test_a_request_with_an_event_outside_its_key_s_scope_is_not_sent_whole(send_invalid, services, restricted):
    request = send_invalid(event(), event(customer="VICTIM", timestamp=-1), headers=restricted)
    assert (request.customer, request.forbidden_places) == ("", [2])
    (outcome,) = services.resend.send_many(None)
    assert "may not send" in outcome.reasons[0]
    services.rejected.discard(SYSTEM, rejected.newest(1)[0])
    assert services.resend.send_request(SYSTEM, request.uuid).events == 1


@pytest.mark.settings(ingest_auth="key")
def test_an_invalid_event_within_its_key_s_scope_belongs_to_its_customer(send_invalid, restricted):
    send_invalid(event(timestamp=None), headers=restricted)
    assert rejected.newest(1)[0].customer == "BARCHART"
