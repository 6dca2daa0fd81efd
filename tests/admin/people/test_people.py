"""Pages of users: add, change and remove them, and reset their passwords."""

from __future__ import annotations

import re

import pytest

from app.store.models import Account, AuditEntry, Session
from app.store.people import oidc
from app.support.clock import now
from tests.admin.conftest import Visitor, key
from tests.conftest import PASSWORD
from tests.support.client import Client
from tests.support.page import read
from tests.support.threads import at_once

NEW = "/admin/people/new"


def last_entry() -> tuple[str, str, str]:
    entry = AuditEntry.select().order_by(AuditEntry.id.desc()).get()
    return entry.who, entry.action, entry.object


class TestUserList:
    def test_shows_every_user_with_role_customers_and_sessions(self, boss, anna):
        page = boss.read("/admin/people")
        assert "2 users, 2 signed in." in page
        assert re.search("admin ?you Admin All 1 session", page.text)
        assert re.search("anna Analyst BARCHART 1 session", page.text)


class TestANewUser:
    def add(self, boss: Visitor, **fields: str):
        return boss.send(NEW, {"name": "olga", "role": "operator", "kind": "person"} | fields)

    def test_gets_a_password_that_is_shown_once(self, boss, services):
        answer = self.add(boss, role="analyst", customers="BARCHART\r\n FERNHILL \r\n\r\nBARCHART")
        assert answer.status_code == 200
        assert answer.headers["Cache-Control"] == "private, no-store"
        password = read(answer).first(id="password").text
        made = services.accounts.verify("olga", password)
        assert (made.role, made.customers, made.temporary) == ("analyst", ("BARCHART", "FERNHILL"), True)
        assert password not in boss.see("/admin/people") + boss.see(f"/admin/people/{made.id}")
        assert last_entry() == ("admin", "user added", "user olga")

    def test_for_a_program_gets_a_permanent_password(self, app, boss):
        password = read(self.add(boss, kind="program")).first(id="password").text
        assert Client(app, ("olga", password)).get("/reports").status_code == 200
        assert Account.get(Account.name == "olga").password_expires_at is None

    @pytest.mark.parametrize(
        ("fields", "message"),
        [
            ({"name": ""}, "A user's name has 1 to 128 characters"),
            ({"name": "a:b"}, "no colon"),
            ({"name": "admin"}, "There is a user admin already."),
            ({"role": "owner"}, "The role 'owner' is not one of admin, operator, analyst."),
            ({"customers": "x" * 129}, "A customer's code has 1 to 128 characters"),
            ({"mail": "olga"}, "A mail address is one such as"),
            ({"mail": "olga..b@example.com"}, "A mail address is one such as"),
            ({"mail": "olga@example..com"}, "A mail address is one such as"),
        ],
    )
    def test_is_not_added_with_invalid_values(self, boss, fields, message):
        answer = self.add(boss, **fields)
        assert answer.status_code == 400
        assert message in read(answer)
        assert Account.select().count() == 1


class TestAPasswordForOneSignIn:
    @pytest.fixture
    def password(self, boss) -> str:
        answer = boss.send(NEW, {"name": "olga", "role": "operator", "kind": "person"})
        return read(answer).first(id="password").text

    def test_allows_only_the_page_that_changes_the_password(self, app, password):
        olga = Visitor(app).sign_in("olga", password)
        for path in ("/admin/", "/admin/reports", "/admin/me", "/admin/overview/part"):
            assert olga.get(path).headers["Location"] == "/admin/me/password"
        assert "Choose a password" in olga.read("/admin/me/password")
        answer = olga.send("/admin/me/password", {"old": password, "new": "my own password"})
        assert answer.headers["Location"] == "/admin/me"
        assert olga.get("/admin/").status_code == 200
        Visitor(app).sign_in("olga", "my own password")

    def test_cannot_be_chosen_as_the_new_password(self, app, password):
        olga = Visitor(app).sign_in("olga", password)
        answer = olga.send("/admin/me/password", {"old": password, "new": password})
        assert answer.status_code == 400
        assert "This is your current password." in read(answer)

    def test_is_rejected_by_the_api(self, app, password):
        answer = Client(app, ("olga", password)).get("/reports")
        assert answer.status_code == 403
        assert "This password is for one sign-in." in answer.get_json()[0]["value"]["message"]

    def test_is_invalid_after_the_first_sign_in(self, app, password):
        olga = Visitor(app).sign_in("olga", password)
        again = Visitor(app).send("/admin/sign-in", {"user": "olga", "password": password})
        assert again.status_code == 401
        assert olga.get("/admin/").headers["Location"] == "/admin/me/password"

    def test_is_accepted_by_only_one_of_several_concurrent_sign_ins(self, services, password):
        olga = services.accounts.verify("olga", password)
        tokens = at_once(4, lambda number: services.sessions.begin(olga, "Firefox"))
        assert [token is None for token in tokens].count(False) == 1

    def test_expires(self, app, password):
        Account.update(password_expires_at=now() - 1).where(Account.name == "olga").execute()
        answer = Visitor(app).send("/admin/sign-in", {"user": "olga", "password": password})
        assert answer.status_code == 401


