"""Of a refused batch nothing is lost: the request is kept whole, and sent again as one batch, once."""

from __future__ import annotations

import json

import pytest

from app.exceptions import Forbidden, InputInvalid, KeyReused, RejectedUnknown
from app.services.events import rejected as keeping
from app.services.events.resend import Change
from app.services.people.principal import SYSTEM, Principal
from app.store.events import rejected, select
from app.store.models import AuditEntry, RejectedEvent, RejectedRequest
from tests.support.client import event

LIMITED = Principal(1, "otto", "operator", ("BARCHART",), "")
strict = pytest.mark.settings(catalog_mode="strict")
MIXED = [event(context=["1"]), event(timestamp=-1, context=["2"]), event(context=["3"])]


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """SQLite: the queries are tried on both databases elsewhere."""
    return sqlite_url


@pytest.fixture
def refuse(nobody, services):
    """Send a request that is refused; it as it is kept."""

    def send(*sent: object, headers: dict | None = None, **kwargs: object) -> RejectedRequest | None:
        answer = nobody.post("/events", list(sent), headers=headers or {}, **kwargs)
        assert answer.status_code == 400
        services.rejected.flush()
        return RejectedRequest.select().order_by(RejectedRequest.id.desc()).first()

    return send


def stored() -> list[tuple[int, list]]:
    return sorted((row.sequence, row.context) for row in select.newest(1_000))


def batches() -> int:
    return len({row.batch for row in select.newest(1_000)})


def places() -> list[int]:
    """The places of the rejected events that are kept."""
    return sorted(one.place for one in rejected.newest(1_000))


@strict
def test_a_refused_request_is_stored_whole_as_one_batch_once_the_catalog_has_what_was_missing(
    refuse, services, sample_catalog
):
    request = refuse(event(context=["1"]), event(customer="NEW", context=["2"]), event(context=["3"]))
    assert (request.events, request.invalid) == (3, 1)
    with pytest.raises(InputInvalid):
        services.resend.send_request(SYSTEM, request.uuid)
    assert (stored(), places()) == ([], [2])
    services.catalog_editor.add(SYSTEM, "customers", {"code": "NEW", "description": ""})
    sent = services.resend.send_request(SYSTEM, request.uuid)
    assert sent.events == 3
    assert (stored(), batches()) == ([(1, ["1"]), (2, ["2"]), (3, ["3"])], 1)
    assert places() == []
    with pytest.raises(RejectedUnknown):
        services.resend.send_request(SYSTEM, request.uuid)
    (note,) = AuditEntry.select().where(AuditEntry.action == "rejected request sent again")
    assert (note.object, note.details["events"]) == (f"refused request {request.uuid}", 3)


def test_only_what_has_valid_events_is_kept_as_a_request(refuse):
    assert refuse(event(timestamp=-1), {}) is None
    assert places() == [1, 2]


def test_an_event_that_was_removed_or_sent_alone_is_no_part_of_its_request_any_more(refuse, services):
    request = refuse(event(context=["1"]), event(timestamp=-1), event(timestamp=-2), event(context=["4"]))
    alone, removed = RejectedEvent.select().order_by(RejectedEvent.place)
    services.resend.send(SYSTEM, alone.id, json.dumps(event(context=["alone"])))
    services.rejected.discard(SYSTEM, removed)
    assert rejected.request(request.uuid).excluded_places == [2, 3]
    assert services.resend.send_request(SYSTEM, request.uuid).events == 2
    assert sorted(context for _, context in stored()) == [["1"], ["4"], ["alone"]]


