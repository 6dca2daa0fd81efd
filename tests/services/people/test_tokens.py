"""API tokens: what they permit, when they end, and what is stored of them."""

from __future__ import annotations

import re

import pytest

from app.exceptions import Forbidden, InputInvalid, TokenUnknown
from app.services.people import tokens
from app.services.people.principal import ADMIN, ANALYST, OPERATOR, SYSTEM
from app.services.people.tokens import is_token
from app.store.models import ApiToken, AuditEntry
from app.support.clock import DAY_MS, MINUTE_MS, now
from tests.conftest import PASSWORD

ALL = ["events:read", "reports:read", "reports:write", "admin:system"]


@pytest.fixture
def boss(services):
    return services.accounts.add("boss", ADMIN, None, PASSWORD)


@pytest.fixture
def anna(services):
    return services.accounts.add("anna", ANALYST, ["BARCHART", "FERNHILL"], PASSWORD)


def test_a_token_is_recognized_by_its_prefix_and_checksum(anna):
    _, text = tokens.add(anna, "laptop", ["events:read"])
    assert re.fullmatch(r"tly_[A-Za-z0-9]{49}", text)
    assert is_token(text)
    swapped = text[:10] + ("a" if text[10] != "a" else "b") + text[11:]
    for wrong in (text[:-1], text + "a", swapped, text.upper(), "tly_", "tally_" + text[4:], ""):
        assert not is_token(wrong)
        assert tokens.verify(wrong, "") is None


def test_only_its_hash_is_stored_and_the_audit_log_has_only_its_beginning(anna):
    made, text = tokens.add(anna, "laptop", ["events:read"], by=anna)
    row = ApiToken.get_by_id(made.id)
    entry = AuditEntry.get(AuditEntry.action == "token added")
    assert text not in str(row.__data__) + str(entry.__data__)
    assert entry.details["begins with"] == made.hint == text[:8]
    assert (entry.who, entry.details["user"], entry.details["days"]) == ("anna", "anna", 90)


def test_it_permits_its_scopes_and_never_more_than_the_role(anna, services):
    chief = services.accounts.add("chief", OPERATOR, None, PASSWORD)
    _, text = tokens.add(chief, "all", ALL)
    who = tokens.verify(text, "192.0.2.1")
    assert (who.id, who.name, who.token, who.address) == (chief.id, "chief", "all", "192.0.2.1")
    assert who.permissions == ("events", "reports", "system")  # nothing about users, keys or the catalog
    services.accounts.change(chief, ANALYST, ["BARCHART"])
    assert tokens.verify(text, "").permissions == ("events", "reports")
    with pytest.raises(InputInvalid, match="cannot be made") as caught:
        tokens.add(anna, "more", ["admin:system"])
    message = 'scopes has "admin:system", which the role analyst does not permit.'
    assert [error.message for error in caught.value.field_errors] == [message]


@pytest.mark.parametrize(
    ("scope", "permitted"),
    [
        ("events:read", {"events:read"}),
        ("reports:read", {"reports:read"}),
        ("reports:write", {"reports:read", "reports:write"}),
    ],
)
def test_writing_includes_reading(anna, scope, permitted):
    who = tokens.verify(tokens.add(anna, "one", [scope])[1], "")
    assert {one for one in ALL if who.has_scope(one)} == permitted


def test_it_sees_the_customers_that_it_and_its_user_see_at_that_time(anna, boss, services):
    _, one = tokens.add(anna, "one", ["events:read"], ["FERNHILL"])
    _, every = tokens.add(anna, "every", ["events:read"])
    _, of_boss = tokens.add(boss, "some", ["events:read"], ["BARCHART"])
    seen = [tokens.verify(text, "").customers for text in (one, every, of_boss)]
    assert seen == [("FERNHILL",), ("BARCHART", "FERNHILL"), ("BARCHART",)]
    services.accounts.change(anna, ANALYST, ["BARCHART"])
    assert [tokens.verify(text, "").customers for text in (one, every)] == [(), ("BARCHART",)]
    with pytest.raises(InputInvalid) as caught:
        tokens.add(services.accounts.named("anna"), "more", ["events:read"], ["FERNHILL"])
    message = 'customers must be some of those that anna sees: "BARCHART".'
    assert caught.value.field_errors[0].message == message


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scopes": []}, "scopes is empty; it must have one or more of events:read, reports:read, reports:write."),
        ({"scopes": ["all"]}, 'scopes has "all"; allowed are events:read, reports:read, reports:write.'),
        ({"days": 0}, "days is 0; it must be a whole number of days from 1 to 3,650."),
        ({"days": "ten"}, 'days is "ten"; it must be a whole number of days from 1 to 3,650.'),
        (
            {"name": " "},
            "name has 0 characters; it must be a string of 1 to 128 characters without control characters.",
        ),
        ({"name": "taken"}, 'name is "taken", and an unrevoked token has that name.'),
    ],
)
def test_invalid_values_are_named(anna, changes, message):
    tokens.add(anna, "taken", ["events:read"])
    with pytest.raises(InputInvalid) as caught:
        tokens.add(anna, **{"name": "new", "scopes": ["events:read"]} | changes)
    assert [error.message for error in caught.value.field_errors] == [message]
    assert len(tokens.of(anna)) == 1


