"""Signatures of webhooks, by which a receiver knows who sent a body, and when.

`webhook-id`, `webhook-timestamp` and `webhook-signature` follow Standard Webhooks 1.0.0
(https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md, “Signature scheme” and
“Webhook headers”): HMAC-SHA256 of `id.timestamp.body`, in base64 after `v1,`, one signature for each valid secret, with
a space between. `X-Tally-Delivery` and `X-Tally-Signature` are those of version 1.0, deprecated since 1.1.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Sequence

PREFIX = "whsec_"  # base64 of the key follows
OLD_PREFIX = "tally_hook_"  # of version 1.0, where the whole text is the key


def as_text(prefix: str, key: bytes) -> str:
    """Return a secret as people copy it."""
    if prefix == PREFIX:
        return PREFIX + base64.b64encode(key).decode()
    return prefix + base64.urlsafe_b64encode(key).decode().rstrip("=")


def headers(secrets: Sequence[str], id: str, seconds: int, body: bytes) -> dict[str, str]:
    """Return the headers that sign a body with secrets, of which the first is the current one."""
    signed = f"{id}.{seconds}.".encode() + body
    marks = [base64.b64encode(hmac.digest(_key(secret), signed, hashlib.sha256)).decode() for secret in secrets]
    return {
        "webhook-id": id,
        "webhook-timestamp": str(seconds),
        "webhook-signature": " ".join(f"v1,{mark}" for mark in marks),
        "X-Tally-Delivery": id,
        "X-Tally-Signature": old_signature(secrets[0], seconds, body),
    }


def old_signature(secret: str, seconds: int, body: bytes) -> str:
    """Return the value of `X-Tally-Signature`, whose key is the text of the secret."""
    signed = hmac.digest(secret.encode(), f"{seconds}.".encode() + body, hashlib.sha256)
    return f"t={seconds},v1={signed.hex()}"


def _key(secret: str) -> bytes:
    return base64.b64decode(secret.removeprefix(PREFIX)) if secret.startswith(PREFIX) else secret.encode()
