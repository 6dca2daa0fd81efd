"""The pages of the second factor: set-up, sign-in with a code, recovery codes, turning off, and resetting."""

from __future__ import annotations

import re
import time

import pytest
from pyotp import TOTP

from app.services.people import tokens
from app.services.people.second_factors import RECOVERY_CODES, WRONG_CODES
from app.store.models import Account, Session
from app.support.clock import now
from tests.admin.conftest import Visitor, key
from tests.conftest import PASSWORD
from tests.support.page import read

SET_UP, CODE = "/admin/me/second-factor", "/admin/sign-in/code"
CODES = re.compile(r"\b(?:[a-z2-7]{4}-){3}[a-z2-7]{4}\b")


def set_up(visitor: Visitor) -> tuple[TOTP, list[str]]:
    """Turn on a visitor's second factor, and return the app and the recovery codes."""
    phone = TOTP(visitor.read(SET_UP).first("pre").content.replace(" ", ""))
    answer = visitor.send(SET_UP, {"code": phone.now(), "password": PASSWORD})
    assert answer.status_code == 200, answer.get_data(as_text=True)
    return phone, CODES.findall(read(answer).first("pre").content)


def next_code(phone: TOTP) -> str:
    """Return a right code after the current one was used: that of the next step."""
    return phone.at(time.time() + 30)


def enter_password(app, name: str = "anna", form: str = "/admin/sign-in") -> Visitor:
    """Return a visitor who has entered the password and is asked for the code."""
    visitor = Visitor(app)
    answer = visitor.send(form, {"user": name, "password": PASSWORD})
    assert answer.headers["Location"].startswith(CODE)
    return visitor


def is_in(visitor: Visitor) -> bool:
    return visitor.get("/admin/").status_code == 200


def errors(answer) -> list[str]:
    return [one.text for one in read(answer).all(class_="wrong")]


class TestSettingUp:
    def test_the_page_shows_a_qr_code_and_the_secret_and_keeps_them(self, anna):
        page = anna.read(SET_UP)
        assert page.first("svg", class_="qr")
        secret = page.first("pre").content
        assert re.fullmatch(r"([A-Z2-7]{4} ){7}[A-Z2-7]{4}", secret)
        assert anna.read(SET_UP).first("pre").content == secret

    def test_a_name_of_any_length_fits_in_the_qr_code(self, app, services):
        services.accounts.add("\U0001f4c8" * 128, "analyst", [], PASSWORD)
        assert Visitor(app).sign_in("\U0001f4c8" * 128).read(SET_UP).first("svg", class_="qr")

    @pytest.mark.parametrize(
        ("password", "code", "error"),
        [
            ("wrong", "right", "Wrong password."),
            (PASSWORD, "000000", "Wrong code. Enter the code that the app shows now."),
        ],
    )
    def test_it_needs_the_password_and_a_code(self, anna, password, code, error):
        phone = TOTP(anna.read(SET_UP).first("pre").content.replace(" ", ""))
        answer = anna.send(SET_UP, {"code": phone.now() if code == "right" else code, "password": password})
        assert (answer.status_code, errors(answer)) == (400, [error])
        assert not Account.get(Account.name == "anna").totp_salt

    def test_this_browser_stays_signed_in_and_others_do_not(self, app, anna):
        elsewhere = Visitor(app).sign_in("anna")
        _, codes = set_up(anna)
        assert len(codes) == RECOVERY_CODES
        assert (is_in(anna), is_in(elsewhere)) == (True, False)
        assert "On. 10 recovery codes are left." in anna.read("/admin/me")
        assert anna.get(SET_UP).headers["Location"] == "/admin/me"


