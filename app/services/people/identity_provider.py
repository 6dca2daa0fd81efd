"""Client of the identity provider: its discovery document, its keys, its tokens, and the checks of OpenID Connect.

Only this module imports Authlib, and only in an installation with OIDC_ISSUER. Everything that the provider sends is
checked before it is used: the shape of documents, the signature and the claims of tokens. Its signatures are accepted
by public keys only, so a token signed with `none`, or with a public key as if it was a shared secret, is invalid.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote_plus

import orjson
import structlog
from authlib.common.urls import add_params_to_uri
from authlib.oauth2.auth import ClientAuth
from authlib.oauth2.claims import JWTClaims
from authlib.oauth2.rfc6749.parameters import prepare_grant_uri, prepare_token_request
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from authlib.oidc.core import CodeIDToken
from authlib.oidc.discovery import get_well_known_url
from joserfc import jwt
from joserfc.errors import ClaimError, InvalidKeyIdError, JoseError
from joserfc.jwk import KeySet
from joserfc.jws import JWSRegistry

from app.config import Settings
from app.exceptions import ServerFailed, SignInInvalid
from app.support import http_client
from app.support.http_client import ExchangeFailed, Limits
from app.support.url_origin import split

CALL = Limits(seconds=4.0, bytes=512 * 1024)
CALLS_AT_ONCE = 4  # sign-ins per process that wait for the provider, so that the other threads stay free if it hangs
WAIT_SECONDS = 1.0  # for one of them to end
FRESH_SECONDS = 900.0  # how long the discovery document and the keys are used before they are fetched again
PAUSE_SECONDS = 5.0  # after a fetch that failed, and between two fetches because of unknown keys

SKEW_SECONDS = 60  # how far the provider's clock may differ
MAX_ID = 255  # characters of a subject, as OpenID Connect limits it, and of a session's id
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519")
LOGOUT = "http://schemas.openid.net/event/backchannel-logout"
ENDPOINTS = ("authorization_endpoint", "token_endpoint", "jwks_uri")
OPTIONAL_ENDPOINTS = ("userinfo_endpoint", "end_session_endpoint")
INVALID = "The token of the identity provider is invalid. Try again; if it stays so, ask an administrator."
LOCAL = ("localhost", "127.0.0.1", "::1")

Claims = Mapping[str, Any]
log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Identity:
    """User as the identity provider describes them, and the provider's session."""

    subject: str
    claims: Claims
    sid: str | None
    id_token: str


