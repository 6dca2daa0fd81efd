"""CORS: pages of any origin, or of those that the operator names, may send to the API and read its answers."""

from __future__ import annotations

import pytest

from tests.support.client import event, root

DATABASE = "sqlite"  # these headers do not depend on where the events are

ORIGIN = "https://app.example"
NEEDED = {"authorization", "content-type", "content-encoding", "idempotency-key"}
PATHS = ["/events", "/reports", "/reports/JOB-1", "/reports/JOB-1/availability", "/service/authenticate", "/nothing"]


def preflight(client, path: str, origin: str = ORIGIN):
    headers = {"Origin": origin, "Access-Control-Request-Method": "POST"}
    headers["Access-Control-Request-Headers"] = "authorization,content-type,idempotency-key"
    return client.request("OPTIONS", path, headers=headers)


class TestPreflight:
    def test_it_needs_no_credentials_and_names_what_may_be_sent(self, nobody):
        for path in PATHS:
            answer = preflight(nobody, path)
            assert (answer.status_code, answer.get_data()) == (204, b"")
            assert set(answer.headers["Access-Control-Allow-Headers"].lower().split(", ")) >= NEEDED
            assert set(answer.headers["Access-Control-Allow-Methods"].split(", ")) >= {"GET", "POST", "DELETE"}
            assert answer.headers["Access-Control-Allow-Origin"] == "*"
            assert int(answer.headers["Access-Control-Max-Age"]) > 0
            assert "Content-Type" not in answer.headers
            assert answer.headers["X-Request-ID"]

    def test_any_other_options_is_answered_the_same(self, nobody):
        assert nobody.request("OPTIONS", "/events").status_code == 204


class TestAnyOrigin:
    def test_every_answer_allows_it_errors_included(self, nobody, admin):
        for answer in (
            nobody.post("/events", [event()], headers={"Origin": ORIGIN}),
            nobody.post("/events", b"x"),
            nobody.post("/events", b"x", "text/html"),
            nobody.get("/reports"),
            nobody.get("/nothing"),
            nobody.request("PUT", "/events"),
            nobody.get("/system/version"),
            nobody.get("/health/live"),
            nobody.get("/openapi.json"),
            nobody.get("/files/JOB-1?expires=1"),
            admin.get("/reports"),
            admin.get("/reports/JOB-1"),
        ):
            assert answer.headers["Access-Control-Allow-Origin"] == "*"
            assert "X-Request-ID" in answer.headers["Access-Control-Expose-Headers"]
            assert "Access-Control-Allow-Credentials" not in answer.headers


@pytest.mark.settings(cors_origins=("https://app.example", "https://two.example"))
class TestNamedOrigins:
    def test_each_is_allowed_by_its_name(self, nobody):
        for origin in ["https://app.example", "https://two.example"]:
            for answer in (
                nobody.post("/events", [event()], headers={"Origin": origin}),
                nobody.get("/reports", headers={"Origin": origin}),
                preflight(nobody, "/events", origin),
            ):
                assert answer.headers["Access-Control-Allow-Origin"] == origin
                assert "Origin" in answer.headers["Vary"]

    def test_no_other_is(self, nobody):
        for origin in ["https://evil.example", "null", "http://app.example", "https://app.example:444"]:
            for answer in (
                nobody.post("/events", [event()], headers={"Origin": origin}),
                nobody.get("/reports", headers={"Origin": origin}),
                preflight(nobody, "/events", origin),
            ):
                assert answer.headers["Access-Control-Allow-Origin"] not in (origin, "*")
                assert "Origin" in answer.headers["Vary"]

    @pytest.mark.parametrize("media_type", ["application/json", "text/plain", "application/x-www-form-urlencoded", ""])
    def test_events_that_a_page_of_another_origin_sends_are_refused_and_not_stored(self, nobody, services, media_type):
        for origin in ["https://evil.example", "null", "http://app.example", "https://app.example:444", ""]:
            answer = nobody.post("/events", [event()], media_type, headers={"Origin": origin})
            assert (answer.status_code, root(answer)) == (403, "REQUEST_AUTHORIZATION_FAILURE"), origin
            assert "CORS_ORIGINS" in answer.get_json()[0]["value"]["message"]
        assert services.ingest.count() == 0

    def test_events_of_no_page_or_of_our_own_are_taken(self, nobody):
        for headers in [{}, {"Origin": "https://tally.example"}, {"Origin": "http://localhost"}]:
            assert nobody.post("/events", [event()], headers=headers).status_code == 200