class TestSigningIn:
    @pytest.fixture
    def phone(self, anna) -> TOTP:
        phone, self.codes = set_up(anna)
        return phone

    def test_the_password_alone_gives_access_to_nothing(self, app, phone):
        before = Session.select().count()
        visitor = enter_password(app)
        assert "6 digits" in visitor.read(CODE)
        for path in ("/admin/", "/admin/me", SET_UP, "/admin/events"):
            assert visitor.get(path).headers["Location"].startswith("/admin/sign-in?next=")
        assert Session.select().count() == before

    def test_a_code_signs_in_and_leads_to_the_wanted_page(self, app, phone):
        visitor = enter_password(app, form="/admin/sign-in?next=/admin/reports")
        form = f"{CODE}?next=/admin/reports"
        assert visitor.send(form, {"code": "000000"}).status_code == 401
        code = next_code(phone)
        assert visitor.send(form, {"code": code}).headers["Location"] == "/admin/reports"
        assert is_in(visitor)
        again = enter_password(app)
        answer = again.send(CODE, {"code": code})
        assert (answer.status_code, is_in(again)) == (401, False)
        assert errors(answer) == ["The code is wrong, expired or already used. Enter the current one."]

    def test_a_recovery_code_signs_in_once(self, app, phone):
        visitor = enter_password(app)
        form = f"{CODE}?use=recovery-code"
        assert visitor.send(form, {"code": self.codes[0]}).headers["Location"] == "/admin/"
        assert "9 recovery codes are left." in visitor.read("/admin/")
        again = enter_password(app)
        assert again.send(form, {"code": self.codes[0]}).status_code == 401
        assert not is_in(again)

    def test_a_wrong_password_never_leads_to_the_code(self, app, phone):
        answers = []
        for name in ("anna", "nobody"):
            visitor = Visitor(app)
            answers.append(visitor.send("/admin/sign-in", {"user": name, "password": "wrong"}))
            assert visitor.get(CODE).headers["Location"] == "/admin/sign-in"
        assert [answer.status_code for answer in answers] == [401, 401]

    def test_another_browser_cannot_enter_the_code(self, app, phone):
        enter_password(app)
        other = Visitor(app)
        answer = other.send(CODE, {"code": next_code(phone)}, form="/admin/sign-in")
        assert (answer.headers["Location"], is_in(other)) == ("/admin/sign-in", False)

    def test_after_five_minutes_the_password_is_asked_for_again(self, app, phone, monkeypatch):
        visitor = enter_password(app)
        monkeypatch.setattr("app.auth.now", lambda: now() + 300_000)
        answer = visitor.send(CODE, {"code": next_code(phone)}, form="/admin/sign-in")
        assert (answer.headers["Location"], is_in(visitor)) == ("/admin/sign-in", False)
        assert "Sign in again." in visitor.read("/admin/sign-in")

    @pytest.mark.parametrize("change", ["password", "reset", "removed"])
    def test_a_change_of_the_user_ends_the_wait(self, app, services, phone, change):
        visitor, who = enter_password(app), services.accounts.named("anna")
        if change == "password":
            services.accounts.set_password("anna", "another password")
        elif change == "reset":
            services.second_factors.remove(who, by=who)
        else:
            services.accounts.remove("anna")
        answer = visitor.send(CODE, {"code": next_code(phone)}, form="/admin/sign-in")
        assert (answer.headers["Location"], is_in(visitor)) == ("/admin/sign-in", False)

    def test_too_many_wrong_codes_leave_open_sessions_alone(self, app, anna, phone):
        visitor = enter_password(app)
        for _ in range(WRONG_CODES):
            assert visitor.send(CODE, {"code": "wrong"}).status_code == 401
        answer = visitor.send(CODE, {"code": next_code(phone)})
        assert answer.status_code == 429
        assert 1 <= int(answer.headers["Retry-After"]) <= 900
        assert is_in(anna)

    def test_a_temporary_password_needs_the_code_too_and_is_used_up_by_it(self, app, services, phone):
        services.accounts.set_password("anna", PASSWORD, temporary=True)
        first, second = enter_password(app), enter_password(app)
        assert first.send(CODE, {"code": self.codes[0]}).status_code == 302
        assert first.get("/admin/").headers["Location"] == "/admin/me/password"
        assert second.send(CODE, {"code": self.codes[1]}).headers["Location"] == "/admin/sign-in"


