"""Single sign-on by OpenID Connect: who signs in with an account of the identity provider, and as what.

A user is identified by the provider's issuer and subject, never by a name or a mail address, which others may get
later. A user appears at the first sign-in. Role and customers follow from the groups (OIDC_ROLES), at each sign-in
again: a user who is in none of them any more loses sessions and API tokens.

A sign-in is known by its state, 256 random bits, which the browser keeps in its signed cookie. The nonce and the PKCE
verifier are derived from the state and the secret key, so that neither is stored anywhere. Each state is valid once.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from base64 import urlsafe_b64encode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from app.config import Settings
from app.config.values import RoleGrant, role_grant
from app.exceptions import SettingInvalid, SignInInvalid, SignInRefused
from app.services.people import audit
from app.services.people.accounts import MAIL, end_access, principal
from app.services.people.principal import ANALYST, ROLES, Principal
from app.services.people.sessions import ProviderSession
from app.store.database import server_time, transaction
from app.store.models import Account
from app.store.people import accounts
from app.store.people import oidc as store
from app.store.people.sessions import EndReason
from app.support.clock import MINUTE_MS, SKEW_MS, now
from app.support.lookalikes import folded

if TYPE_CHECKING:
    from app.services.people.identity_provider import Identity, IdentityProvider

CALLBACK = "/admin/oidc/callback"
SIGNED_OUT = "/admin/sign-in"
VIA = "the identity provider"
SIGN_IN_MS = 10 * MINUTE_MS  # how long a user may take to sign in at the provider
MAX_SECONDS = 253_402_300_799  # the end of the year 9999; a later time may be too large for the database
MAX_NAME = 100  # characters; a number may follow
MAX_NUMBER = 1_000


@dataclass(frozen=True)
class SignIn:
    """User who has signed in, and the session of the provider."""

    principal: Principal
    provider: ProviderSession


class SingleSignOn:
    """Single sign-on of the installation, if it has an identity provider.

    Raises:
        SettingInvalid: a setting that it needs is empty, or Authlib is not installed.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._grants = [role_grant(entry) for entry in settings.oidc_roles]
        if self.is_on and not (settings.oidc_client_id and settings.oidc_roles):
            raise SettingInvalid("OIDC_ISSUER needs OIDC_CLIENT_ID and OIDC_ROLES, and one of them is empty.")
        if self.is_on and find_spec("authlib") is None:
            raise SettingInvalid("OIDC_ISSUER needs Authlib. Install the extra: tally-events[oidc].")
        if self.is_only_way and not self.is_on:
            raise SettingInvalid("OIDC_ONLY is on, and OIDC_ISSUER is empty, so nobody but one admin could sign in.")

    @property
    def is_on(self) -> bool:
        """Return whether people sign in with accounts of an identity provider."""
        return bool(self._settings.oidc_issuer)

    @property
    def is_only_way(self) -> bool:
        """Return whether passwords are off, except that of one admin."""
        return self._settings.oidc_only

    @cached_property
    def _provider(self) -> IdentityProvider:
        # Authlib takes a fifth of a second to import, which only processes with sign-ins pay.
        from app.services.people.identity_provider import IdentityProvider

        return IdentityProvider(self._settings)

    def begin(self) -> tuple[str, str]:
        """Return the state of a new sign-in, and the address at the provider. Raise ServerFailed."""
        state = secrets.token_urlsafe(32)
        nonce, verifier = self._derive("nonce", state), self._derive("verifier", state)
        return state, self._provider.authorization_url(self._callback, state, nonce, verifier)

    def finish(self, state: str, response: Mapping[str, str], address: str) -> SignIn:
        """Return the user for a response of the provider to the browser.

        Args:
            state: the state of a sign-in that this browser began within SIGN_IN_MS.
            response: the parameters of the response.
            address: the client's address.

        Raises:
            ServerFailed: the provider does not answer, or not as the standard says.
            SignInInvalid: the response or a token of it is invalid, or the state was used before.
            SignInRefused: the user has no role here, or is deactivated.
        """
        self._provider.check_issuer(response.get("iss"))
        if not store.claim_once(_digest("state", state), now() + SIGN_IN_MS + SKEW_MS):
            raise SignInInvalid("This sign-in has ended already. Start again.")
        if "error" in response or not response.get("code"):
            error = response.get("error", "no code")[:100]
            raise SignInInvalid(f"The identity provider ended the sign-in ({error}). Try again.")
        nonce, verifier = self._derive("nonce", state), self._derive("verifier", state)
        needed = self._settings.oidc_role_claim.partition(".")[0]
        identity = self._provider.redeem(response["code"], self._callback, nonce, verifier, needed)
        who = replace(principal(self._admit(identity, address)), address=address)
        return SignIn(who, ProviderSession(identity.sid, identity.id_token))

    def logout_url(self, id_token: str | None) -> str | None:
        """Return the address that ends the provider's session, too, or None if the provider has none."""
        return self._provider.logout_url(id_token, self._settings.base_url + SIGNED_OUT) if self.is_on else None

    def end_by_token(self, token: str, address: str) -> None:
        """End the sessions that a logout token of the provider names.

        Raises:
            ServerFailed: the provider's keys are not available.
            SignInInvalid: the token is invalid, or was used before.
        """
        claims = self._provider.read_logout_token(token)
        with transaction():
            expires_at = int(min(claims["exp"], MAX_SECONDS) * 1000) + SKEW_MS
            if not store.claim_once(_digest("logout", claims["jti"]), expires_at):
                raise SignInInvalid("This logout token was used before.")
            self._end(claims.get("sub"), claims.get("sid"), address)

    def end_by_frame(self, issuer: str, sid: str, address: str) -> None:
        """End the sessions that a page of the provider names in a frame. The provider's session id is a secret."""
        if issuer != self._settings.oidc_issuer or not sid or not sid.isprintable():
            raise SignInInvalid("iss is not the identity provider, or sid is missing.")
        with transaction():
            self._end(None, sid, address)

    def _end(self, subject: str | None, sid: str | None, address: str) -> None:
        ended = store.end_sessions(self._settings.oidc_issuer, subject, sid)
        for user in dict.fromkeys(ended):
            details = {"by": VIA, "sessions": ended.count(user)}
            audit.note(audit.nobody(address), "session ended", f"user {user[1]}", details)

    def _admit(self, identity: Identity, address: str) -> Account:
        """Return the account of a user with the rights of their groups; a new one at the first sign-in."""
        issuer, subject = self._settings.oidc_issuer, identity.subject
        groups = groups_in(identity.claims, self._settings.oidc_role_claim)
        rights = rights_of(groups, self._grants)
        account = store.by_subject(issuer, subject)
        names = _names(identity.claims, subject)
        if account is not None and account.deactivated_at is not None:
            _note_refusal(account.name, "deactivated", address)
            raise SignInRefused(f"The account {account.name} is deactivated. Ask an administrator of this service.")
        if rights is None:
            if account is not None:
                _strip(account, address)
            _note_refusal(account.name if account else names[0], "no group with a role", address)
            raise SignInRefused(
                f"You are signed in at the identity provider as {account.name if account else names[0]}, but none of "
                "your groups there has a role here. Ask an administrator for one, then sign in again."
            )
        if account is None:
            account = _add(issuer, subject, names, *rights, address)
        else:
            _renew(account, *rights, address)
        _set_mail(account, identity.claims, address)
        return account

    def _derive(self, purpose: str, state: str) -> str:
        derived = hmac.digest(self._settings.secret().encode(), f"oidc {purpose} {state}".encode(), hashlib.sha256)
        return urlsafe_b64encode(derived).decode().rstrip("=")

    @property
    def _callback(self) -> str:
        return self._settings.base_url + CALLBACK


