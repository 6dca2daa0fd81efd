"""Links that give access to a report's file without credentials until they expire."""

from __future__ import annotations

import hmac
import secrets
from hashlib import sha256
from urllib.parse import urlencode

from itsdangerous import Signer

from app.exceptions import LinkInvalid

LIFETIME_MS = 15 * 60 * 1000


class Links:
    """Creates and checks signed links.

    Args:
        base_url: PUBLIC_URL; the request's own Host is never used, because a client can forge it.
        secret: the key of the signature (HMAC-SHA256).
    """

    def __init__(self, base_url: str, secret: str) -> None:
        self._base_url = base_url
        self._signer = Signer(secret, salt="report-file", digest_method=sha256, key_derivation="hmac")

    def make(self, source: str, now: int) -> str:
        """Return a new and unique absolute URL of a report's file."""
        expires, nonce = now + LIFETIME_MS, secrets.token_urlsafe(6)
        query = {"expires": expires, "nonce": nonce, "signature": self._sign(source, str(expires), nonce)}
        return f"{self._base_url}/files/{source}?{urlencode(query)}"

    def check(self, source: str, expires: str, nonce: str, signature: str, now: int) -> None:
        """Raise LinkInvalid if this service did not create a link, or it has expired."""
        # Compared as text, because a decoder would accept other spellings of the same bytes, and so a changed link.
        if not hmac.compare_digest(self._sign(source, expires, nonce).encode(), signature.encode()):
            raise LinkInvalid("This link is not one that the service made. Ask for the report's file again.")
        if int(expires) <= now:
            raise LinkInvalid("This link has expired: links work for 15 minutes. Ask for the report's file again.")

    def _sign(self, source: str, expires: str, nonce: str) -> str:
        return self._signer.get_signature(f"{source}.{expires}.{nonce}").decode()
