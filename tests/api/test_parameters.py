"""Query parameters and keys of bodies: unknown parameters and repeated keys are rejected, and unknown keys reported."""

from __future__ import annotations

import pytest

from app.support.paths import is_api
from tests.conftest import PASSWORD
from tests.security.matrix import rows
from tests.security.world import World
from tests.support.client import Client, event, faults, root

DATABASE = "sqlite"  # parsing a request does not depend on the database

FILTER = {"filter": {"customer": "BARCHART", "product": "PORTFOLIO"}}


class TestQuery:
    @pytest.mark.parametrize(
        ("address", "expected"),
        [
            ("/events?type=T", "did you mean types"),
            ("/events?Customer=A", "did you mean customer"),
            ("/events?limt=1", "did you mean limit"),
            ("/events?x=1", "it takes customer, product, types, start, end, context, value, batch, limit, after"),
            ("/events?=1", "it takes customer"),
            ("/reports?state=RUNNING", "did you mean status"),
            ("/reports/JOB-1/availability?x", ""),
            ("/reports/JOB-1/availability?x=1", "it takes none"),
            ("/health/live?x=1", "it takes none"),
        ],
    )
    def test_an_unknown_parameter_is_rejected_with_the_nearest_name(self, admin, address, expected):
        answer = admin.get(address)
        if expected:
            assert (answer.status_code, root(answer)) == (400, "REQUEST_INPUT_MALFORMED")
            assert expected in faults(answer)[0][1]

    def test_a_repeated_parameter_is_rejected(self, admin):
        answer = admin.get("/events?limit=1&customer=A&limit=2")
        assert [message for _, message in faults(answer)] == ["limit comes 2 times; it may come once."]

    def test_types_may_be_repeated(self, admin):
        admin.send(event(type="A"), event(type="B"))
        assert admin.get("/events?types=A&types=B").status_code == 200

    def test_events_are_found_by_a_context_value(self, admin, sample_catalog):
        admin.send(event(type="PORTFOLIO-VIEW-CHANGED", context=["u-1", "u-2"]), event(type="B", context=["u-2"]))
        for query, expected in (("value=u-2", ["B", "PORTFOLIO-VIEW-CHANGED"]), ("context=userId&value=u-2", [])):
            assert [one["type"] for one in admin.get(f"/events?{query}").json["events"]] == expected
        found = admin.get("/events?context=userId&value=u-1").json
        assert [one["context"] for one in found["events"]] == [["u-1", "u-2"]]
        assert "next" not in found
        assert "value is missing" in faults(admin.get("/events?context=userId"))[0][1]
        assert "the nearest known: userId" in faults(admin.get("/events?context=user&value=u"))[0][1]

    def test_the_events_of_a_batch_are_found_by_its_id(self, admin):
        batch = admin.send(event(type="A"), event(type="B", product="ALERT"))[0]["batch"]
        admin.send(event(type="C"))
        for query, expected in (("", {"A", "B"}), ("&product=ALERT", {"B"}), ("&types=C&limit=1", set())):
            assert {one["type"] for one in admin.get(f"/events?batch={batch}{query}").json["events"]} == expected
        answer = admin.get("/events?batch=123")
        assert faults(answer)[0][1] == 'batch is "123"; it must be the UUID of a batch.'

    def test_a_batch_with_an_unknown_parameter_stores_nothing(self, nobody, services):
        answer = nobody.post("/events?strict=1", [event()])
        assert faults(answer)[0][1] == '"strict" is not a parameter of /events; it takes key.'
        assert services.ingest.count() == 0
        assert nobody.post("/events?key=any", [event()]).status_code == 200

    def test_every_route_of_the_api_rejects_unknown_parameters(self, app):
        world = World(app)
        admin = Client(app, ("admin", PASSWORD))
        accepted = []
        for verb, path in (row.split()[:2] for row in rows()):
            if is_api(path):
                answer = admin.request(verb, world.address_of(verb, path).partition("?")[0] + "?no-such=1")
                refused = 403 if path.startswith("/files/") else 400  # a link with an invalid signature
                accepted += [(verb, path, answer.status_code)] if answer.status_code != refused else []
        assert accepted == []