class IdentityProvider:
    """Identity provider of the installation. It is asked for the first time when somebody signs in."""

    def __init__(self, settings: Settings) -> None:
        self.issuer = settings.oidc_issuer
        self._client_id = settings.oidc_client_id
        self._secret = settings.oidc_client_secret
        self._scopes = settings.oidc_scopes
        self._slots = threading.BoundedSemaphore(CALLS_AT_ONCE)
        self._metadata = _Fetched("discovery document")
        self._keys = _Fetched("keys")

    def authorization_url(self, redirect_uri: str, state: str, nonce: str, verifier: str) -> str:
        """Return the address at the provider where a user signs in. Raise ServerFailed."""
        with self._slot():
            endpoint = self._discover()["authorization_endpoint"]
        challenge = {"code_challenge": create_s256_code_challenge(verifier), "code_challenge_method": "S256"}
        url: str = prepare_grant_uri(
            endpoint, self._client_id, "code", redirect_uri, self._scopes, state, nonce=nonce, **challenge
        )
        return url

    def check_issuer(self, named: str | None) -> None:
        """Raise SignInInvalid if a response came from another provider (RFC 9207), or ServerFailed."""
        with self._slot():
            is_required = self._discover().get("authorization_response_iss_parameter_supported") is True
        if named != self.issuer and (named is not None or is_required):
            raise SignInInvalid("The response is not of the identity provider.", f"iss of the response is {named!r}")

    def redeem(self, code: str, redirect_uri: str, nonce: str, verifier: str, needed: str) -> Identity:
        """Return the user for an authorization code.

        Args:
            needed: a claim that is looked up at the provider if the ID token has none.

        Raises:
            ServerFailed: the provider does not answer, or not as the standard says.
            SignInInvalid: it rejects the code, or its token is invalid.
        """
        with self._slot():
            tokens = self._request_tokens(code, redirect_uri, verifier)
            id_token, access_token = tokens["id_token"], tokens.get("access_token")
            token = self._decode(id_token)
            params = {"nonce": nonce, "client_id": self._client_id, "access_token": access_token}
            self._validate(CodeIDToken(token.claims, token.header, self._options("sub"), params))
            claims: dict[str, Any] = dict(token.claims)
            subject = claims["sub"]
            if not is_id(subject):
                raise SignInInvalid("The identity provider sent an invalid id of the user.", "sub is no valid id")
            if needed not in claims and isinstance(access_token, str):
                claims = self._userinfo(access_token, subject) | claims
        sid = claims.get("sid")
        return Identity(subject, claims, sid if is_id(sid) else None, id_token)

    def read_logout_token(self, token: str) -> Claims:
        """Return the claims of a valid token of back-channel logout.

        Raises:
            ServerFailed: the provider's keys are not available.
            SignInInvalid: the token is invalid.
        """
        with self._slot():
            read = self._decode(token)
        claims = read.claims
        self._validate(JWTClaims(claims, read.header, self._options("jti")))
        events = claims.get("events")
        is_logout = isinstance(events, dict) and isinstance(events.get(LOGOUT), dict) and "nonce" not in claims
        names = [claims[name] for name in ("sub", "sid") if name in claims]
        if not is_logout or not names or not all(map(is_id, names)):
            raise SignInInvalid("This is no logout token.")
        return claims

    def logout_url(self, id_token: str | None, back: str) -> str | None:
        """Return the address at the provider that ends its session, or None if it has none or cannot be asked."""
        try:
            with self._slot():
                endpoint = self._discover().get("end_session_endpoint")
        except ServerFailed as error:
            log.warning("identity provider not told of a sign-out", reason=str(error))
            return None
        if endpoint is None:
            return None
        params = {"client_id": self._client_id, "post_logout_redirect_uri": back}
        url: str = add_params_to_uri(endpoint, (params | ({"id_token_hint": id_token} if id_token else {})).items())
        return url

    def _request_tokens(self, code: str, redirect_uri: str, verifier: str) -> Claims:
        metadata = self._discover()
        body = prepare_token_request("authorization_code", "", redirect_uri, code=code, code_verifier=verifier)
        headers = {"Accept": "application/json", "Content-Type": "application/x-www-form-urlencoded"}
        known = metadata.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
        client, secret, method = self._client_id, self._secret, "none"
        if secret and "client_secret_basic" in known:
            client, secret, method = quote_plus(client), quote_plus(secret), "client_secret_basic"
        elif secret:
            method = "client_secret_post"
        uri, headers, body = ClientAuth(client, secret, method).prepare(
            "POST", metadata["token_endpoint"], headers, body
        )
        status, answer = _call("POST", uri, body.encode(), headers)
        if 400 <= status < 500 and isinstance(answer.get("error"), str):
            raise SignInInvalid(
                "The identity provider rejected the sign-in. Try again.",
                f"token endpoint answered {status} {answer['error'][:100]}",
            )
        if status != 200 or not isinstance(answer.get("id_token"), str):
            raise ServerFailed(f"{uri} answered {status}, without an ID token.")
        return answer

    def _userinfo(self, access_token: str, subject: str) -> dict[str, Any]:
        """Return the claims that the provider adds, if it has an endpoint for them."""
        endpoint = self._discover().get("userinfo_endpoint")
        if endpoint is None:
            return {}
        headers = {"Accept": "application/json", "Authorization": f"Bearer {access_token}"}
        status, answer = _call("GET", endpoint, None, headers)
        if status != 200:
            raise ServerFailed(f"{endpoint} answered {status}.")
        if answer.get("sub") != subject:
            raise SignInInvalid("The identity provider described another user.", "sub of userinfo differs")
        return dict(answer)

    def _decode(self, token: str) -> jwt.Token:
        """Return a token with a valid signature. Fetch the keys again if they do not have its key."""
        try:
            try:
                return self._verify(token, self._load_keys())
            except InvalidKeyIdError:
                return self._verify(token, self._load_keys(again=True))
        except (JoseError, ValueError, TypeError) as error:
            raise SignInInvalid(INVALID, f"{type(error).__name__}: {error}") from error

    def _verify(self, token: str, keys: KeySet) -> jwt.Token:
        stated = self._discover().get("id_token_signing_alg_values_supported")
        allowed = [one for one in ALGORITHMS if not isinstance(stated, list) or one in stated]
        if not allowed:  # an empty list would allow joserfc's own choice
            raise ServerFailed(f"{self.issuer} signs with none of {', '.join(ALGORITHMS)}.")
        registry = JWSRegistry(algorithms=allowed, strict_check_header=False)
        return jwt.decode(token, keys, registry=registry)

    def _options(self, needed: str) -> dict[str, dict[str, object]]:
        """Return the values that claims must have, and which must exist."""
        options: dict[str, dict[str, object]] = {name: {"essential": True} for name in ("exp", "iat", needed)}
        options["iss"] = {"essential": True, "value": self.issuer}
        options["aud"] = {"essential": True, "value": self._client_id}
        return options

    def _validate(self, claims: JWTClaims) -> None:
        """Raise SignInInvalid unless the claims are for this client, from this provider, and valid now."""
        try:
            claims.validate(leeway=SKEW_SECONDS)
        except (ClaimError, TypeError, ValueError) as error:
            raise SignInInvalid(INVALID, f"{type(error).__name__}: {error}") from error

    def _discover(self) -> Claims:
        """Return the provider's discovery document. Raise ServerFailed."""

        def fetch() -> Claims:
            url = get_well_known_url(self.issuer, external=True)
            status, found = _call("GET", url)
            if status != 200:
                raise ServerFailed(f"{url} answered {status}.")
            if found.get("issuer") != self.issuer:
                raise ServerFailed(f"{url} names the issuer {str(found.get('issuer'))[:200]!r}, not {self.issuer!r}.")
            for name in (*ENDPOINTS, *(one for one in OPTIONAL_ENDPOINTS if one in found)):
                _check_endpoint(url, name, found.get(name))
            return found

        found: Claims = self._metadata.get(fetch)
        return found

    def _load_keys(self, *, again: bool = False) -> KeySet:
        """Return the provider's keys. Fetch them first if `again`, though not within seconds of the last fetch."""

        def fetch() -> KeySet:
            url = self._discover()["jwks_uri"]
            status, found = _call("GET", url)
            try:
                if status != 200:
                    raise ValueError(f"status {status}")
                return KeySet.import_key_set({"keys": [key for key in found["keys"] if key.get("use", "sig") == "sig"]})
            except (JoseError, ValueError, TypeError, KeyError, AttributeError) as error:
                raise ServerFailed(f"{url} has no usable keys: {type(error).__name__}.") from error

        keys: KeySet = self._keys.get(fetch, again=again)
        return keys

    @contextmanager
    def _slot(self) -> Iterator[None]:
        if not self._slots.acquire(timeout=WAIT_SECONDS):
            raise ServerFailed("Too many sign-ins wait for the identity provider.")
        try:
            yield
        finally:
            self._slots.release()


