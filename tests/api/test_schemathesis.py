"""Requests that nobody thought of, made from `/openapi.json`: each answer must be one that the document promises."""

from __future__ import annotations

import base64

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.specs.openapi import checks

from tests.conftest import PASSWORD
from tests.support.client import Client

# 503 is `health/ready`'s own answer: no worker runs here. 500 is in the document, so it has to be forbidden apart.
CHECKS = [
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
    checks.response_headers_conformance,
]
CONFIG = schemathesis.Config.from_dict(
    {"generation": {"max-examples": 8}, "phases": {"examples": {"enabled": True}, "coverage": {"enabled": True}}}
)


@pytest.fixture
def described(app, admin: Client, sample_catalog):
    schema = schemathesis.openapi.from_wsgi("/openapi.json", app, config=CONFIG)
    return schema


described_api = schemathesis.pytest.from_fixture("described")


@described_api.parametrize()
@settings(deadline=None, suppress_health_check=list(HealthCheck))
def test_every_answer_is_one_that_the_document_promises(case: schemathesis.Case):
    token = base64.b64encode(f"admin:{PASSWORD}".encode()).decode()
    answer = case.call_and_validate(headers={"Authorization": f"Basic {token}"}, checks=CHECKS)
    assert answer.status_code != 500