class TestTheApi:
    def test_a_password_is_refused_and_a_token_is_not(self, app, services, anna, analyst):
        assert analyst.get("/service/authenticate").status_code == 200
        set_up(anna)
        answer = analyst.get("/service/authenticate")
        assert (answer.status_code, answer.get_json()[0]["value"]["code"]) == (403, "REQUEST_AUTHORIZATION_FAILURE")
        assert "API token" in answer.get_json()[0]["value"]["message"]
        _, token = tokens.add(services.accounts.named("anna"), "program", ["events:read"])
        assert type(analyst)(app, ("anna", token)).get("/service/authenticate").status_code == 200
        assert type(analyst)(app, ("anna", "wrong")).get("/service/authenticate").status_code == 401


class TestChanging:
    def test_new_recovery_codes_need_a_code(self, anna):
        phone, old = set_up(anna)
        path = "/admin/me/second-factor/codes"
        assert anna.send(path, {"code": "000000"}).status_code == 400
        new = CODES.findall(read(anna.send(path, {"code": next_code(phone)})).first("pre").content)
        assert (len(new), set(new) & set(old)) == (RECOVERY_CODES, set())
        assert anna.send(path, {"code": old[0]}).status_code == 400

    def test_turning_off_needs_password_and_code(self, app, anna):
        phone, codes = set_up(anna)
        path = "/admin/me/second-factor/off"
        assert errors(anna.send(path, {"code": codes[0], "password": "wrong"})) == ["Wrong password."]
        assert anna.send(path, {"code": "000000", "password": PASSWORD}).status_code == 400
        assert anna.send(path, {"code": codes[0], "password": PASSWORD}).headers["Location"] == "/admin/me"
        assert "Your second factor is off." in anna.read("/admin/me")
        assert is_in(Visitor(app).sign_in("anna"))
        assert anna.get(path).headers["Location"] == "/admin/me"
        assert anna.send(path, {}, form="/admin/me").status_code == 302

    def test_an_administrator_resets_that_of_others_only(self, app, anna, boss):
        set_up(anna)
        set_up(boss)
        path = f"/admin/people/{key('anna')}"
        assert "Has a second factor." in boss.read(path)
        assert boss.send(f"{path}/second-factor", {}).headers["Location"] == path
        assert "The second factor of anna is reset." in boss.read(path)
        assert is_in(anna)
        assert is_in(Visitor(app).sign_in("anna"))
        own = f"/admin/people/{key('admin')}/second-factor"
        assert boss.get(own).headers["Location"] == "/admin/me"
        assert boss.send(own, {}, form="/admin/me").headers["Location"] == "/admin/me"
        assert Account.get(Account.name == "admin").totp_salt


class TestRequired:
    @pytest.mark.settings(totp_required="everyone")
    def test_a_user_without_one_sets_it_up_before_anything_else(self, anna, analyst):
        for path in ("/admin/", "/admin/me", "/admin/me/tokens/new", "/admin/me/password", "/admin/events"):
            assert anna.get(path).headers["Location"] == SET_UP
        assert "This service requires one" in anna.read(SET_UP)
        assert analyst.get("/reports").status_code == 403
        set_up(anna)
        assert is_in(anna)

    @pytest.mark.settings(totp_required="admins")
    def test_required_of_admins_it_changes_nothing_for_others(self, anna, analyst, boss, admin):
        assert is_in(anna)
        assert analyst.get("/reports").status_code == 200
        assert boss.get("/admin/").headers["Location"] == SET_UP
        assert admin.get("/reports").status_code == 403

    @pytest.mark.settings(totp_required="everyone")
    def test_a_temporary_password_is_replaced_first(self, app, services):
        services.accounts.add("newcomer", "analyst", [], PASSWORD, temporary=True)
        visitor = Visitor(app).sign_in("newcomer")
        assert visitor.get(SET_UP).headers["Location"] == "/admin/me/password"
        answer = visitor.send("/admin/me/password", {"old": PASSWORD, "new": "a password of my own"})
        assert visitor.get(answer.headers["Location"]).headers["Location"] == SET_UP
        visitor.send("/admin/sign-out", {}, form=SET_UP)
        assert "You are signed out." in visitor.read("/admin/sign-in")