class TestAChange:
    def test_takes_effect_with_the_next_request_of_an_open_session(self, boss, anna):
        answer = boss.send(f"/admin/people/{key('anna')}", {"role": "operator", "customers": ""})
        assert answer.status_code == 302
        assert anna.get("/admin/audit").status_code == 200
        assert last_entry() == ("admin", "user changed", "user anna")

    def test_of_the_last_admin_s_role_is_rejected(self, boss, services):
        answer = boss.send(f"/admin/people/{key('admin')}", {"role": "analyst"})
        assert answer.status_code == 400
        assert "admin is the last admin" in read(answer)
        services.accounts.add("second", "admin", None, PASSWORD)
        answer = boss.send(f"/admin/people/{key('admin')}", {"role": "analyst"})
        assert answer.headers["Location"] == "/admin/"
        assert boss.get("/admin/people").status_code == 403

    def test_to_an_unknown_role_is_rejected(self, boss, anna):
        assert boss.send(f"/admin/people/{key('anna')}", {"role": ""}).status_code == 400


class TestAPasswordReset:
    def test_needs_a_confirmation_and_is_shown_once(self, boss, anna, services):
        path = f"/admin/people/{key('anna')}/password"
        assert "1 session ends, and programs that use it lose access" in boss.read(path)
        answer = boss.send(path, {"kind": "program"})
        password = read(answer).first(id="password").text
        assert services.accounts.verify("anna", password)
        assert services.accounts.verify("anna", PASSWORD) is None
        assert anna.get("/admin/").status_code == 302
        assert last_entry() == ("admin", "password reset", "user anna")

    def test_redirects_users_to_the_password_form_for_their_own_account(self, boss):
        path = f"/admin/people/{key('admin')}/password"
        assert boss.get(path).headers["Location"] == "/admin/me/password"
        assert boss.send(path, {}, form="/admin/me").headers["Location"] == "/admin/me/password"


class TestSessions:
    def test_a_session_of_another_user_can_be_ended(self, app, boss, anna):
        Visitor(app).sign_in("anna")
        first = Session.select().where(Session.account == key("anna")).order_by(Session.id).get()
        page = f"/admin/people/{key('anna')}"
        assert boss.send(f"{page}/sessions/{first.id}/end", {}, form=page).status_code == 302
        assert anna.get("/admin/").status_code == 302
        assert Session.select().where(Session.account == key("anna")).count() == 1
        assert last_entry() == ("admin", "session ended", "user anna")

    def test_the_browser_is_shown_by_its_common_name(self, boss):
        firefox = "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:133.0) Gecko/20100101 Firefox/133.0"
        Session.update(agent=firefox).execute()
        assert "Firefox on Windows" in boss.read("/admin/me")


class TestARemoval:
    def test_needs_a_confirmation_that_shows_what_is_lost(self, boss, anna):
        page = boss.read(f"/admin/people/{key('anna')}/remove")
        assert "Remove anna?" in page
        assert "1 session ends at once" in page
        assert "reports and entries in the audit log stay" in page
        assert Account.select().count() == 2

    def test_removes_a_user_and_ends_their_session(self, boss, anna):
        removed = key("anna")
        assert boss.send(f"/admin/people/{removed}/remove", {}).headers["Location"] == "/admin/people"
        assert anna.get("/admin/").status_code == 302
        assert "anna is removed." in boss.read("/admin/people")
        assert boss.get(f"/admin/people/{removed}").status_code == 404
        assert last_entry() == ("admin", "user removed", "user anna")

    def test_of_the_last_admin_is_rejected(self, boss):
        answer = boss.send(f"/admin/people/{key('admin')}/remove", {})
        assert answer.status_code == 400
        assert "is the last admin" in read(answer)
        assert boss.get("/admin/").status_code == 200

    def test_of_the_own_account_is_allowed_if_another_admin_remains(self, boss, services):
        services.accounts.add("second", "admin", None, PASSWORD)
        assert boss.send(f"/admin/people/{key('admin')}/remove", {}).headers["Location"] == "/admin/sign-in"
        assert boss.get("/admin/").status_code == 302


