"""Every route, verb and kind of user: the exact status of `tests/security/matrix.py`."""

from __future__ import annotations

import re

import pytest
import redis

from app.support.paths import is_api
from tests.security.matrix import OF_PROVIDER, OPTIONS, SCOPES, SENT, VERBS, WHO, rows, token_rows
from tests.security.world import World
from tests.support.pace import by_turns

CONVERTER = re.compile(r"<[^<>:]+:")  # of a variable in a rule
ROWS = rows()
PATHS = sorted({row.split()[1] for row in ROWS})


@pytest.fixture
def database_url(postgres_url: str) -> str:
    """Use PostgreSQL, because authorization does not depend on the database, and it is stricter about hostile names."""
    return postgres_url


def routes(app) -> set[str]:
    """Return every `VERB /path` of the application without those that need no line."""
    return {
        f"{verb} {CONVERTER.sub('<', rule.rule)}"
        for rule in app.url_map.iter_rules()
        for verb in rule.methods - {"HEAD", "OPTIONS"}
    }


def expected(verb: str, path: str, who: str) -> int:
    """Return the status that a user gets."""
    if verb == "OPTIONS":
        return OPTIONS["api" if is_api(path) else "people"]
    row = ROWS.get(f"{'GET' if verb == 'HEAD' else verb} {path}")
    return row[who] if row else 405


def askers(verb: str, path: str) -> tuple[str, ...]:
    """Return the users to try: all, or two for a verb without a route, because routing responds before users are
    looked at. HEAD, which runs the view of GET, is tried by users in turn, as are verbs without a route.
    """
    place = PATHS.index(path)
    if verb == "HEAD" and f"GET {path}" in ROWS:
        return by_turns(WHO, place, 8)
    return WHO if f"{verb} {path}" in ROWS else by_turns(("nobody", "admin"), place + VERBS.index(verb), 2)


def test_every_route_has_a_line_in_the_matrix_and_every_line_a_route(app):
    assert routes(app) == set(ROWS)


@pytest.mark.parametrize(
    ("path", "verbs"), [("/admin/secrets", ["GET"]), ("/reports/<source>/secret", ["GET"]), ("/events", ["DELETE"])]
)
def test_a_new_route_or_verb_would_fail_that_check(app, path, verbs):
    app.add_url_rule(path, "new", lambda **_: "", methods=verbs)
    assert routes(app) - set(ROWS) == {f"{verb} {path}" for verb in verbs}


def test_every_kind_of_user_and_every_verb_is_in_the_matrix():
    assert set(WHO) == {"nobody", "wrong", "empty", "other", "analyst", "operator", "admin", "expired"}
    assert {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"} <= set(VERBS)
    assert {verb for row in ROWS for verb in row.split()[:1]} <= set(VERBS)


def test_every_user_gets_the_status_of_the_matrix(app, redis_url, subtests):
    """One world for all paths, because filling it takes longer than the requests for a path."""
    world = World(app)
    for path in PATHS:
        redis.Redis.from_url(redis_url).flushall()  # or the wrong passwords of other paths would count
        wrong = [
            f"{verb} {path} answers {who} {found}, and must answer {status}"
            for verb in VERBS
            for who in askers(verb, path)
            if (found := world.ask(who, verb, path).status_code) != (status := expected(verb, path, who))
        ]
        with subtests.test(path):
            assert wrong == []


def test_every_api_route_that_needs_a_user_has_a_line_for_tokens():
    api = {row for row, statuses in ROWS.items() if is_api(row.split()[1]) and statuses["nobody"] == 401}
    assert set(token_rows()) == api


def test_every_api_token_gets_the_status_of_its_scope(app):
    world, lines = World(app), token_rows()
    rows = {row: statuses["nobody"] for row, statuses in ROWS.items() if is_api(row.split()[1]) or row[:3] == "GET"}
    wrong = []
    for kind in (*SCOPES, "expired", "revoked"):
        token = world.token(kind)
        for row, of_nobody in rows.items():
            found = world.ask_with_token(token, *row.split()).status_code
            if found != (status := lines.get(row, {}).get(kind) or of_nobody):
                wrong.append(f"{row} answers {kind} {found}, and must answer {status}")
    assert wrong == []


@pytest.mark.parametrize("is_active", [True, False])
def test_a_user_of_the_identity_provider_gets_the_status_of_an_admin_or_none_if_deactivated(app, is_active):
    """Signing out comes last, because it ends the session."""
    world, wrong = World(app), []
    visitor, token = world.of_provider(is_active=is_active)
    kind = "admin" if is_active else "expired"
    for row in sorted(ROWS, key=lambda row: row == "POST /admin/sign-out"):
        verb, path = row.split()
        found, address = {}, world.address_of(verb, path)
        if is_api(path):
            body = {} if verb in ("GET", "DELETE") else {"json": SENT.get(row, {})}
            found["nobody"] = visitor.flask_client.open(address, method=verb, **body).status_code
            found[kind] = world.ask_with_token(token, verb, path).status_code
        else:
            found[kind] = world.ask_page(visitor, verb, path, address).status_code
        status = {who: (is_active and OF_PROVIDER.get(row)) or ROWS[row][who] for who in found}
        wrong += [f"{row} answers {found}, and must answer {status}"] if found != status else []
    assert wrong == []