def test_a_group_is_sent_with_the_requests_of_its_events(refuse, services):
    refuse(*MIXED)
    refuse(event(context=["4"]), event(timestamp=-1, context=["5"]), event(timestamp=-1, context=["6"]))
    key = services.rejected_groups.every(SYSTEM, "day")[0].key
    last = rejected.newest(1)[0].id
    sent = services.rejected_groups.send(SYSTEM, key, last, Change("timestamp"))
    assert (sent.stored, sent.refused, sent.left) == (6, 0, 0)
    assert sorted(context for _, context in stored()) == [[str(number)] for number in range(1, 7)]
    assert (batches(), places(), RejectedRequest.select().count()) == (2, [], 0)


def test_a_group_s_request_that_is_still_invalid_is_refused_once_and_stays(refuse, services, monkeypatch):
    monkeypatch.setattr("app.services.events.rejected_groups.AT_ONCE", 1)
    request = refuse(event(), event(timestamp=-1), event(timestamp=-1), event(type=""))
    key = next(group.key for group in services.rejected_groups.every(SYSTEM, "day") if group.key.field == "timestamp")
    sent = services.rejected_groups.send(SYSTEM, key, rejected.newest(1)[0].id, Change("timestamp"))
    assert (sent.stored, sent.refused, sent.left) == (0, 2, 0)
    assert sent.reasons[0].startswith("events[3].type")
    assert (stored(), places()) == ([], [2, 3, 4])
    assert rejected.request(request.uuid)


def test_the_client_s_own_repeat_is_stored_no_second_time(refuse, nobody, services, sample_catalog):
    services.catalog.strict = True
    keyed = {"Idempotency-Key": "mine"}
    sent = [event(), event(customer="NEW")]
    request = refuse(*sent, headers=keyed)
    services.catalog.strict = False
    batch = services.resend.send_request(SYSTEM, request.uuid).batch
    again = nobody.post("/events", sent, headers=keyed)
    assert again.headers["Idempotency-Replayed"] == "true"
    assert {one["batch"] for one in again.get_json()} == {batch}
    assert len(stored()) == 2


def test_what_the_client_stored_under_the_same_key_since_is_not_stored_twice(refuse, nobody, services):
    keyed = {"Idempotency-Key": "mine"}
    request = refuse(*MIXED, headers=keyed)
    assert nobody.post("/events", [event(), event(), event()], headers=keyed).status_code == 200
    with pytest.raises(KeyReused, match="remove the request"):
        services.resend.send_request(SYSTEM, request.uuid, {2: json.dumps(event())})
    assert len(stored()) == 3
    assert rejected.request(request.uuid)