class TestALimitedAdmin:
    @pytest.fixture
    def ada(self, app, services, admin) -> Visitor:
        services.accounts.add("ada", "admin", ["BARCHART"], PASSWORD)
        services.accounts.add("fern", "analyst", ["FERNHILL"], PASSWORD)
        services.accounts.add("bart", "analyst", ["BARCHART"], PASSWORD)
        return Visitor(app).sign_in("ada")

    def test_sees_only_users_of_their_customers(self, ada):
        page = ada.read("/admin/people")
        assert "bart" in page
        assert "fern" not in page

    def test_cannot_change_other_users(self, ada, services):
        for name in ("admin", "fern"):
            page = f"/admin/people/{key(name)}"
            assert ada.get(page).status_code == 403
            for path in (page, f"{page}/password", f"{page}/remove", f"{page}/sessions/end"):
                fields = {"role": "analyst", "customers": "BARCHART"}
                assert ada.send(path, fields, form="/admin/me").status_code == 403
        assert services.accounts.verify("fern", PASSWORD).customers == ("FERNHILL",)

    @pytest.mark.parametrize("customers", ["", "FERNHILL", "BARCHART\r\nFERNHILL"])
    def test_cannot_give_anyone_more_customers_than_their_own(self, ada, customers):
        mine, bart = f"/admin/people/{key('ada')}", f"/admin/people/{key('bart')}"
        for path in (mine, bart):
            assert ada.send(path, {"role": "admin", "customers": customers}).status_code == 403
        fields = {"name": "eve", "role": "operator", "customers": customers}
        assert ada.send(NEW, fields).status_code == 403
        assert not Account.select().where(Account.name == "eve").exists()


class TestTheOwnProfile:
    def test_is_available_to_every_role(self, boss, olga, anna):
        for user, role in ((boss, "Admin"), (olga, "Operator"), (anna, "Analyst")):
            page = user.read("/admin/me")
            assert role in page
            assert "this session" in page
            assert "Signed in" in page

    def test_records_the_address_when_the_password_is_changed(self, boss):
        boss.send("/admin/me/password", {"old": PASSWORD, "new": "another password"})
        assert {row.address for row in Session.select()} == {"127.0.0.1"}
        addresses = {row.address for row in AuditEntry.select().where(AuditEntry.action == "signed in")}
        assert addresses == {"127.0.0.1"}

    def test_changes_the_password_and_ends_the_other_sessions(self, app, boss, services):
        other = Visitor(app).sign_in("admin")
        answer = boss.send("/admin/me/password", {"old": PASSWORD, "new": "another password"})
        assert answer.headers["Location"] == "/admin/me"
        assert boss.get("/admin/me").status_code == 200
        assert other.get("/admin/me").status_code == 302
        assert services.accounts.verify("admin", "another password")
        assert ("admin", "password changed", "user admin") in [
            (entry.who, entry.action, entry.object) for entry in AuditEntry.select()
        ]

    @pytest.mark.parametrize(
        ("old", "new", "message"),
        [
            ("wrong", "another password", "Wrong password."),
            ("", "another password", "Wrong password."),
            (PASSWORD, "short", "The password has 5 characters; it must have at least 8."),
            (PASSWORD, "x" * 1_001, "it must have at most 1000"),
            (PASSWORD, PASSWORD, "This is your current password."),
        ],
    )
    def test_rejects_invalid_passwords(self, boss, services, old, new, message):
        answer = boss.send("/admin/me/password", {"old": old, "new": new})
        assert answer.status_code == 400
        assert message in read(answer)
        assert new not in answer.get_data(as_text=True)
        assert services.accounts.verify("admin", PASSWORD)

    def test_limits_guesses_of_the_current_password(self, boss):
        wrong = {"old": "wrong", "new": "another password"}
        assert [boss.send("/admin/me/password", wrong).status_code for _ in range(11)] == [400] * 10 + [429]