class _Fetched:
    """Value that is fetched again after FRESH_SECONDS. If that fails, the previous one serves on."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()
        self._value: Any = None
        self._fresh_until = self._paused_until = 0.0
        self._failure = ""

    def get(self, fetch: Any, *, again: bool = False) -> Any:
        """Return the value. Raise ServerFailed if there never was one."""
        with self._lock:
            now = time.monotonic()
            if now >= self._paused_until and (again or now >= self._fresh_until):
                self._fetch(fetch)
            if self._value is None:
                raise ServerFailed(self._failure)
            return self._value

    def _fetch(self, fetch: Any) -> None:
        try:
            self._value = fetch()
            self._fresh_until = time.monotonic() + FRESH_SECONDS
        except ServerFailed as error:
            self._failure = str(error)
            log.warning("identity provider not available", what=self._name, reason=self._failure)
        self._paused_until = time.monotonic() + PAUSE_SECONDS


def is_id(value: object) -> bool:
    """Return whether a value may be a provider's id of a user or of a session."""
    return isinstance(value, str) and 1 <= len(value) <= MAX_ID and value.isprintable()


def _call(method: str, url: str, body: bytes | None = None, headers: Mapping[str, str] = {}) -> tuple[int, Claims]:
    """Send a request, and return the status and the JSON object of the response (empty for another content)."""
    server, path = split(url)
    try:
        response = http_client.exchange(method, server, path, CALL, body, headers)
    except ExchangeFailed as error:
        raise ServerFailed(str(error)) from error
    try:
        found = orjson.loads(response.body)
    except orjson.JSONDecodeError:
        found = None
    if not isinstance(found, dict):
        if response.status == 200:
            raise ServerFailed(f"{url} did not answer with a JSON object.")
        found = {}
    return response.status, found


def _check_endpoint(document: str, name: str, url: object) -> None:
    try:
        server, _ = split(url if isinstance(url, str) else "")
    except ValueError as error:
        raise ServerFailed(f"{name} of {document} {error}.") from None
    if server.scheme != "https" and server.host not in LOCAL:
        raise ServerFailed(f"{name} of {document} does not start with https://.")