def ignored_fields(answer) -> str | None:
    return answer.headers.get("X-Ignored-Fields")


class TestUnknownKeys:
    def test_those_of_the_envelope_and_of_all_events_are_listed(self, nobody):
        events = [event(b=1), event(), event(a={"c": 2}, b=2)]
        answer = nobody.post("/events", {"sent": 1, "events": events, "batchId": "x"})
        assert (answer.status_code, ignored_fields(answer)) == (200, "a, b, batchId, sent")

    def test_those_of_lines_and_of_a_bare_array_are_listed(self, nobody):
        line = b'{"customer":"C","product":"P","type":"T","timestamp":1,"context":[],"userAgent":"x"}'
        assert ignored_fields(nobody.post("/events", line + b"\n" + line, "application/x-ndjson")) == "userAgent"
        assert ignored_fields(nobody.post("/events", b"[" + line + b"]")) == "userAgent"

    def test_a_batch_without_unknown_keys_has_no_header(self, nobody):
        for body in [[event()], {"events": [event(version="1")]}, [], [event(context=[1, True, 2.5])]]:
            assert ignored_fields(nobody.post("/events", body)) is None

    def test_an_empty_key_beside_the_events_is_listed(self, nobody):
        for body in [b'{"events":[],"":0}', b'{"":0,"events":[]}', b' {"events":[] , "" :0}']:
            answer = nobody.post("/events", body)
            assert (answer.status_code, ignored_fields(answer)) == (200, "")

    def test_a_replay_lists_those_of_its_own_body(self, nobody):
        for replayed in (None, "true"):
            answer = nobody.post("/events", [event(x=1)], headers={"Idempotency-Key": "k"})
            assert (answer.headers.get("Idempotency-Replayed"), ignored_fields(answer)) == (replayed, "x")

    def test_names_are_escaped_for_the_header(self, nobody):
        names = ["a\r\nSet-Cookie: x", "é", 'q"uote', "c,d", "x" * 5_000]
        answer = nobody.post("/events", {"events": [], **dict.fromkeys(names, 1)})
        assert ignored_fields(answer) == f"a%0D%0ASet-Cookie: x, c%2Cd, q%22uote, {'x' * 60}, %C3%A9"

    def test_the_header_lists_only_some_of_very_many(self, nobody):
        answer = nobody.post("/events", [event(**{f"k{number:04}": 1 for number in range(1_000)})])
        assert len(ignored_fields(answer)) < 200
        assert ignored_fields(answer).endswith("and 80 more")

    def test_those_of_a_report_are_listed_by_their_path(self, admin):
        admin.send(event())
        sent = {"filter": FILTER["filter"] | {"limit": 5}, "output": {"colour": "red"}, "note": {"a": 1}}
        answer = admin.post("/reports", sent)
        assert (answer.status_code, ignored_fields(answer)) == (200, "filter.limit, note, output.colour")


class TestRepeatedKeys:
    def test_repeated_events_in_a_batch_are_rejected(self, nobody, services):
        events = b'[{"customer":"C","product":"P","type":"T","timestamp":1,"context":[]}]'
        for body in [
            b'{"events":' + events + b',"events":[]}',
            b'{"events":[],"events":' + events + b"}",
            b'{"events":0,"events":[]}',
            b'{"events":[],\n "\\u0065vents" : ' + events + b"}",
        ]:
            answer = nobody.post("/events", body)
            assert (answer.status_code, root(answer)) == (400, "REQUEST_INPUT_MALFORMED")
            assert faults(answer)[0][1] == "events comes twice; a request may have it once."
        assert services.ingest.count() == 0

    def test_repeated_keys_of_a_report_are_rejected(self, admin):
        admin.send(event())
        for body, twice in [
            (b'{"filter":{"customer":"A","product":"B"},"filter":{"customer":"A","product":"B"}}', "filter"),
            (b'{"filter":{"customer":"A","product":"B","customer":"C"}}', "filter.customer"),
            (b'{"filter":{"customer":"A","product":"B"},"output":{"format":"csv","format":"csv"}}', "output.format"),
        ]:
            answer = admin.post("/reports", body)
            assert answer.status_code == 400
            assert (f"{twice} comes twice; it may come once.") in [message for _, message in faults(answer)]
