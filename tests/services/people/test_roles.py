"""Users: valid names, the permissions of each role, and the visible customers."""

from __future__ import annotations

import pytest

from app.exceptions import AccountInvalid, Forbidden, RateLimited
from app.services.people.accounts import SYSTEM
from tests.support.threads import at_once

PASSWORD = "correct horse"


@pytest.mark.parametrize(
    ("role", "permissions"),
    [
        ("admin", {"events", "reports", "catalog", "system", "users", "keys"}),
        ("operator", {"events", "reports", "catalog", "system"}),
        ("analyst", {"events", "reports"}),
    ],
)
def test_a_role_has_the_permissions_in_the_contract(services, role, permissions):
    account = services.accounts.add("olga", role, None, PASSWORD)
    assert {permission for permission in permissions if account.may(permission)} == permissions
    assert set(account.permissions) == permissions


@pytest.mark.parametrize(
    ("role", "named", "visible"),
    [
        ("admin", None, {"BARCHART", "FERNHILL"}),
        ("operator", None, {"BARCHART", "FERNHILL"}),
        ("operator", ["BARCHART"], {"BARCHART"}),
        ("analyst", ["BARCHART"], {"BARCHART"}),
        ("analyst", None, set()),
        ("analyst", [], set()),
    ],
)
def test_a_user_sees_the_assigned_customers_and_an_analyst_without_any_sees_none(services, role, named, visible):
    added = services.accounts.add("olga", role, named, PASSWORD)
    verified = services.accounts.verify("olga", PASSWORD)
    for account in (added, verified):
        assert {code for code in ("BARCHART", "FERNHILL") if account.sees(code)} == visible


@pytest.mark.parametrize(("role", "expected"), [("admin", True), ("operator", True), ("analyst", False)])
def test_admins_and_operators_see_the_reports_of_others(services, role, expected):
    assert services.accounts.add("olga", role, ["BARCHART"], PASSWORD).sees_all_reports is expected


@pytest.mark.parametrize(
    "name", ["", "a" * 129, "a:b", "two\nlines", "nul\0", "del\x7f", "\u200b", " \u00a0", "\ufeff\u2060"]
)
def test_an_invalid_name_is_rejected(services, name):
    with pytest.raises(AccountInvalid, match="1 to 128 characters"):
        services.accounts.add(name, "admin", None, PASSWORD)


@pytest.mark.parametrize("name", ["a" * 128, "anna@example.com", "Anna Ñandú", "شيماء"])
def test_a_name_may_have_any_letters(services, name):
    services.accounts.add(name, "admin", None, PASSWORD)
    assert services.accounts.verify(name, PASSWORD).name == name


def test_an_unknown_role_is_rejected(services):
    with pytest.raises(AccountInvalid, match="admin, operator, analyst"):
        services.accounts.add("olga", "owner", None, PASSWORD)


ALIKE = {
    "blanks": " anna\u00a0",
    "line end": "anna\n",
    "byte order mark": "\ufeffanna",
    "zero width": "an\u200bna",
    "joiner": "an\u2060na\u200d",
    "soft hyphen": "an\u00adna",
    "bidi": "\u202eanna\u202c\u200f",
    "variation": "anna\ufe0f",
}


@pytest.mark.parametrize("name", ALIKE.values(), ids=ALIKE)
def test_a_name_that_looks_the_same_is_the_same_user(services, name):
    added = services.accounts.add("anna", "admin", None, PASSWORD)
    with pytest.raises(AccountInvalid, match="anna already"):
        services.accounts.add(name, "analyst", None, "another horse")
    for account in (
        services.accounts.verify(name, PASSWORD),
        services.login.authenticate(name, PASSWORD, "192.0.2.1", "API"),
        services.accounts.set_password(name, "another horse"),
    ):
        assert (account.id, account.name) == (added.id, "anna")


def test_a_name_is_stored_and_compared_in_nfc(services):
    added = services.accounts.add(" u\u0308\u200b ", "admin", None, PASSWORD)
    assert added.name == "ü"
    assert services.accounts.verify("ü", PASSWORD).id == added.id
    services.accounts.add("second", "admin", None, PASSWORD)
    services.accounts.remove("u\u0308")
    assert services.accounts.verify("ü", PASSWORD) is None


