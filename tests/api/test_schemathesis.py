"""Requests generated from `/openapi.json`: each response must conform to the document."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.specs.openapi import checks

from tests.conftest import PASSWORD
from tests.support.client import Client
from tests.support.pace import times

DATABASE = "postgresql"  # PostgreSQL is stricter: it rejects NUL, and checks every type

PROMISES = [
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
    checks.response_headers_conformance,
]
EXAMPLES = settings(max_examples=times(5, 25), deadline=None, suppress_health_check=list(HealthCheck))
MORE_EXAMPLES = settings(EXAMPLES, max_examples=times(20, 100))
# a NUL is rejected anywhere, but JSON Schema cannot express that for the names of unknown keys
CONFIG = schemathesis.Config.from_dict({"generation": {"allow-x00": False}})


@schemathesis.serializer("text/plain", "application/x-ndjson")
def as_it_is(context: schemathesis.SerializationContext, value: object) -> object:
    """Send a string as it is, and anything else as JSON."""
    return value.encode() if isinstance(value, str) else json.dumps(value, default=str).encode()


@pytest.fixture
def api(app, admin: Client, sample_catalog) -> schemathesis.BaseSchema:
    return schemathesis.openapi.from_wsgi("/openapi.json", app, config=CONFIG)


def operations(api: schemathesis.BaseSchema) -> list[schemathesis.APIOperation]:
    return [result.ok() for result in api.get_all_operations()]


def is_json(case: schemathesis.Case) -> bool:
    return case.media_type == "application/json"


def check(case: schemathesis.Case) -> int:
    """Send a request, check that the response conforms, and return its status."""
    answer = case.call(auth=("admin", PASSWORD))
    assert answer.status_code != 500  # documented, but only for unexpected errors
    case.validate_response(answer, checks=PROMISES)
    return answer.status_code


def test_every_response_to_a_valid_request_conforms(api: schemathesis.BaseSchema, subtests):
    for operation in operations(api):

        @EXAMPLES
        @given(operation.as_strategy())
        def run(case: schemathesis.Case):
            check(case)

        with subtests.test(operation.label):
            run()


def test_every_response_to_an_invalid_request_conforms(api: schemathesis.BaseSchema, subtests):
    for operation in operations(api):
        if operation.path not in ("/events", "/reports"):  # the other operations have no input that can be invalid
            continue

        @EXAMPLES
        @given(operation.as_strategy(generation_mode=GenerationMode.NEGATIVE))
        def run(case: schemathesis.Case):
            check(case)

        with subtests.test(operation.label):
            run()


def test_every_response_about_a_report_conforms(api: schemathesis.BaseSchema, admin: Client, subtests):
    running = admin.start_report()["source"]
    complete = admin.run_report()[0]["source"]
    for operation in operations(api):
        if not operation.path.startswith("/reports/"):
            continue
        about = [operation.as_strategy(path_parameters={"source": source}) for source in (running, complete)]

        @EXAMPLES
        @given(st.one_of(about))
        def run(case: schemathesis.Case):
            assert check(case) in (200, 204, 302, 409, 410)

        with subtests.test(operation.label):
            run()


def test_a_report_described_as_valid_is_accepted(api: schemathesis.BaseSchema):
    @EXAMPLES
    @given(api["/reports"]["POST"].as_strategy().filter(is_json))
    def run(case: schemathesis.Case):
        case.headers.pop("Content-Encoding", None)
        case.body["filter"] |= {"customer": "BARCHART", "product": "PORTFOLIO", "start": 0}
        case.body["filter"].pop("types", None)  # a code that matches the schema may be unknown
        output = case.body.get("output", {})
        bucket_fields = len({"bucketName", "bucketKey"} & set(output))
        assert check(case) == {0: 200, 1: 400, 2: 403}[bucket_fields]

    run()


@pytest.mark.settings(max_batch_events=20)
@pytest.mark.parametrize(
    ("mode", "promise"),
    [
        (GenerationMode.POSITIVE, checks.positive_data_acceptance),
        (GenerationMode.NEGATIVE, checks.negative_data_rejection),
    ],
    ids=["valid", "invalid"],
)
def test_events_described_as_valid_are_accepted_and_others_rejected(
    api: schemathesis.BaseSchema, mode: GenerationMode, promise: Callable
):
    @MORE_EXAMPLES
    @given(api["/events"]["POST"].as_strategy(generation_mode=mode).filter(is_json))
    def run(case: schemathesis.Case):
        for name in ("Idempotency-Key", "Content-Encoding", "Prefer"):
            case.headers.pop(name, None)
        answer = case.call()
        refused = answer.status_code == 413  # the check does not know this status
        case.validate_response(answer, checks=[*PROMISES] if refused else [*PROMISES, promise])
        assert answer.status_code in (200, 400, 413)

    run()