def purge() -> None:
    """Remove used states and logout tokens that are invalid by now for their age."""
    store.purge(server_time())


def groups_in(claims: Mapping[str, Any], path: str) -> list[str]:
    """Return the groups in a claim: a list of texts, or a text alone. Dots in the path lead into objects.

    A mail address counts only if the provider has verified it.
    """
    if path == "email" and claims.get("email_verified") is not True:
        return []
    value: Any = claims.get(path)
    if value is None:
        value = claims
        for name in path.split("."):
            value = value.get(name) if isinstance(value, Mapping) else None
    values = value if isinstance(value, list) else [value]
    return [one for one in values if isinstance(one, str)]


def rights_of(groups: Iterable[str], grants: Sequence[RoleGrant]) -> tuple[str, list[str] | None] | None:
    """Return the role and customers of a member of groups, or None if no group has a role.

    The highest role counts, with the customers of all groups with that role.
    """
    members = set(groups)
    mine = [grant for grant in grants if grant.group in members]
    for role in ROLES:
        customers = [grant.customer for grant in mine if grant.role == role]
        if customers:
            named = [customer for customer in customers if customer is not None]
            return role, None if None in customers else list(dict.fromkeys(named))
    return None


def _names(claims: Mapping[str, Any], subject: str) -> list[str]:
    """Return names for a new user, the best first."""
    named = [_usable(name) for name in (claims.get("preferred_username"), claims.get("email")) if isinstance(name, str)]
    return [name for name in named if name] or [_usable(subject) or "user"]


