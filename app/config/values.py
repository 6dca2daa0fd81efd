"""How a setting is declared, and which values it accepts.

A declaration is the field of a dataclass: its type and default, and metadata with its unit and its check. A check
raises `ValidationError` with the end of a sentence that begins with the setting's name.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from email.utils import parseaddr
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import SplitResult, unquote, urlsplit

from environs import ValidationError, validate

from app.support.url_origin import named, split

Check = Callable[[Any], object]
Text = TypeVar("Text", str, Path)

BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,62}")
BASE_PATH = re.compile(r"(/(?!\.{1,2}(/|$))[A-Za-z0-9._~-]+)*")
# First segments of the service's own paths. BASE_PATH must differ, because a proxy that strips it makes it ambiguous.
OWN_PATHS = {"admin", "bootstrap", "counts", "docs", "events", "files", "health", "metrics", "openapi.json", "reports"}
OWN_PATHS |= {"service", "static", "system", "tally.js"}
HOST = re.compile(r"\.?[a-z0-9_-]+(\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\]")  # .example.com: the domain and all names below it
LABEL = re.compile("(?!-)[A-Za-z0-9-]{1,63}(?<!-)")  # what boto3 accepts between two dots of a host name
ADDRESS = re.compile(r"[^\s@<>\"(),:;\\\[\]]{1,64}@[A-Za-z0-9.-]{1,255}")  # of mail
BARE_PERCENT = re.compile("%(?![0-9A-Fa-f]{2})")
UNREADABLE = (
    "is not a URL that can be read. In a user's name or a password write % / ? # @ as %25 %2F %3F %23 %40, "
    "and elsewhere % as %25."
)
ENDS_EARLY = "must name a path. Write ? and # in it as %3F and %23."
LOOPBACK = ("localhost", "127.0.0.1", "::1")
# The roles, and whether an entry of OIDC_ROLES must name a customer for it, because the role alone sees none.
ROLES = {"admin": False, "operator": False, "analyst": True}
MIN_SECRET = 16  # characters
SECRET_UNIT = f"text, {MIN_SECRET} characters or more"


def number(default: int, unit: str, low: int, high: int) -> int:
    """Declare a whole number with its bounds."""
    return field(default=default, metadata={"unit": f"{unit}, {low:,} to {high:,}", "check": validate.Range(low, high)})


def switch(default: bool) -> bool:
    """Declare a setting that is `on` or `off`."""
    return field(default=default, metadata={"unit": "`on` or `off`", "check": validate.OneOf(("on", "off"))})


def choice(*words: str) -> str:
    """Declare a setting that is one of `words`. The first is the default."""
    *first, last = (f"`{word}`" for word in words)
    return field(default=words[0], metadata={"unit": f"{', '.join(first)} or {last}", "check": validate.OneOf(words)})


def text(default: Text, unit: str, check: Check | None = None, *, secret: bool = False) -> Text:
    """Declare a text or a path. A secret one is never shown."""
    return field(default=default, repr=not secret, metadata={"unit": unit, "check": check})


def texts(
    default: tuple[str, ...], unit: str, check: Check, *, clean: Callable[[str], str] = str.strip
) -> tuple[str, ...]:
    """Declare a list of texts, which are separated by commas and cleaned before they are checked."""
    return field(default=default, metadata={"unit": f"{unit}, a comma between", "check": check, "clean": clean})


def matching(pattern: str, problem: str) -> Check:
    """Return a check of a text by a regular expression, which must match all of it."""

    def check(value: str) -> None:
        if not re.fullmatch(pattern, value, re.DOTALL):
            raise ValidationError(problem)

    return check


def each_matching(pattern: re.Pattern[str], problem: str) -> Check:
    """Return a check of each text in a list by a regular expression, which must match all of it."""

    def check(values: list[str]) -> None:
        for value in values:
            if not pattern.fullmatch(value):
                raise ValidationError(f"{value!r} {problem}")

    return check


filled = matching(r".*\S.*", "is empty.")
long_enough = matching(f"|.{{{MIN_SECRET},}}", f"is shorter than {MIN_SECRET} characters.")
token = matching(
    rf"|[\x21-\x7e]{{{MIN_SECRET},}}",
    f"must have {MIN_SECRET} characters or more: letters, digits and signs of ASCII, and no blanks.",
)
proxy_path = matching(r"/([A-Za-z0-9._-]+/)+", "is not a path such as /report-files/, with a slash at both ends.")
buckets = each_matching(BUCKET, "is not the name of a bucket, such as analysts-reports.")
hosts = each_matching(HOST, "is not a host such as tally.example.com, without a port.")


def url(problem: Callable[[SplitResult], str | None], *schemes: str) -> Check:
    """Return a check of a URL, if there is one: of its scheme, and by `problem`, which says what else is wrong."""

    def check(value: str) -> None:
        if not value:
            return
        wanted = " or ".join(f"{scheme}://" for scheme in schemes)
        try:
            if BARE_PERCENT.search(value):
                raise ValueError
            parts = urlsplit(value)
            wrong = f"is not a URL that starts with {wanted}." if parts.scheme not in schemes else problem(parts)
        except ValueError:  # an invalid port or an unbalanced bracket; the error may contain a password
            wrong = UNREADABLE
        if wrong:
            raise ValidationError(wrong)

    return check


def database(url: SplitResult) -> str | None:
    """Return what is wrong with the URL of a database."""
    if url.scheme == "sqlite":
        if (url.netloc + url.path).strip("/") in ("", ":memory:"):
            return "must name a file: sqlite:///path/events.db."
        return ENDS_EARLY if url.query or url.fragment else None
    # libpq and other libraries parse different hosts from these, and would print a part of a password as a host.
    is_ambiguous = url.netloc.count("@") > 1 or "@" in url.path or url.fragment
    return UNREADABLE if is_ambiguous or ("@" in url.query and "@" not in url.netloc) else None


def redis(url: SplitResult) -> str | None:
    """Return what is wrong with the URL of Redis."""
    if "@" in url.path or url.fragment:
        return UNREADABLE
    if url.scheme == "unix":
        return None if url.path else "must name a socket: unix:///path/redis.sock."
    if not url.hostname or url.port == 0:
        return "must name a host: redis://host:6379/0."
    return None if re.fullmatch(r"/?\d*", url.path) else "must end in a database's number: redis://host:6379/0."


def storage(url: SplitResult) -> str | None:
    """Return what is wrong with the URL of a storage."""
    if url.scheme == "s3":
        is_right = BUCKET.fullmatch(url.netloc) and not url.query and not url.fragment
        return None if is_right else "must name a bucket, and may name a prefix: s3://bucket/prefix."
    if url.query or url.fragment:
        return ENDS_EARLY
    return "must name an absolute folder: file:///folder." if url.netloc or not url.path.strip("/") else None


def backups(value: str) -> None:
    """Require a folder or the URL of a storage, if there is a value."""
    if "://" in value:
        url(storage, "file", "s3")(value)


def endpoint(url: SplitResult) -> str | None:
    """Return what is wrong with the URL of an S3-compatible store."""
    if not url.hostname or url.port == 0 or url.username or url.password:
        return "must name a host, and no password: https://s3.example.com."
    if ":" not in url.hostname and not all(LABEL.fullmatch(label) for label in url.hostname.split(".")):
        return "must name a host of letters, digits, dots and inner hyphens: https://s3.example.com."
    return "must end before ? and #." if url.query or url.fragment else None


def mail_server(url: SplitResult) -> str | None:
    """Return what is wrong with the URL of a mail server."""
    if not url.hostname or url.port == 0:
        return "must name a host: smtp://mail.example.com:587."
    if url.netloc.count("@") > 1 or "@" in url.path or url.fragment:
        return UNREADABLE
    if bool(url.username) != bool(url.password):
        return "must name both a user and a password, or neither: smtp://user:password@mail.example.com:587."
    return "must end after the port." if url.path.strip("/") or url.query else None


def mail_address(value: str) -> None:
    """Require one mail address, with or without a name, if there is a value."""
    name, address = parseaddr(value)
    if value and not (ADDRESS.fullmatch(address) and value in (address, f"{name} <{address}>")):
        raise ValidationError("is not an address such as tally@example.com or Tally <tally@example.com>.")


def public(url: SplitResult) -> str | None:
    """Return what is wrong with the URL by which clients reach the service."""
    if not url.hostname or url.port == 0 or "@" in url.netloc or not in_ascii(url):
        return "must name a host, and no password: https://tally.example.com."
    if url.query or url.fragment:
        return "must end before ? and #."
    path = url.path.rstrip("/")
    if not BASE_PATH.fullmatch(path):
        return "has a path that is none such as /tally: letters, digits and - _ ~ . between single slashes."
    first = path[1:].partition("/")[0]
    return f"has a path that begins like one of the service's own: /{first}." if first in OWN_PATHS else None


def in_ascii(url: SplitResult) -> str:
    """Return a URL with its host as browsers and mails have it (IDNA), or "" if no host has such a name."""
    try:
        return url._replace(netloc=url.netloc.encode("idna").decode()).geturl()
    except UnicodeError:
        return ""


def origins(values: list[str]) -> None:
    """Require origins of pages, or `*`."""
    if not values:
        raise ValidationError("is empty; leave it out, or name origins.")
    for value in values:
        parts = urlsplit(value)
        if value != "*" and not (parts.scheme and parts.netloc and not parts.path):
            raise ValidationError(f"{value!r} is neither * nor an origin such as https://example.com.")


def servers(values: list[str]) -> None:
    """Require hosts with an optional scheme and port."""
    for value in values:
        try:
            named(value)
        except ValueError as error:
            shown = value.rpartition("@")[2]  # the part before it may be a password
            raise ValidationError(
                f"{shown!r} {error}. Name hosts: hooks.example.com, hooks.example.com:8443, http://10.0.0.7:8080."
            ) from None


def issuer(url: SplitResult) -> str | None:
    """Return what is wrong with the URL of an identity provider."""
    try:
        split(url.geturl())
    except ValueError as error:
        return f"{error}. Name the issuer: https://login.example.com/realms/main."
    if url.query:
        return "must end before the ?."
    return None if url.scheme == "https" or url.hostname in LOOPBACK else "must start with https://."


def scopes(value: str) -> None:
    """Require scopes with blanks between, `openid` among them."""
    if "openid" not in value.split():
        raise ValidationError("must contain openid.")


@dataclass(frozen=True)
class RoleGrant:
    """Entry of OIDC_ROLES: a group, the role of its members, and a customer that they are limited to."""

    group: str
    role: str
    customer: str | None


def role_grant(entry: str) -> RoleGrant:
    """Return an entry of OIDC_ROLES, parsed.

    Raises:
        ValueError: it is none; the message says why, as the end of a sentence.
    """
    group, _, granted = entry.rpartition("=")
    role, has_customer, customer = granted.partition(":")
    role, customer = role.strip(), unquote(customer.strip())
    if not group.strip():
        raise ValueError("is not GROUP=ROLE or GROUP=ROLE:CUSTOMER")
    if role not in ROLES:
        raise ValueError(f"names no role; it must be one of {', '.join(ROLES)}")
    if has_customer and not customer:
        raise ValueError("names no customer after the colon")
    if ROLES[role] and not customer:
        raise ValueError(f"names no customer, and an {role} sees only those that are named: GROUP={role}:CUSTOMER")
    return RoleGrant(unquote(group.strip()), role, customer or None)


def role_grants(values: list[str]) -> None:
    """Require entries of OIDC_ROLES."""
    for value in values:
        try:
            role_grant(value)
        except ValueError as error:
            raise ValidationError(f"{value!r} {error}.") from None
