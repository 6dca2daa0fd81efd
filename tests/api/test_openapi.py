"""`/openapi.json` describes the actual behaviour of the API, and `/docs` shows it without external resources."""

from __future__ import annotations

import json
import re
from urllib.parse import urljoin, urlsplit

import pytest

from app.api.openapi.json_schema import digits_up_to
from app.schemas.events import EventSchema, FullEvent, StoredEvent
from app.schemas.fields import MAX_TIME
from app.schemas.reports import FilterSchema, OutputSchema
from tests.support.client import Client, event, keys

DATABASE = "sqlite"  # the document does not depend on the database

METHODS = {"GET", "POST", "PUT", "PATCH", "DELETE"}
PEOPLE = ("/admin", "/static", "/docs", "/bootstrap")


@pytest.fixture
def document(nobody: Client) -> dict:
    return nobody.get("/openapi.json").get_json()


def operations(document: dict) -> dict[tuple[str, str], dict]:
    return {(path, method): operation for path, item in document["paths"].items() for method, operation in item.items()}


def validator(schema: dict):
    """Return a validator. Its import takes a second, which processes that run none of these tests need not spend."""
    from jsonschema import Draft202012Validator

    return Draft202012Validator(schema)


def conforms(document: dict, path: str, method: str, answer) -> None:
    """Fail unless a response has a documented status and the body documented for it."""
    response = document["paths"][path][method]["responses"][str(answer.status_code)]
    if "$ref" in response:
        response = document["components"]["responses"][response["$ref"].rpartition("/")[2]]
    schema = response["content"][answer.headers["Content-Type"]]["schema"]
    validator(schema | {"components": document["components"]}).validate(answer.get_json())
    for name, header in response["headers"].items():
        description = document["components"]["headers"][header["$ref"].rpartition("/")[2]]
        assert name in answer.headers or not description.get("required")


def test_the_document_is_valid_openapi_3_1(document: dict):
    assert document["openapi"].startswith("3.1.")
    from openapi_spec_validator import OpenAPIV31SpecValidator

    assert list(OpenAPIV31SpecValidator(document).iter_errors()) == []


def test_the_document_is_json_and_does_not_change_between_requests(nobody: Client):
    first, second = nobody.get("/openapi.json"), nobody.get("/openapi.json")
    assert first.headers["Content-Type"] == "application/json"
    assert first.get_data() == second.get_data()


def test_exactly_the_routes_of_the_api_are_documented(app, document: dict):
    routes = {
        (re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule), method.lower())
        for rule in app.url_map.iter_rules()
        if rule.rule != "/" and not rule.rule.startswith(PEOPLE)
        for method in rule.methods & METHODS
    }
    assert set(operations(document)) == routes


def test_operations_that_require_credentials_are_documented_as_such(nobody: Client, document: dict):
    for (path, method), operation in operations(document).items():
        answer = nobody.request(method.upper(), path.replace("{source}", "JOB-1"))
        if {} in operation.get("security", []):  # optional credentials are verified if they are sent
            assert answer.status_code != 401
            continue
        assert (
            (answer.status_code == 401)
            == ("401" in operation["responses"])
            == ({"Basic": []} in operation.get("security", []))
        )


def test_every_operation_has_a_unique_id_and_a_summary(document: dict):
    described = operations(document).values()
    assert len({operation["operationId"] for operation in described}) == len(described)
    assert all(operation["summary"] and operation["tags"] for operation in described)


def test_every_example_body_is_accepted(admin: Client, sample_catalog, document: dict):
    sent = 0
    for (path, method), operation in operations(document).items():
        for content_type, content in operation.get("requestBody", {}).get("content", {}).items():
            for example in content["examples"].values():
                value = example["value"]
                body = value.encode() if isinstance(value, str) else json.dumps(value).encode()
                answer = admin.request(method.upper(), path, data=body, content_type=content_type)
                assert answer.status_code == 200, answer.get_data(as_text=True)
                conforms(document, path, method, answer)
                sent += 1
    assert sent == 9


def test_every_example_in_a_schema_is_valid(document: dict):
    parts = [
        part for schema in document["components"]["schemas"].values() for part in schema.get("properties", {}).values()
    ]
    examples = [part for part in parts if "example" in part]
    assert len(examples) > 20
    assert all(validator(part).is_valid(part["example"]) for part in examples)


def test_the_event_schema_has_the_limits_of_the_contract(document: dict):
    schemas = document["components"]["schemas"]
    assert schemas["Batch"]["properties"]["events"]["maxItems"] == 100_000
    properties = schemas["Event"]["properties"]
    assert (properties["customer"]["minLength"], properties["customer"]["maxLength"]) == (1, 128)
    assert properties["version"]["maxLength"] == 64
    assert properties["timestamp"] | {"description": "", "example": 0} == {
        "description": "",
        "example": 0,
        "type": "integer",
        "minimum": 0,
        "maximum": 253_402_300_799_999,
    }
    assert properties["context"]["maxItems"] == 100
    assert properties["context"]["items"]["maxLength"] == 4_096
    assert sorted(schemas["Event"]["required"]) == ["context", "customer", "product", "timestamp", "type"]