@pytest.mark.parametrize("act", ["", "/password", "/remove", "/sessions/end"])
def test_a_user_removed_by_another_admin_meanwhile_is_not_found(boss, anna, services, monkeypatch, act):
    anna_account = services.accounts.get(key("anna"))
    monkeypatch.setattr(services.accounts, "get", lambda key, by: anna_account)
    services.accounts.remove("anna")
    answer = boss.send(f"/admin/people/{anna_account.id}{act}", {"role": "analyst"}, form="/admin/me")
    assert answer.status_code == (302 if act == "/sessions/end" else 404)


def test_a_deactivated_user_is_signed_out_and_stays_out_until_activated(app, boss, olga):
    person = f"/admin/people/{key('olga')}"
    page = boss.read(f"{person}/deactivate")
    assert "Deactivate olga?" in page
    assert olga.get("/admin/").status_code == 200, "nothing happened yet"
    assert boss.send(f"{person}/deactivate", {}).headers["Location"] == person
    assert "Deactivated: cannot sign in." in boss.read(person)
    assert "Deactivated" in boss.read("/admin/people")
    assert olga.get("/admin/").status_code == 302
    assert olga.send("/admin/sign-in", {"user": "olga", "password": PASSWORD}).status_code == 401
    assert boss.send(f"{person}/activate", {}, form=person).headers["Location"] == person
    assert olga.send("/admin/sign-in", {"user": "olga", "password": PASSWORD}).status_code == 302


def test_the_last_admin_cannot_be_deactivated(boss):
    answer = boss.send(f"/admin/people/{key('admin')}/deactivate", {})
    assert answer.status_code == 400
    assert "is the last admin" in read(answer)


def test_a_user_of_the_identity_provider_has_neither_a_password_nor_a_role_to_change(boss, services):
    oidc.add("https://login.example", "7", "mina", "analyst", ["BARCHART"], "version", 1)
    person = f"/admin/people/{key('mina')}"
    page = boss.read(person)
    assert "Signs in with the company account." in page
    assert "Reset password" not in page
    assert boss.get(f"{person}/password").headers["Location"] == person
    assert boss.send(f"{person}/password", {}, form="/admin/me").headers["Location"] == person
    assert boss.send(person, {"role": "admin", "customers": ""}, form="/admin/me").status_code == 400
    assert services.accounts.named("mina").role == "analyst"


def test_an_admin_sets_the_mail_address_of_a_user_of_the_identity_provider(boss, services):
    oidc.add("https://login.example", "7", "mina", "analyst", ["BARCHART"], "version", 1)
    person = f"/admin/people/{key('mina')}"
    assert boss.send(person, {"mail": "mina@example.com"}, form=person).headers["Location"] == person
    mina = services.accounts.named("mina")
    assert (services.accounts.mail(mina), mina.role, mina.customers) == ("mina@example.com", "analyst", ("BARCHART",))
    assert boss.send(person, {"mail": "nowhere"}, form=person).status_code == 400
    assert read(boss.get(person)).first("input", id="mail")["value"] == "mina@example.com"


def test_users_change_their_own_mail_address(app, analyst, services):
    visitor, me = Visitor(app).sign_in("anna"), "/admin/me"
    assert visitor.send(f"{me}/mail", {"mail": " anna@example.com "}, form=me).headers["Location"] == me
    assert read(visitor.get(me)).first("input", id="mail")["value"] == "anna@example.com"
    answer = visitor.send(f"{me}/mail", {"mail": "anna"}, form=me)
    assert (answer.status_code, "A mail address is one such as" in read(answer)) == (400, True)
    assert services.accounts.mail(services.accounts.named("anna")) == "anna@example.com"
    (entry,) = AuditEntry.select().where(AuditEntry.action == "user changed")
    assert (entry.who, entry.details["new mail"]) == ("anna", "anna@example.com")


def test_a_change_with_an_invalid_mail_address_changes_nothing(boss, operator):
    answer = boss.send(f"/admin/people/{key('olga')}", {"role": "admin", "customers": "", "mail": "nobody"})
    assert answer.status_code == 400
    assert Account.get(Account.name == "olga").role == "operator"
