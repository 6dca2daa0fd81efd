"""Users: who there is, what each role may do, and which customers each sees."""

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
def test_a_role_may_do_what_the_contract_says(services, role, permissions):
    one = services.accounts.add("olga", role, None, PASSWORD)
    assert {permission for permission in permissions if one.may(permission)} == permissions
    assert set(one.permissions) == permissions


@pytest.mark.parametrize(
    ("role", "named", "seen"),
    [
        ("admin", None, {"BARCHART", "FERNHILL"}),
        ("operator", None, {"BARCHART", "FERNHILL"}),
        ("operator", ["BARCHART"], {"BARCHART"}),
        ("analyst", ["BARCHART"], {"BARCHART"}),
        ("analyst", None, set()),
        ("analyst", [], set()),
    ],
)
def test_a_user_sees_the_customers_named_and_an_analyst_no_other(services, role, named, seen):
    made = services.accounts.add("olga", role, named, PASSWORD)
    kept = services.accounts.verify("olga", PASSWORD)
    for one in (made, kept):
        assert {code for code in ("BARCHART", "FERNHILL") if one.sees(code)} == seen


@pytest.mark.parametrize(("role", "theirs"), [("admin", True), ("operator", True), ("analyst", False)])
def test_reports_of_others_are_for_admins_and_operators(services, role, theirs):
    assert services.accounts.add("olga", role, ["BARCHART"], PASSWORD).sees_all_reports is theirs


@pytest.mark.parametrize(
    "name", ["", "a" * 129, "a:b", "two\nlines", "nul\0", "del\x7f", "\u200b", " \u00a0", "\ufeff\u2060"]
)
def test_a_name_that_will_not_do_is_refused(services, name):
    with pytest.raises(AccountInvalid, match="1 to 128 characters"):
        services.accounts.add(name, "admin", None, PASSWORD)


@pytest.mark.parametrize("name", ["a" * 128, "anna@example.com", "Anna Ñandú", "شيماء"])
def test_a_name_may_have_any_letters(services, name):
    services.accounts.add(name, "admin", None, PASSWORD)
    assert services.accounts.verify(name, PASSWORD).name == name


def test_a_role_that_there_is_not_is_refused(services):
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
def test_a_name_in_another_spelling_that_looks_the_same_is_the_same_user(services, name):
    made = services.accounts.add("anna", "admin", None, PASSWORD)
    with pytest.raises(AccountInvalid, match="anna already"):
        services.accounts.add(name, "analyst", None, "another horse")
    for found in (
        services.accounts.verify(name, PASSWORD),
        services.login.authenticate(name, PASSWORD, "192.0.2.1", "API"),
        services.accounts.set_password(name, "another horse"),
    ):
        assert (found.id, found.name) == (made.id, "anna")


def test_a_name_is_kept_and_compared_in_nfc(services):
    made = services.accounts.add(" u\u0308\u200b ", "admin", None, PASSWORD)
    assert made.name == "ü"
    assert services.accounts.verify("ü", PASSWORD).id == made.id
    services.accounts.add("second", "admin", None, PASSWORD)
    services.accounts.remove("u\u0308")
    assert services.accounts.verify("ü", PASSWORD) is None


def test_wrong_passwords_for_a_name_count_together_however_it_is_spelled(services):
    services.accounts.add("anna", "admin", None, PASSWORD)
    for number in range(10):
        assert services.login.authenticate("anna" + "\u200b" * number, "wrong", "192.0.2.1", "API") is None
    with pytest.raises(RateLimited):
        services.login.authenticate("an\u00adna", "wrong", "192.0.2.1", "API")


def test_who_runs_commands_on_the_server_sees_everything():
    assert SYSTEM.may("users") and SYSTEM.sees("BARCHART") and SYSTEM.sees_all_reports


def test_who_came_to_see_more_meanwhile_is_out_of_reach_of_an_admin_of_some_customers(services):
    """The page was opened before, the form is sent after somebody else gave the user more customers."""
    boss = services.accounts.add("boss", "admin", None, PASSWORD)
    ada = services.accounts.add("ada", "admin", ["BARCHART"], PASSWORD)
    anna = services.accounts.add("anna", "analyst", ["BARCHART"], PASSWORD)
    services.accounts.change(anna, "admin", None, by=boss)
    for act in (
        lambda: services.accounts.change(anna, "analyst", ["BARCHART"], by=ada),
        lambda: services.accounts.set_password("anna", "another horse", by=ada),
        lambda: services.accounts.remove("anna", by=ada),
    ):
        with pytest.raises(Forbidden, match="more customers than you"):
            act()
    assert services.accounts.verify("anna", PASSWORD).customers is None


class TestTheLastAdmin:
    def test_is_neither_removed_nor_made_somebody_else(self, services):
        boss = services.accounts.add("boss", "admin", None, PASSWORD)
        with pytest.raises(AccountInvalid, match="boss is the last admin"):
            services.accounts.remove("boss")
        for role in ("operator", "analyst"):
            with pytest.raises(AccountInvalid, match="boss is the last admin"):
                services.accounts.change(boss, role, None)
        assert services.accounts.get(boss.id).role == "admin"

    def test_who_sees_every_customer_stays_so_beside_limited_admins(self, services):
        boss = services.accounts.add("boss", "admin", None, PASSWORD)
        services.accounts.add("ada", "admin", ["BARCHART"], PASSWORD)
        for give_up in (
            lambda: services.accounts.change(boss, "admin", ["BARCHART"], by=boss),
            lambda: services.accounts.change(boss, "operator", None, by=boss),
            lambda: services.accounts.remove("boss", by=boss),
        ):
            with pytest.raises(AccountInvalid, match="boss is the last admin who is not limited"):
                give_up()
        assert services.accounts.get(boss.id).customers is None
        services.accounts.add("second", "admin", None, PASSWORD)
        services.accounts.change(boss, "admin", ["BARCHART"])
        assert services.accounts.get(boss.id).customers == ("BARCHART",)

    def test_who_sees_every_customer_stays_although_two_limit_one_another_at_once(self, services):
        bosses = [services.accounts.add(f"boss-{number}", "admin", None, PASSWORD) for number in range(2)]

        def limit(number: int) -> bool:
            try:
                services.accounts.change(bosses[number], "admin", ["BARCHART"], by=bosses[1 - number])
            except AccountInvalid:
                return False
            return True

        assert sorted(at_once(2, limit)) == [False, True]
        assert [one.customers for one in services.accounts.everyone()].count(None) == 1

    def test_stays_although_all_admins_remove_one_another_at_once(self, services):
        for number in range(6):
            services.accounts.add(f"boss-{number}", "admin", None, PASSWORD)

        def give_up(number: int) -> bool:
            one = next(one for one in services.accounts.everyone() if one.name == f"boss-{number}")
            try:
                if number % 2:
                    services.accounts.remove(one.name)
                else:
                    services.accounts.change(one, "operator", None)
            except AccountInvalid:
                return False
            return True

        assert sorted(at_once(6, give_up)) == [False, *[True] * 5]
        assert [one.role for one in services.accounts.everyone()].count("admin") == 1