def test_it_ends_when_it_expires_is_revoked_or_its_user_is_removed(anna, services):
    made, expiring = tokens.add(anna, "expiring", ["events:read"], days=1)
    assert made.expires_at - made.created_at == DAY_MS
    ApiToken.update(expires_at=now()).where(ApiToken.id == made.id).execute()
    revoked, text = tokens.add(anna, "revoked", ["events:read"])
    tokens.revoke(revoked, by=anna)
    _, last = tokens.add(anna, "last", ["events:read"])
    assert [tokens.verify(one, "") is None for one in (expiring, text, last)] == [True, True, False]
    assert [(one.name, one.state) for one in tokens.of(anna)] == [
        ("expiring", "expired"),
        ("last", "active"),
        ("revoked", "revoked"),
    ]
    services.accounts.remove("anna")
    assert tokens.verify(last, "") is None
    assert ApiToken.select().count() == 0


def test_it_survives_a_new_password_of_its_user(anna, services):
    _, text = tokens.add(anna, "laptop", ["events:read"])
    services.accounts.set_password("anna", "another password", temporary=True)
    who = tokens.verify(text, "")
    assert who is not None
    assert not who.temporary


def test_the_last_use_is_noted_to_the_minute(anna):
    made, text = tokens.add(anna, "laptop", ["events:read"])
    assert made.used_at is None
    tokens.verify(text, "")
    noted = tokens.of(anna)[0].used_at
    assert now() - noted < MINUTE_MS
    tokens.verify(text, "")
    assert tokens.of(anna)[0].used_at == noted
    ApiToken.update(used_at=noted - MINUTE_MS).execute()
    tokens.verify(text, "")
    assert tokens.of(anna)[0].used_at >= noted


def test_only_its_user_and_user_managers_who_see_as_much_may_revoke_it(anna, boss, services):
    limited = services.accounts.add("limited", ADMIN, ["BARCHART"], PASSWORD)
    chief = services.accounts.add("chief", OPERATOR, None, PASSWORD)
    made, _ = tokens.add(anna, "laptop", ["events:read"])
    for stranger in (limited, chief):
        with pytest.raises(TokenUnknown):
            tokens.get(made.id, by=stranger)
    with pytest.raises(Forbidden):
        tokens.add(anna, "more", ["events:read"], by=limited)
    assert (tokens.every(by=limited), [one.name for one in tokens.every(by=boss)]) == ([], ["laptop"])
    tokens.revoke(tokens.get(made.id, by=boss), by=boss)
    for _ in range(2):
        with pytest.raises(TokenUnknown):
            tokens.get(made.id, by=anna)
    with pytest.raises(TokenUnknown):
        tokens.revoke(made, by=anna)
    assert AuditEntry.get(AuditEntry.action == "token revoked").who == "boss"


def test_a_user_has_at_most_so_many_active_tokens(anna, monkeypatch):
    monkeypatch.setattr("app.services.people.tokens.MAX_TOKENS", 2)
    for name in ("one", "two"):
        tokens.add(anna, name, ["events:read"])
    with pytest.raises(InputInvalid):
        tokens.add(anna, "three", ["events:read"])
    tokens.revoke(tokens.get(tokens.of(anna)[0].id, by=anna))
    tokens.add(anna, "three", ["events:read"])


def test_ended_tokens_are_removed_after_ninety_days(anna):
    for name, ended in (("old", 91), ("late", 89)):
        made, _ = tokens.add(anna, name, ["events:read"])
        ApiToken.update(revoked_at=now() - ended * DAY_MS).where(ApiToken.id == made.id).execute()
    made, _ = tokens.add(anna, "expired", ["events:read"])
    ApiToken.update(expires_at=now() - 91 * DAY_MS).where(ApiToken.id == made.id).execute()
    tokens.add(anna, "active", ["events:read"])
    tokens.purge()
    assert [one.name for one in tokens.every(by=SYSTEM)] == ["active", "late"]
