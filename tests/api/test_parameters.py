"""Query parameters: each route knows its own, each once; and what a body has beside its fields is named."""

from __future__ import annotations

import pytest

from app.support.paths import is_api
from tests.conftest import PASSWORD
from tests.security.matrix import rows
from tests.security.world import World
from tests.support.client import Client, event, faults, root

DATABASE = "sqlite"  # what a request may say is no matter of where the events are

FILTER = {"filter": {"customer": "BARCHART", "product": "PORTFOLIO"}}


class TestQuery:
    @pytest.mark.parametrize(
        ("address", "said"),
        [
            ("/events?type=T", "did you mean types"),
            ("/events?Customer=A", "did you mean customer"),
            ("/events?limt=1", "did you mean limit"),
            ("/events?x=1", "it takes customer, product, types, start, end, limit, after"),
            ("/events?=1", "it takes customer"),
            ("/reports?state=RUNNING", "did you mean status"),
            ("/reports/JOB-1/availability?x", ""),
            ("/reports/JOB-1/availability?x=1", "it takes none"),
            ("/health/live?x=1", "it takes none"),
        ],
    )
    def test_an_unknown_parameter_is_refused_and_the_nearest_is_named(self, admin, address, said):
        answer = admin.get(address)
        if said:
            assert (answer.status_code, root(answer)) == (400, "REQUEST_INPUT_MALFORMED")
            assert said in faults(answer)[0][1]

    def test_one_that_comes_twice_is_refused(self, admin):
        answer = admin.get("/events?limit=1&customer=A&limit=2")
        assert [message for _, message in faults(answer)] == ["limit comes 2 times; it may come once."]

    def test_types_may_come_often(self, admin):
        admin.send(event(type="A"), event(type="B"))
        assert admin.get("/events?types=A&types=B").status_code == 200

    def test_a_batch_with_an_unknown_parameter_stores_nothing(self, nobody, services):
        answer = nobody.post("/events?strict=1", [event()])
        assert faults(answer)[0][1] == '"strict" is not a parameter of /events; it takes key.'
        assert services.ingest.count() == 0
        assert nobody.post("/events?key=any", [event()]).status_code == 200

    def test_no_route_of_the_api_takes_one_that_it_does_not_know(self, app):
        world = World(app)
        admin = Client(app, ("admin", PASSWORD))
        found = []
        for verb, path in (row.split()[:2] for row in rows()):
            if is_api(path):
                answer = admin.request(verb, world.address_of(verb, path).partition("?")[0] + "?no-such=1")
                refused = 403 if path.startswith("/files/") else 400  # a link that was changed
                found += [(verb, path, answer.status_code)] if answer.status_code != refused else []
        assert found == []


def ignored(answer) -> str | None:
    return answer.headers.get("X-Ignored-Fields")


class TestUnknownKeys:
    def test_those_of_the_envelope_and_of_all_events_are_named(self, nobody):
        events = [event(b=1), event(), event(a={"c": 2}, b=2)]
        answer = nobody.post("/events", {"sent": 1, "events": events, "batchId": "x"})
        assert (answer.status_code, ignored(answer)) == (200, "a, b, batchId, sent")

    def test_in_lines_and_in_a_bare_array_too(self, nobody):
        line = b'{"customer":"C","product":"P","type":"T","timestamp":1,"context":[],"userAgent":"x"}'
        assert ignored(nobody.post("/events", line + b"\n" + line, "application/x-ndjson")) == "userAgent"
        assert ignored(nobody.post("/events", b"[" + line + b"]")) == "userAgent"

    def test_a_batch_without_any_says_nothing(self, nobody):
        for body in [[event()], {"events": [event(version="1")]}, [], [event(context=[1, True, 2.5])]]:
            assert ignored(nobody.post("/events", body)) is None

    def test_a_short_one_beside_the_events_is_not_overlooked(self, nobody):
        for body in [b'{"events":[],"":0}', b'{"":0,"events":[]}', b' {"events":[] , "" :0}']:
            answer = nobody.post("/events", body)
            assert (answer.status_code, ignored(answer)) == (200, "")

    def test_a_replay_names_those_of_its_own_body(self, nobody):
        for replayed in (None, "true"):
            answer = nobody.post("/events", [event(x=1)], headers={"Idempotency-Key": "k"})
            assert (answer.headers.get("Idempotency-Replayed"), ignored(answer)) == (replayed, "x")

    def test_names_are_made_fit_for_a_header(self, nobody):
        names = ["a\r\nSet-Cookie: x", "é", 'q"uote', "c,d", "x" * 5_000]
        answer = nobody.post("/events", {"events": [], **dict.fromkeys(names, 1)})
        assert ignored(answer) == f"a%0D%0ASet-Cookie: x, c%2Cd, q%22uote, {'x' * 60}, %C3%A9"

    def test_of_very_many_the_header_names_some(self, nobody):
        answer = nobody.post("/events", [event(**{f"k{number:04}": 1 for number in range(1_000)})])
        assert len(ignored(answer)) < 200
        assert ignored(answer).endswith("and 80 more")

    def test_a_reports_are_named_by_their_place(self, admin):
        admin.send(event())
        sent = {"filter": FILTER["filter"] | {"limit": 5}, "output": {"colour": "red"}, "note": {"a": 1}}
        answer = admin.post("/reports", sent)
        assert (answer.status_code, ignored(answer)) == (200, "filter.limit, note, output.colour")


class TestKeysThatComeTwice:
    def test_the_events_of_a_batch_must_not(self, nobody, services):
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

    def test_nor_what_a_report_is_made_of(self, admin):
        admin.send(event())
        for body, twice in [
            (b'{"filter":{"customer":"A","product":"B"},"filter":{"customer":"A","product":"B"}}', "filter"),
            (b'{"filter":{"customer":"A","product":"B","customer":"C"}}', "filter.customer"),
            (b'{"filter":{"customer":"A","product":"B"},"output":{"format":"csv","format":"csv"}}', "output.format"),
        ]:
            answer = admin.post("/reports", body)
            assert answer.status_code == 400
            assert (f"{twice} comes twice; it may come once.") in [message for _, message in faults(answer)]