def test_a_request_is_stored_and_removed_in_one_transaction(refuse, services, monkeypatch):
    request = refuse(*MIXED)
    fixed = {2: json.dumps(event())}
    with monkeypatch.context() as patch:
        patch.setattr(rejected, "claim_request", lambda *args: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            services.resend.send_request(SYSTEM, request.uuid, fixed)
    assert (stored(), places()) == ([], [2])
    assert services.resend.send_request(SYSTEM, request.uuid, fixed).events == 3
    assert len(stored()) == 3


@pytest.mark.parametrize("first", ["event", "request"])
def test_a_request_and_one_of_its_events_sent_at_the_same_moment_are_not_stored_twice(
    refuse, services, monkeypatch, first
):
    request = refuse(*MIXED)
    (one,) = rejected.newest(1)

    def send_event() -> None:
        services.resend.send(SYSTEM, one.id, json.dumps(event(context=["2"])))

    def send_request() -> None:
        services.resend.send_request(SYSTEM, request.uuid, {2: json.dumps(event(context=["2"]))})

    faster, slower = (send_event, send_request) if first == "event" else (send_request, send_event)
    accept = services.ingest.accept

    def overtaken(*args: object, **kwargs: object) -> object:
        """The slower one has read what it sends; now the faster one comes."""
        monkeypatch.setattr(services.ingest, "accept", accept)
        faster()
        return accept(*args, **kwargs)

    monkeypatch.setattr(services.ingest, "accept", overtaken)
    with pytest.raises(RejectedUnknown, match="meanwhile"):
        slower()
    assert [context for _, context in stored()].count(["2"]) == 1
    if first == "event":
        services.resend.send_request(SYSTEM, request.uuid)
    assert sorted(context for _, context in stored()) == [["1"], ["2"], ["3"]]


def test_a_request_is_kept_with_its_invalid_events_in_one_transaction(nobody, services, monkeypatch):
    monkeypatch.setattr(keeping, "GROUP_EVENTS", 1)
    seen = []
    monkeypatch.setattr(rejected, "add", lambda rows, dropped, requests: seen.append((rows, requests)))
    with services.rejected._writing:  # what comes meanwhile waits
        nobody.post("/events", [event(timestamp=-1), {}])
        nobody.post("/events", [event(), event(timestamp=-1), {}])
        nobody.post("/events", [event(), {}, {}])
    services.rejected.flush()
    for rows, whole in seen:
        assert {row["request"] for row in rows if row["request"]} == {one["uuid"] for one in whole}
    assert sum(len(whole) for _, whole in seen) == 2
    assert sum(len(rows) for rows, _ in seen) == 6


@pytest.mark.parametrize("kind", ["application/json", "application/x-ndjson"])
def test_what_is_kept_is_the_body_as_it_was_sent(nobody, services, kind):
    body = json.dumps(event(own="kept")).encode() + b' \n{"customer": \n' + json.dumps(event()).encode()
    if kind == "application/json":
        body = b'{"more": 1, "events": [%s, {"n": 1e400}]}' % json.dumps(event()).encode()
    nobody.post("/events", body, kind)
    services.rejected.flush()
    (request,) = RejectedRequest.select()
    assert services.rejected.start_of_body(request, 10_000) == body.decode()
    (one,) = rejected.newest(10)
    services.rejected.discard(SYSTEM, one)
    sent = services.resend.send_request(SYSTEM, request.uuid)
    assert sent.events == (1 if kind == "application/json" else 2)


def test_a_request_with_another_s_events_is_not_theirs_to_see_and_its_events_go_alone(refuse, services):
    mixed = refuse(event(), event(timestamp=-1), event(customer="OTHER"))
    own = refuse(event(), event(timestamp=-1))
    assert [one.uuid for one in services.rejected.requests(LIMITED, 10)] == [own.uuid]
    assert services.rejected.request_totals(LIMITED) == (1, 1)
    assert services.rejected.request_totals(SYSTEM) == (2, 3)
    for act in (services.rejected.request, services.resend.send_request):
        with pytest.raises(RejectedUnknown):
            act(LIMITED, mixed.uuid)
    with pytest.raises(Forbidden):
        services.resend.send_request(LIMITED, own.uuid, {2: json.dumps(event(customer="OTHER"))})
    key = services.rejected_groups.every(LIMITED, "day")[0].key
    sent = services.rejected_groups.send(LIMITED, key, 2**40, Change("timestamp"))
    assert (sent.stored, sent.refused) == (3, 0)
    assert rejected.request(mixed.uuid).excluded_places == [2]


@pytest.mark.settings(invalid_events="store-valid")
@pytest.mark.parametrize(("prefer", "status"), [(None, 200), ("handling=lenient", 200), ("handling=strict", 400)])
def test_store_valid_is_lenience_by_default_and_prefer_overrides_it(nobody, services, prefer, status):
    answer = nobody.post("/events", MIXED, headers={"Prefer": prefer} if prefer else {})
    assert answer.status_code == status
    services.rejected.flush()
    assert places() == [2]
    if status == 200:
        assert answer.headers["Preference-Applied"] == "handling=lenient"
        assert answer.headers["X-Rejected-Events"] == "1"
        assert stored() == [(1, ["1"]), (3, ["3"])]
    else:
        assert stored() == []
    assert RejectedRequest.select().count() == (status == 400)


@pytest.mark.settings(invalid_events="store-valid")
def test_a_rejected_event_that_is_still_invalid_is_refused_under_store_valid_too(nobody, services):
    nobody.post("/events", [event(timestamp=-1)])
    services.rejected.flush()
    (outcome,) = services.resend.send_as_they_are(None)
    assert outcome.reasons
    assert places() == [1]


def test_a_repeat_is_answered_the_same_after_the_setting_changed(nobody, services):
    keyed = {"Idempotency-Key": "k"}
    first = nobody.post("/events", [event()], headers=keyed)
    services.ingest._store_valid = True
    again = nobody.post("/events", [event()], headers=keyed)
    assert (again.status_code, again.get_data()) == (200, first.get_data())


def test_where_the_queue_has_no_room_for_a_request_its_valid_events_are_counted_as_dropped(
    nobody, services, monkeypatch
):
    monkeypatch.setattr(keeping, "QUEUE_BYTES", 10)
    nobody.post("/events", MIXED)
    services.rejected.flush()
    assert services.rejected.dropped() == 3
    assert RejectedRequest.select().count() == 0


def test_erased_events_are_erased_from_refused_requests(refuse, services):
    request = refuse(event(context=["x"]), event(timestamp=-1), event(customer="OTHER", context=["stays"]))
    plan = services.retention.plan({"customer": "BARCHART"})
    assert plan.rejected_number == 2
    list(services.retention.erase(SYSTEM, plan))
    left = rejected.request(request.uuid)
    assert "BARCHART" not in services.rejected.start_of_body(left, 10_000)
    assert services.resend.send_request(SYSTEM, request.uuid).events == 1
    assert stored() == [(1, ["stays"])]


# An ingest key that may not send what it sent


@pytest.fixture
def bound(services) -> dict[str, str]:
    """The header of a key that may send events of BARCHART's PORTFOLIO."""
    return {"Authorization": "Bearer " + services.ingest_keys.add("bound", ["BARCHART"], ["PORTFOLIO"])[1]}


@pytest.mark.settings(ingest_auth="key")
@pytest.mark.parametrize("wrong", [{"customer": "VICTIM"}, {"product": "WATCHLIST"}])
def test_an_invalid_event_that_its_key_may_not_send_is_nobody_s(refuse, services, bound, wrong):
    refuse(event(timestamp=None, **wrong), headers=bound)
    (one,) = rejected.newest(10)
    assert one.customer == ""
    assert one.reasons[-1] == "The ingest key bound may not send events of this customer and product."
    for customer in ("VICTIM", "BARCHART"):
        who = Principal(1, "otto", "operator", (customer,), "")
        assert services.rejected.page(who, 10) == []
        assert services.rejected_groups.every(who, "day") == []
    key = services.rejected_groups.every(SYSTEM, "day")[0].key
    sent = services.rejected_groups.send(SYSTEM, key, one.id, Change("timestamp"))
    assert (sent.stored, sent.refused) == (0, 1)
    assert "may not send" in sent.reasons[0]
    services.resend.send(SYSTEM, one.id, json.dumps(event()))  # by hand, by whoever sees everything
    assert len(stored()) == 1


@pytest.mark.settings(ingest_auth="key")
def test_a_request_with_such_an_event_is_nobody_s_and_not_sent_whole(refuse, services, bound):
    request = refuse(event(), event(customer="VICTIM", timestamp=-1), headers=bound)
    assert (request.customer, request.forbidden_places) == ("", [2])
    (outcome,) = services.resend.send_as_they_are(None)
    assert "may not send" in outcome.reasons[0]
    services.rejected.discard(SYSTEM, rejected.newest(1)[0])
    assert services.resend.send_request(SYSTEM, request.uuid).events == 1


@pytest.mark.settings(ingest_auth="key")
def test_an_invalid_event_that_its_key_may_send_is_its_customer_s(refuse, bound):
    refuse(event(timestamp=None), headers=bound)
    assert rejected.newest(1)[0].customer == "BARCHART"
