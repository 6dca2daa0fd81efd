"""A small identity provider whose tokens a test can forge. The test plays the browser, so only the service sends
requests.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import json
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from urllib.parse import parse_qs, quote_plus, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, RSAKey
from joserfc.jws import JWSRegistry
from werkzeug import Request, Response
from werkzeug.serving import WSGIRequestHandler, make_server

CLIENT = "tally"
SECRET = "a secret / of the client"
LOGOUT = "http://schemas.openid.net/event/backchannel-logout"
Claims = dict[str, object]


@dataclass
class Code:
    """Authorization code: what was requested, and what the ID token will say."""

    query: dict[str, str]
    claims: Claims


@dataclass
class IdentityProvider:
    """Provider that keeps everything in memory.

    Attributes:
        claims: further claims of the next ID tokens; None removes one.
        userinfo: further claims of the userinfo endpoint.
        metadata: further entries of the discovery document.
        sign: how a token is signed.
        paths: responses by path instead of the right ones.
        asked: the path of each request.
    """

    url: str = ""
    claims: Claims = field(default_factory=dict)
    userinfo: Claims = field(default_factory=dict)
    metadata: Claims = field(default_factory=dict)
    paths: dict[str, Callable[[Request], Response]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    codes: dict[str, Code] = field(default_factory=dict)
    key: RSAKey | ECKey = field(default_factory=lambda: RSAKey.generate_key(2048, {"kid": "first"}))
    sign: Callable[[Claims], str] | None = None

    def reset(self) -> None:
        """Forget what a test changed."""
        for changed in (self.claims, self.userinfo, self.metadata, self.paths, self.asked, self.codes):
            changed.clear()
        self.sign = None

    def __call__(self, environ: dict, start_response: Callable) -> object:
        request = Request(environ)
        self.asked.append(request.path)
        answer = self.paths.get(request.path, self._answer)(request)
        return answer(environ, start_response)

    def approve(self, authorization_url: str, subject: str = "anna", **claims: object) -> str:
        """Sign a user in at the provider, and return the path to which the browser is sent back."""
        query = {name: values[0] for name, values in parse_qs(urlsplit(authorization_url).query).items()}
        code = secrets.token_hex(8)
        groups = {"groups": ["operators"], "preferred_username": subject}
        self.codes[code] = Code(query, {"sub": subject} | groups | claims)
        back = urlsplit(query["redirect_uri"]).path
        return f"{back}?{urlencode({'code': code, 'state': query['state'], 'iss': self.url})}"

    def token(self, **claims: object) -> str:
        """Return a signed token for the client, valid now, with other claims; None removes one."""
        now = int(time.time())
        merged = {"iss": self.url, "aud": CLIENT, "iat": now, "exp": now + 300} | claims
        merged = {name: value for name, value in merged.items() if value is not None}
        return self.sign(merged) if self.sign else signed(merged, self.key)

    def logout_token(self, **claims: object) -> str:
        return self.token(**{"jti": f"{time.monotonic_ns()}", "events": {LOGOUT: {}}} | claims)

    def _answer(self, request: Request) -> Response:
        if request.path == "/.well-known/openid-configuration":
            names = {"authorization_endpoint": "authorize", "token_endpoint": "token", "jwks_uri": "keys"}
            names |= {"userinfo_endpoint": "userinfo", "end_session_endpoint": "end"}
            found = {name: f"{self.url}/{path}" for name, path in names.items()}
            return as_json({"issuer": self.url} | found | self.metadata)
        if request.path == "/keys":
            return as_json(KeySet([self.key]).as_dict())
        if request.path == "/token":
            return self._redeem(request)
        if request.path == "/userinfo":
            return as_json(self.userinfo)
        return Response(status=404)

    def _redeem(self, request: Request) -> Response:
        """Check the client, the code and the PKCE verifier, as a provider does, and return tokens."""
        code = self.codes.pop(request.form["code"], None)
        credentials = request.authorization
        if credentials is None or (credentials.username, credentials.password) != (CLIENT, quote_plus(SECRET)):
            return as_json({"error": "invalid_client"}, 401)
        digest = s256(request.form.get("code_verifier", ""))
        if code is None or (digest, request.form["redirect_uri"]) != (
            code.query["code_challenge"],
            code.query["redirect_uri"],
        ):
            return as_json({"error": "invalid_grant"}, 400)
        id_token = self.token(**{"nonce": code.query["nonce"]} | code.claims | self.claims)
        return as_json({"access_token": "access", "token_type": "Bearer", "id_token": id_token})


def signed(claims: Claims, key: RSAKey | ECKey, **header: object) -> str:
    """Return a token signed by a key."""
    alg = "RS256" if isinstance(key, RSAKey) else "ES256"
    registry = JWSRegistry(algorithms=[alg])
    return jwt.encode({"alg": alg, "kid": key.kid} | header, claims, key, registry=registry)


def signed_by_secret(claims: Claims, secret: bytes) -> str:
    """Return a token signed with HS256, whatever the secret is."""
    signed_part = unsigned(claims, "HS256").rstrip(".")
    return f"{signed_part}.{encoded(hmac.digest(secret, signed_part.encode(), 'sha256'))}"


def unsigned(claims: Claims, alg: str = "none") -> str:
    """Return a token with an empty signature."""
    return f"{encoded(json.dumps({'alg': alg}).encode())}.{encoded(json.dumps(claims).encode())}."


def encoded(content: bytes) -> str:
    """Return bytes as parts of a token have them."""
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


def s256(verifier: str) -> str:
    """Return the challenge of a PKCE verifier."""
    return encoded(hashlib.sha256(verifier.encode()).digest())


def as_json(content: object, status: int = 200) -> Response:
    return Response(json.dumps(content), status, content_type="application/json")


class QuietHandler(WSGIRequestHandler):
    """Handler that logs nothing."""

    def log(self, *args: object) -> None:
        pass


@contextlib.contextmanager
def running() -> Iterator[IdentityProvider]:
    """Run a provider in a thread."""
    provider = IdentityProvider()
    server = make_server("127.0.0.1", 0, provider, threaded=True, request_handler=QuietHandler)
    provider.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield provider
    server.shutdown()
    thread.join()
    server.server_close()
