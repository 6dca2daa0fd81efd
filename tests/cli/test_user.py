"""`flask user`: accounts for the API and the dashboard."""

from __future__ import annotations

import pytest
from pyotp import TOTP

from app.services.people import tokens

RIGHT, OTHER = "correct horse", "another horse"


def add(succeeds, name: str, *options: str, password: str = RIGHT) -> str:
    return succeeds("user", "add", name, "--password-stdin", *options, input=f"{password}\n")


def test_an_added_user_can_sign_in(succeeds, services):
    assert add(succeeds, "olga", "--role", "operator") == "Added olga: operator, all customers.\n"
    assert services.accounts.verify("olga", RIGHT).role == "operator"


def test_a_user_can_be_restricted_to_customers(succeeds, services):
    output = add(succeeds, "anna", "--role", "analyst", "--customer", "BARCHART", "--customer", "FERNHILL")
    assert output == "Added anna: analyst, BARCHART, FERNHILL.\n"
    assert services.accounts.verify("anna", RIGHT).customers == ("BARCHART", "FERNHILL")


def test_an_analyst_without_customers_has_access_to_none(succeeds):
    assert add(succeeds, "anna", "--role", "analyst") == "Added anna: analyst, no customers.\n"


def test_the_password_is_prompted_twice_if_it_is_not_piped(flask, services):
    result = flask("user", "add", "olga", "--role", "admin", input=f"{RIGHT}\n{RIGHT}\n")
    assert result.exit_code == 0
    assert RIGHT not in result.output
    assert services.accounts.verify("olga", RIGHT)


@pytest.mark.parametrize("line", ["\ufeff{}\n", "{}\r\n", "\ufeff{}\r\n", "{}", "{}\n"])
def test_a_byte_order_mark_and_the_line_end_are_not_part_of_a_password_but_blanks_are(succeeds, services, line):
    password = f" {RIGHT} "
    succeeds("user", "add", "olga", "--role", "admin", "--password-stdin", input=line.format(password).encode())
    assert services.accounts.verify("olga", password)


def test_two_different_passwords_create_no_user(flask, services):
    result = flask("user", "add", "olga", "--role", "admin", input=f"{RIGHT}\n{OTHER}\n")
    assert result.exit_code == 1
    assert not services.accounts.any()


def test_users_are_listed(succeeds, prints):
    assert prints("user", "list") == []
    add(succeeds, "olga", "--role", "operator")
    add(succeeds, "anna", "--role", "analyst", "--customer", "BARCHART")
    assert succeeds("user", "list") == "anna: analyst, BARCHART\nolga: operator, all customers\n"
    state = {"mail": None, "second_factor": False, "active": True, "sign_in": "password"}
    assert prints("user", "list") == [
        {"name": "anna", "role": "analyst", "customers": ["BARCHART"], **state},
        {"name": "olga", "role": "operator", "customers": None, **state},
    ]


def test_the_password_hash_is_never_printed(succeeds, flask):
    add(succeeds, "olga", "--role", "operator")
    assert "argon2" not in flask("user", "list", "--json").output


def test_a_password_is_changed(succeeds, prints, services):
    add(succeeds, "olga", "--role", "operator")
    output = succeeds("user", "password", "olga", "--password-stdin", input=f"{OTHER}\n")
    assert output == "The password of olga is changed.\n"
    assert services.accounts.verify("olga", OTHER)
    assert prints("user", "password", "olga", "--password-stdin", input=f"{RIGHT}\n") == {"name": "olga"}


def test_a_second_factor_is_shown_and_reset_after_a_question(succeeds, prints, fails, tally, services):
    add(succeeds, "olga", "--role", "operator")
    olga, factors = services.accounts.named("olga"), services.second_factors
    factors.turn_on(olga, "a salt", TOTP(factors.secret("a salt")).now())
    assert succeeds("user", "show", "olga") == "olga: operator, all customers, second factor\n"
    assert prints("user", "list")[0]["second_factor"] is True
    assert tally("user", "reset-totp", "olga")[0] == 1
    assert services.accounts.named("olga").has_second_factor
    code, said, _ = tally("user", "reset-totp", "olga", "--yes")
    assert (code, said) == (0, "The second factor of olga is reset.\n")
    assert succeeds("user", "show", "olga") == "olga: operator, all customers\n"
    assert fails("user", "reset-totp", "olga", "--yes") == "Error: olga has no second factor.\n"


def test_a_user_is_removed(succeeds, services):
    add(succeeds, "olga", "--role", "operator")
    assert succeeds("user", "remove", "olga") == "Removed olga.\n"
    assert services.accounts.verify("olga", RIGHT) is None


def test_impossible_requests_are_rejected_with_the_reason(succeeds, fails):
    add(succeeds, "olga", "--role", "operator")
    stdin = {"input": f"{RIGHT}\n"}
    again = fails("user", "add", "olga", "--role", "admin", "--password-stdin", **stdin)
    assert again == "Error: There is a user olga already.\n"
    assert fails("user", "password", "anna", "--password-stdin", **stdin) == "Error: There is no user anna.\n"
    assert fails("user", "remove", "anna") == "Error: There is no user anna.\n"
    short = fails("user", "password", "olga", "--password-stdin", input="short\n")
    assert short == "Error: The password has 5 characters; it must have at least 8.\n"
    assert "no colon" in fails("user", "add", "o:lga", "--role", "admin", "--password-stdin", **stdin)
    assert "0 characters" in fails("user", "password", "olga", "--password-stdin", input="")


def test_a_password_that_is_not_utf_8_is_rejected(succeeds, fails):
    add(succeeds, "olga", "--role", "operator")
    error = fails("user", "password", "olga", "--password-stdin", input=b"correct \xff horse\n")
    assert error == "Error: The input is not valid UTF-8.\n"


def test_an_unknown_role_is_a_usage_error(flask):
    result = flask("user", "add", "olga", "--role", "owner", "--password-stdin", input=f"{RIGHT}\n")
    assert result.exit_code == 2
    assert "admin" in result.output


def test_a_user_is_deactivated_and_activated(succeeds, tally, services):
    add(succeeds, "anna", "--role", "operator")
    _, token = tokens.add(services.accounts.named("anna"), "program", ["events:read"])
    assert succeeds("user", "deactivate", "anna", "--yes") == "Deactivated anna.\n"
    assert succeeds("user", "show", "anna") == "anna: operator, all customers, deactivated\n"
    assert services.accounts.verify("anna", RIGHT) is None
    assert tokens.verify(token, "") is None
    assert "is deactivated already" in tally("user", "deactivate", "anna", "--yes")[2]
    assert succeeds("user", "activate", "anna") == "Activated anna.\n"
    assert services.accounts.verify("anna", RIGHT) is not None
    assert "is not deactivated" in tally("user", "activate", "anna")[2]
