"""Pages of API tokens. tests/security/matrix.py tests who may use them."""

from __future__ import annotations

import pytest

from app.services.people import tokens
from tests.conftest import PASSWORD
from tests.support.page import read

NEW, MINE, ALL = "/admin/me/tokens/new", "/admin/me", "/admin/tokens"
VALID = {"name": "notebook", "scopes": ["events:read", "reports:write"], "customers": "", "days": "30"}


def test_a_user_finds_the_form_on_the_own_page(anna):
    page = anna.read(MINE)
    assert NEW in page.links
    assert "A token lets a program call the API as you" in page
    assert [box.attributes["value"] for box in anna.read(NEW).all("input", name="scopes")] == [
        "events:read",
        "reports:read",
        "reports:write",
    ]


def test_a_token_is_shown_once_with_a_command_that_works(anna, nobody):
    page = read(anna.send(NEW, VALID))
    text = page.first(id="token").content
    who = tokens.verify(text, "")
    assert (who.name, who.token, who.scopes) == ("anna", "notebook", ("events:read", "reports:write"))
    assert page.first(id="with-token").content.endswith("'https://tally.example/events'")
    assert nobody.get("/events", headers={"Authorization": f"Bearer {text}"}).status_code == 200
    assert text not in anna.see(MINE)


@pytest.mark.parametrize(
    ("fields", "field", "message"),
    [
        ({"name": ""}, "name", "Name is missing."),
        ({"days": "0"}, "days", 'Days until it expires is "0"; it must be a whole number of days from 1 to 3,650.'),
        ({"scopes": []}, "scopes", "Scopes is missing."),
        ({"scopes": ["admin:system"]}, "scopes", "which the role analyst does not permit."),
        ({"customers": "FERNHILL"}, "customers", 'Customers must be some of those that anna sees: "BARCHART".'),
    ],
)
def test_each_error_is_shown_beside_its_field_and_the_input_stays(anna, services, fields, field, message):
    answer = anna.send(NEW, VALID | fields)
    assert answer.status_code == 400
    page = read(answer)
    assert message in page.first(id=f"{field}-wrong").text
    assert page.value("days") == (VALID | fields)["days"]
    assert tokens.every() == []


def test_tokens_are_listed_for_their_user_and_for_admins(anna, boss, services):
    user = services.accounts.named("anna")
    made, text = tokens.add(user, "notebook", ["events:read"], ["BARCHART"])
    tokens.add(user, "unused", ["reports:read"])
    tokens.verify(text, "")
    tokens.revoke(tokens.add(user, "old", ["events:read"])[0])
    rows = [row.cells() for row in boss.read(ALL).all("tr")[1:]]
    assert [(row[0].split()[0], *row[1:5]) for row in rows] == [
        ("notebook", "anna", "events:read", "BARCHART", "Active"),
        ("unused", "anna", "reports:read", "As the user", "Active"),
        ("old", "anna", "events:read", "As the user", "Revoked"),
    ]
    assert (rows[0][5] != "Never", rows[1][5]) == (True, "Never")
    assert f"/admin/tokens/{made.id}/revoke" in anna.read(MINE).links


def test_a_token_is_revoked_once_after_a_confirmation(anna, boss, services):
    made, text = tokens.add(services.accounts.named("anna"), "notebook", ["events:read"])
    address = f"/admin/tokens/{made.id}/revoke"
    assert "Revoke notebook?" in boss.read(address)
    answer = boss.send(address, {})
    assert (answer.status_code, answer.headers["Location"]) == (302, ALL)
    assert tokens.verify(text, "") is None
    assert anna.get(address).status_code == 404


def test_the_audit_log_names_tokens(boss, services):
    tokens.add(services.accounts.add("olga", "operator", None, PASSWORD), "notebook", ["admin:system"])
    assert "token notebook" in boss.read("/admin/audit")
