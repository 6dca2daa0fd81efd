"""Signatures of webhooks, checked against other implementations."""

from __future__ import annotations

import base64
from datetime import UTC, datetime

import standardwebhooks

from app.services.notifications import signatures

KEY = bytes(range(32))
SECRET = signatures.as_text(signatures.PREFIX, KEY)
SENT = datetime.fromtimestamp(1_793_000_000, UTC)
BODY = b'{"type":"report.completed"}'


def test_the_signature_is_that_of_the_specification_s_library():
    expected = standardwebhooks.Webhook(SECRET).sign("some-id", SENT, BODY.decode())
    assert signatures.headers([SECRET], "some-id", 1_793_000_000, BODY)["webhook-signature"] == expected


def test_a_secret_of_version_1_0_signs_with_the_bytes_of_its_text():
    old = signatures.as_text(signatures.OLD_PREFIX, KEY)
    as_standard = signatures.PREFIX + base64.b64encode(old.encode()).decode()
    expected = standardwebhooks.Webhook(as_standard).sign("some-id", SENT, BODY.decode())
    assert signatures.headers([old], "some-id", 1_793_000_000, BODY)["webhook-signature"] == expected


def test_the_old_signature_covers_the_time_and_the_body():
    # printf '1793000000.{}' | openssl dgst -sha256 -hmac secret
    expected = "72bcb9263ef5a5cf35a95d7522e713ec8bdb29b64b70bccb15d42b68d3b57099"
    assert signatures.old_signature("secret", 1_793_000_000, b"{}") == f"t=1793000000,v1={expected}"