def _usable(name: str) -> str:
    """Return a name without what no user's name has: control characters, and the colon, at which HTTP Basic splits."""
    return folded("".join(one for one in name if one.isprintable()).replace(":", "_"))[:MAX_NAME].strip()


def _add(issuer: str, subject: str, names: list[str], role: str, customers: list[str] | None, address: str) -> Account:
    """Create a user by the first name that is free. A local user of the same name stays as they are."""
    numbered = (f"{names[0]} ({number})" for number in range(2, MAX_NUMBER))
    with transaction():
        for name in (*names, *numbered):
            made = store.add(issuer, subject, name, role, customers, secrets.token_hex(16), now())
            if made is not None:
                who = replace(principal(made), address=address)
                audit.note(who, "user added", f"user {name}", {"role": role, "customers": customers, "by": VIA})
                return made
            known = store.by_subject(issuer, subject)
            if known is not None:  # another request of the same user was faster
                return known
    raise SignInInvalid(f"There are too many users of the name {names[0]}.")


def _renew(account: Account, role: str, customers: list[str] | None, address: str) -> None:
    if (account.role, account.customers) == (role, customers):
        return
    details = {"old role": account.role, "new role": role, "old customers": account.customers}
    with transaction():
        accounts.change(account.id, role, customers)
        who = replace(principal(account), address=address)
        audit.note(who, "user changed", f"user {account.name}", details | {"new customers": customers, "by": VIA})
    account.role, account.customers = role, customers


def _set_mail(account: Account, claims: Mapping[str, Any], address: str) -> None:
    """Set the mail address to that of the provider, if the provider has verified one."""
    mail = next(iter(groups_in(claims, "email")), "")
    if mail != account.mail and MAIL.fullmatch(mail):
        details = {"old mail": account.mail, "new mail": mail, "by": VIA}
        with transaction():
            accounts.set_mail(account.id, mail)
            audit.note(replace(principal(account), address=address), "user changed", f"user {account.name}", details)


def _strip(account: Account, address: str) -> None:
    """Take a user's rights, sessions and API tokens, until a later sign-in renews the rights."""
    with transaction():
        accounts.change(account.id, ANALYST, [])
        end_access(account.id, None, EndReason.NO_ROLE)
        details = {"old role": account.role, "new role": "none", "old customers": account.customers, "by": VIA}
        audit.note(replace(principal(account), address=address), "user changed", f"user {account.name}", details)


def _note_refusal(name: str, reason: str, address: str) -> None:
    audit.note(audit.nobody(address), "sign-in failed", f"user {name}", {"at": VIA, "reason": reason})


def _digest(kind: str, value: str) -> str:
    return hashlib.sha256(f"{kind} {value}".encode()).hexdigest()
