"""Any other path or verb of the API: told in trees like every error, with CORS and a request's id."""

from __future__ import annotations

import pytest

from tests.support.client import root

DATABASE = "sqlite"  # nothing of this reaches a database

NOWHERE = [
    "/nothing", "/events/", "/events/5", "/reports/", "/report", "/reports/JOB-1/x", "/reports/JOB-1/availability/",
    "/administrator", "/documents", "/statistics", "/health", "/health/", "/system", "/service", "/EVENTS", "/files",
    "/files/", "/.env", "/%00", "/%ff", "/%ED%A0%80", "/%0d%0aX: y", "/favicon.icon",
]  # fmt: skip
VERBS = ["POST", "PUT", "PATCH", "DELETE"]


def test_a_path_that_is_not_there_is_not_found_by_any_verb(nobody):
    for method, path in [*(("GET", path) for path in NOWHERE), *((verb, "/nothing") for verb in VERBS)]:
        answer = nobody.request(method, path, data=b"x")
        assert (answer.status_code, root(answer)) == (404, "REQUEST_NOT_FOUND")
        assert answer.get_json()[0]["children"] == []
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
        assert answer.headers["X-Request-ID"]


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("PUT", "/events", {"POST"}),
        ("DELETE", "/events", {"POST"}),
        ("PATCH", "/events", {"POST"}),
        ("PUT", "/reports", {"GET", "POST"}),
        ("DELETE", "/reports", {"GET", "POST"}),
        ("POST", "/reports/JOB-1", {"GET"}),
        ("POST", "/reports/JOB-1/availability", {"GET"}),
        ("DELETE", "/reports/JOB-1/progress", {"GET"}),
        ("POST", "/system/version", {"GET"}),
        ("POST", "/service/authenticate", {"GET"}),
        ("POST", "/health/ready", {"GET"}),
        ("POST", "/openapi.json", {"GET"}),
        ("POST", "/files/JOB-1", {"GET"}),
        ("TRACE", "/events", {"POST"}),
        ("NONSENSE", "/reports", {"GET", "POST"}),
    ],
)
def test_another_verb_is_not_allowed_and_those_that_are_are_named(nobody, method, path, allow):
    answer = nobody.request(method, path)
    assert (answer.status_code, root(answer)) == (405, "REQUEST_METHOD_NOT_ALLOWED")
    assert answer.get_json()[0]["children"] == []
    assert allow <= set(answer.headers["Allow"].split(", "))
    assert method not in answer.headers["Allow"].split(", ")
    assert path in answer.get_json()[0]["value"]["message"]
    assert answer.headers["Access-Control-Allow-Origin"] == "*"


def test_a_head_is_the_answer_without_its_body(nobody):
    for path in ["/system/version", "/health/live"]:
        head, get = nobody.request("HEAD", path), nobody.get(path)
        assert (head.status_code, head.get_data()) == (200, b"")
        assert head.headers["Content-Length"] == get.headers["Content-Length"]
        assert head.headers["Content-Type"] == "application/json"


def test_the_head_of_an_error_is_an_error_too(nobody):
    assert nobody.request("HEAD", "/nothing").status_code == 404
    assert nobody.request("HEAD", "/reports").status_code == 401


def test_the_root_leads_people_to_their_pages(nobody):
    answer = nobody.get("/")
    assert answer.status_code == 302
    assert answer.headers["Location"] == "/admin/"


def test_people_s_paths_are_not_the_api_s(nobody):
    answer = nobody.get("/admin/nothing")
    assert answer.status_code in (302, 404)
    assert "Access-Control-Allow-Origin" not in answer.headers