@pytest.mark.settings(max_batch_events=7)
def test_the_maximum_number_of_events_is_the_configured_one(document: dict):
    assert document["components"]["schemas"]["Batch"]["properties"]["events"]["maxItems"] == 7


def test_a_time_in_a_filter_may_be_a_number_or_a_string_of_digits(document: dict):
    kinds = [kind["type"] for kind in document["components"]["schemas"]["Filter"]["properties"]["start"]["oneOf"]]
    assert kinds == ["integer", "string"]


def test_response_keys_are_documented_in_their_order(document: dict):
    schemas = document["components"]["schemas"]
    assert keys(schemas["StoredEvent"]["properties"]) == list(StoredEvent.__struct_fields__)
    assert keys(schemas["FullEvent"]["properties"]) == list(FullEvent.__struct_fields__)
    assert keys(schemas["Job"]["properties"]) == ["job", "source", "status", "filter", "timing", "output"]
    assert keys(schemas["JobFilter"]["properties"]) == keys(FilterSchema().fields)
    assert keys(schemas["JobOutput"]["properties"]) == keys(OutputSchema().fields)
    assert keys(schemas["Event"]["properties"]) == keys(EventSchema().fields)


def test_every_response_in_the_life_of_a_report_conforms(admin: Client, document: dict):
    def look(path: str, method: str = "get", **kwargs: object):
        answer = admin.request(method.upper(), path.replace("{source}", source), **kwargs)
        conforms(document, path, method, answer)
        return answer.status_code

    sent = admin.post("/events", [event(), event(version="1", context=[None, 1.50, True])])
    conforms(document, "/events", "post", sent)
    job = admin.start_report({"header": True}, types=["PORTFOLIO-APPLICATION-LOADED"], start=0, end="1793000000001")
    source = job["source"]
    assert look("/events", query_string={"limit": 1}) == 200
    assert look("/reports/{source}", headers={"Accept": "application/json"}) == 409
    assert [look("/reports"), look("/reports/{source}/availability"), look("/reports/{source}/progress")] == [200] * 3
    admin.app.extensions["services"].runner.run(source.removeprefix("JOB-"))
    assert [look("/reports"), look("/reports/{source}/availability"), look("/reports/{source}/progress")] == [200] * 3
    assert look("/reports/{source}", headers={"Accept": "application/json"}) == 200


def test_error_responses_conform(admin: Client, nobody: Client, document: dict):
    wrong = nobody.post("/events", [event(customer=7), {}])
    large = nobody.post("/events", b" " * (10 * 1024 * 1024 + 1))
    typed = nobody.post("/events", b"[]", "application/xml")
    unknown = admin.post("/reports", {"filter": {"customer": "X", "product": "Y"}})
    for path, method, answer, status in [
        ("/events", "post", wrong, 400),
        ("/events", "post", large, 413),
        ("/events", "post", typed, 415),
        ("/reports", "post", unknown, 400),
        ("/reports", "post", nobody.post("/reports", {}), 401),
        ("/reports/{source}", "get", admin.get("/reports/JOB-1"), 404),
        ("/files/{source}", "get", nobody.get("/files/JOB-1"), 403),
        ("/health/live", "get", nobody.get("/health/live"), 200),
        ("/health/ready", "get", nobody.get("/health/ready"), 200),
    ]:
        assert answer.status_code == status
        conforms(document, path, method, answer)


def test_the_page_loads_only_from_this_server(nobody: Client):
    page = nobody.get("/docs/")
    assert page.status_code == 200
    text = page.get_data(as_text=True)
    assert '"/openapi.json"' in text
    text = re.sub("<a [^>]*>", "", text)  # the way back to the dashboard is followed by people only
    for address in re.findall(r'(?:src|href)="([^"]+)"', text):
        assert urlsplit(address).netloc == ""
        assert nobody.get(urljoin("/docs/", address)).status_code == 200


def test_the_page_may_load_nothing_from_other_hosts_and_run_only_its_own_inline_script(nobody: Client):
    policy = nobody.get("/docs/").headers["Content-Security-Policy"]
    directives = dict(part.strip().split(" ", 1) for part in policy.split(";"))
    assert directives["default-src"] == "'self'"
    assert directives["img-src"] == "'self' data:"
    assert re.fullmatch(r"'self' 'sha256-[A-Za-z0-9+/]{43}='", directives["script-src"])
    assert "unsafe" not in policy
    assert "://" not in policy


def test_the_page_does_not_depend_on_the_request(nobody: Client):
    plain, other = nobody.get("/docs/"), nobody.get("/docs/index.html?a=1", headers={"Host": "evil.example"})
    assert plain.get_data() == other.get_data()
    assert plain.headers["Content-Security-Policy"] == other.headers["Content-Security-Policy"]


@pytest.mark.parametrize("maximum", [10, 999, MAX_TIME])
def test_the_pattern_of_a_number_matches_digits_up_to_the_maximum(maximum):
    pattern = re.compile(digits_up_to(maximum))
    width = len(str(maximum))
    assert all(pattern.fullmatch(text) for text in ("0", "1", str(maximum), str(maximum - 1), "1".zfill(width)))
    assert not any(pattern.fullmatch(text) for text in ("", "-1", "1.5", str(maximum + 1), "0" * (width + 1)))