def test_wrong_passwords_count_together_for_all_spellings_of_a_name(services):
    services.accounts.add("anna", "admin", None, PASSWORD)
    for number in range(10):
        assert services.login.authenticate("anna" + "\u200b" * number, "wrong", "192.0.2.1", "API") is None
    with pytest.raises(RateLimited):
        services.login.authenticate("an\u00adna", "wrong", "192.0.2.1", "API")


def test_the_system_principal_sees_everything():
    assert SYSTEM.may("users") and SYSTEM.sees("BARCHART") and SYSTEM.sees_all_reports


def test_a_limited_admin_cannot_change_a_user_who_got_more_customers_meanwhile(services):
    """The user got more customers between the request for the page and the form."""
    boss = services.accounts.add("boss", "admin", None, PASSWORD)
    ada = services.accounts.add("ada", "admin", ["BARCHART"], PASSWORD)
    anna = services.accounts.add("anna", "analyst", ["BARCHART"], PASSWORD)
    services.accounts.change(anna, "admin", None, by=boss)
    for action in (
        lambda: services.accounts.change(anna, "analyst", ["BARCHART"], by=ada),
        lambda: services.accounts.set_password("anna", "another horse", by=ada),
        lambda: services.accounts.remove("anna", by=ada),
    ):
        with pytest.raises(Forbidden, match="more customers than you"):
            action()
    assert services.accounts.verify("anna", PASSWORD).customers is None


class TestTheLastAdmin:
    def test_is_neither_removed_nor_demoted(self, services):
        boss = services.accounts.add("boss", "admin", None, PASSWORD)
        with pytest.raises(AccountInvalid, match="boss is the last admin"):
            services.accounts.remove("boss")
        for role in ("operator", "analyst"):
            with pytest.raises(AccountInvalid, match="boss is the last admin"):
                services.accounts.change(boss, role, None)
        assert services.accounts.get(boss.id).role == "admin"

    def test_without_limits_stays_although_limited_admins_exist(self, services):
        boss = services.accounts.add("boss", "admin", None, PASSWORD)
        services.accounts.add("ada", "admin", ["BARCHART"], PASSWORD)
        for action in (
            lambda: services.accounts.change(boss, "admin", ["BARCHART"], by=boss),
            lambda: services.accounts.change(boss, "operator", None, by=boss),
            lambda: services.accounts.remove("boss", by=boss),
        ):
            with pytest.raises(AccountInvalid, match="boss is the last admin who is not limited"):
                action()
        assert services.accounts.get(boss.id).customers is None
        services.accounts.add("second", "admin", None, PASSWORD)
        services.accounts.change(boss, "admin", ["BARCHART"])
        assert services.accounts.get(boss.id).customers == ("BARCHART",)

    def test_without_limits_stays_if_two_limit_each_other_concurrently(self, services):
        bosses = [services.accounts.add(f"boss-{number}", "admin", None, PASSWORD) for number in range(2)]

        def limit(number: int) -> bool:
            try:
                services.accounts.change(bosses[number], "admin", ["BARCHART"], by=bosses[1 - number])
            except AccountInvalid:
                return False
            return True

        assert sorted(at_once(2, limit)) == [False, True]
        assert [account.customers for account in services.accounts.everyone()].count(None) == 1

    def test_stays_if_all_admins_remove_or_demote_themselves_concurrently(self, services):
        for number in range(6):
            services.accounts.add(f"boss-{number}", "admin", None, PASSWORD)

        def demote_or_remove(number: int) -> bool:
            account = next(account for account in services.accounts.everyone() if account.name == f"boss-{number}")
            try:
                if number % 2:
                    services.accounts.remove(account.name)
                else:
                    services.accounts.change(account, "operator", None)
            except AccountInvalid:
                return False
            return True

        assert sorted(at_once(6, demote_or_remove)) == [False, *[True] * 5]
        assert [account.role for account in services.accounts.everyone()].count("admin") == 1
