"""CORS: pages of any origin, or only of the configured origins, may call the API and read its responses."""

from __future__ import annotations

import pytest

from tests.support.client import event, root

DATABASE = "sqlite"  # these headers do not depend on the database

ORIGIN = "https://app.example"
NEEDED = {"authorization", "content-type", "content-encoding", "idempotency-key"}
PATHS = ["/events", "/reports", "/reports/JOB-1", "/reports/JOB-1/availability", "/service/authenticate", "/nothing"]


def preflight(client, path: str, origin: str = ORIGIN):
    headers = {"Origin": origin, "Access-Control-Request-Method": "POST"}
    headers["Access-Control-Request-Headers"] = "authorization,content-type,idempotency-key"
    return client.request("OPTIONS", path, headers=headers)


class TestPreflight:
    def test_it_needs_no_credentials_and_lists_methods_and_headers(self, nobody):
        for path in PATHS:
            answer = preflight(nobody, path)
            assert (answer.status_code, answer.get_data()) == (204, b"")
            assert set(answer.headers["Access-Control-Allow-Headers"].lower().split(", ")) >= NEEDED
            assert set(answer.headers["Access-Control-Allow-Methods"].split(", ")) >= {"GET", "POST", "DELETE"}
            assert answer.headers["Access-Control-Allow-Origin"] == "*"
            assert int(answer.headers["Access-Control-Max-Age"]) > 0
            assert "Content-Type" not in answer.headers
            assert answer.headers["X-Request-ID"]

    def test_an_options_request_without_preflight_headers_gets_the_same_response(self, nobody):
        assert nobody.request("OPTIONS", "/events").status_code == 204


class TestAnyOrigin:
    def test_every_response_allows_it_including_errors(self, nobody, admin):
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
    def test_each_is_allowed_by_name(self, nobody):
        for origin in ["https://app.example", "https://two.example"]:
            for answer in (
                nobody.post("/events", [event()], headers={"Origin": origin}),
                nobody.get("/reports", headers={"Origin": origin}),
                preflight(nobody, "/events", origin),
            ):
                assert answer.headers["Access-Control-Allow-Origin"] == origin
                assert "Origin" in answer.headers["Vary"]

    def test_any_other_origin_is_not_allowed(self, nobody):
        for origin in ["https://evil.example", "null", "http://app.example", "https://app.example:444"]:
            for answer in (
                nobody.post("/events", [event()], headers={"Origin": origin}),
                nobody.get("/reports", headers={"Origin": origin}),
                preflight(nobody, "/events", origin),
            ):
                assert answer.headers["Access-Control-Allow-Origin"] not in (origin, "*")
                assert "Origin" in answer.headers["Vary"]

    @pytest.mark.parametrize("media_type", ["application/json", "text/plain", "application/x-www-form-urlencoded", ""])
    def test_events_from_a_page_of_another_origin_are_rejected_and_not_stored(self, nobody, services, media_type):
        for origin in ["https://evil.example", "null", "http://app.example", "https://app.example:444", ""]:
            answer = nobody.post("/events", [event()], media_type, headers={"Origin": origin})
            assert (answer.status_code, root(answer)) == (403, "REQUEST_AUTHORIZATION_FAILURE"), origin
            assert "CORS_ORIGINS" in answer.get_json()[0]["value"]["message"]
        assert services.ingest.count() == 0

    def test_events_without_an_origin_or_of_the_service_s_own_are_accepted(self, nobody):
        for headers in [{}, {"Origin": "https://tally.example"}, {"Origin": "http://localhost"}]:
            assert nobody.post("/events", [event()], headers=headers).status_code == 200
