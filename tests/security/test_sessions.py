"""Sessions are stored on the server, so they end there, whatever a browser keeps."""

from __future__ import annotations

import re
import time
from dataclasses import replace

import pytest
from itsdangerous import URLSafeTimedSerializer
from pyotp import TOTP

from app import create_app
from app.auth import REFRESHES
from app.exceptions import SessionUnknown, StoreUnavailable
from app.store.models import AuditEntry, EndedSession, Session
from app.store.people import sessions as store
from app.support.clock import now
from tests.admin.conftest import Visitor
from tests.conftest import PASSWORD
from tests.support.client import event

COOKIE = "__Host-tally-5501670a"  # the tests' PUBLIC_URL is https
MINUTE, DAY = 60_000, 86_400_000


def cookie(somebody: Visitor) -> str:
    return somebody.flask_client.get_cookie(COOKIE).value


def is_in(somebody: Visitor) -> bool:
    return somebody.get("/admin/").status_code == 200


def earlier(milliseconds: int, *fields: object) -> None:
    """Make every session older."""
    Session.update({field: field - milliseconds for field in fields}).execute()


@pytest.fixture
def thief(app, boss) -> Visitor:
    """A client with a copy of the administrator's cookie."""
    other = Visitor(app)
    other.flask_client.set_cookie(COOKIE, cookie(boss))
    assert is_in(other)
    return other


class TestTheCookie:
    def test_it_is_for_this_host_over_tls_and_not_for_scripts_or_other_sites(self, visitor, admin):
        given = visitor.send("/admin/sign-in", {"user": "admin", "password": PASSWORD}).headers["Set-Cookie"]
        assert given.startswith(f"{COOKIE}=")
        for attribute in ("Secure", "HttpOnly", "Path=/", "SameSite=Lax", "Expires="):
            assert attribute in given.split("; ") or f"; {attribute}" in given
        assert "Domain" not in given

    @pytest.mark.settings(public_url="http://tally.example")
    def test_without_tls_it_has_no_prefix_that_browsers_would_refuse(self, visitor, admin):
        given = visitor.send("/admin/sign-in", {"user": "admin", "password": PASSWORD}).headers["Set-Cookie"]
        assert re.match("tally-[0-9a-f]{8}=", given)
        assert "Secure" not in given

    def test_each_installation_on_a_host_has_its_own_name(self, settings):
        """Browsers send a host's cookies to all of its ports."""
        there = replace(settings, public_url="https://tally.example:8443")
        other = replace(settings, secret_key="another secret for the tests")
        apps = [create_app(one) for one in (settings, settings, there, other)]
        assert len({app.session_interface.get_cookie_name(app) for app in apps}) == 3

    @pytest.mark.settings(public_url="http://tally.example", trusted_proxies=1)
    @pytest.mark.parametrize(("scheme", "secure"), [("https", True), ("http", False), ("", False)])
    def test_a_trusted_proxy_may_report_tls(self, app, admin, scheme, secure):
        assert ("Secure" in self._given(app, scheme)) is secure

    @pytest.mark.settings(public_url="http://tally.example")
    def test_an_untrusted_proxy_may_not_report_tls(self, app, admin):
        assert "Secure" not in self._given(app, "https")

    def _given(self, app, scheme: str) -> str:
        headers = {"X-Forwarded-Proto": scheme, "X-Forwarded-For": "203.0.113.5"}
        return Visitor(app).get("/admin/sign-in", headers=headers).headers["Set-Cookie"]

    def test_it_does_not_contain_what_the_database_stores(self, boss):
        stored = Session.get()
        assert stored.digest not in cookie(boss)
        assert len(stored.digest) == 64

    def test_a_page_does_not_set_another_one_each_time(self, boss):
        boss.get("/admin/reports")  # the first page creates the token of its forms
        assert "Set-Cookie" not in boss.get("/admin/reports").headers

    @pytest.mark.parametrize("change", [lambda text: text[:-1], lambda text: "A" + text[1:], lambda text: ""])
    def test_a_changed_one_is_invalid(self, boss, app, change):
        other = Visitor(app)
        other.flask_client.set_cookie(COOKIE, change(cookie(boss)))
        assert not is_in(other)

    @pytest.mark.parametrize("token", ["", "x", None, 1, ["a"], {"a": 1}, "\0"])
    def test_a_signed_one_with_nonsense_is_invalid(self, app, admin, token):
        signer = app.session_interface.get_signing_serializer(app)
        assert isinstance(signer, URLSafeTimedSerializer)
        other = Visitor(app)
        other.flask_client.set_cookie(COOKIE, signer.dumps({"token": token, "user": 1, "_permanent": True}))
        assert not is_in(other)


class TestSigningIn:
    def test_it_starts_a_new_session_and_forms_have_a_new_token(self, visitor, admin):
        page = visitor.get("/admin/sign-in").get_data(as_text=True)
        before = cookie(visitor)
        visitor.sign_in("admin")
        assert cookie(visitor) != before
        token = re.search(r'name="csrf_token"[^>]* value="([^"]+)"', page)[1]
        assert visitor.post("/admin/sign-out", {"csrf_token": token}).status_code == 400

    def test_signing_in_again_ends_the_session_before(self, boss, thief):
        page = boss.get("/admin/").get_data(as_text=True)
        token = re.search(r'name="csrf_token"[^>]* value="([^"]+)"', page)[1]
        boss.post("/admin/sign-in", {"user": "admin", "password": PASSWORD, "csrf_token": token})
        assert is_in(boss)
        assert not is_in(thief)

    def test_a_planted_session_is_not_taken_over(self, app, admin, visitor):
        """A visitor whose cookie an attacker knows is not signed in under that cookie."""
        visitor.get("/admin/sign-in")
        attacker = Visitor(app)
        attacker.flask_client.set_cookie(COOKIE, cookie(visitor))
        visitor.sign_in("admin")
        assert not is_in(attacker)

    def test_a_concurrent_change_of_the_password_ends_it(self, services, admin):
        who = services.accounts.verify("admin", PASSWORD)
        services.accounts.set_password("admin", "another password")
        token = services.sessions.begin(who, "Firefox")
        assert services.sessions.find(token, "") is None

    def test_the_latest_fifty_of_a_user_are_valid(self, services, admin):
        who = services.accounts.verify("admin", PASSWORD)
        tokens = [services.sessions.begin(who, "") for _ in range(52)]
        assert [services.sessions.find(token, "") is not None for token in tokens] == [False] * 2 + [True] * 50


class TestTheEnd:
    def test_signing_out_ends_it_for_copies_of_the_cookie(self, boss, thief):
        boss.send("/admin/sign-out", {}, form="/admin/")
        assert not is_in(boss)
        assert not is_in(thief)

    def test_a_new_password_ends_it(self, boss, services):
        services.accounts.set_password("admin", "another password")
        assert not is_in(boss)
        assert not Session.select().exists()

    def test_removing_the_user_ends_it(self, boss, services):
        services.accounts.add("other", "admin", None, PASSWORD)
        services.accounts.remove("admin")
        assert not is_in(boss)
        assert not Session.select().exists()

    def test_a_command_on_the_server_ends_it(self, boss, app):
        app.test_cli_runner().invoke(args=["user", "password", "admin", "--password-stdin"], input="another password\n")
        assert not is_in(boss)

    def test_it_ends_after_eight_hours_without_an_action(self, boss):
        earlier(8 * 60 * MINUTE - 5_000, Session.seen_at)
        assert is_in(boss)
        earlier(8 * 60 * MINUTE, Session.seen_at)
        assert not is_in(boss)

    @pytest.mark.settings(session_idle_minutes=1)
    def test_it_ends_after_as_many_minutes_as_the_setting_says(self, boss):
        earlier(MINUTE, Session.seen_at)
        assert not is_in(boss)

    def test_it_ends_after_seven_days_in_any_case(self, boss):
        earlier(7 * DAY - 5_000, Session.created_at)
        assert is_in(boss)
        earlier(6_000, Session.created_at)
        assert not is_in(boss)

    @pytest.mark.settings(session_days=1)
    def test_it_ends_after_as_many_days_as_the_setting_says(self, boss):
        earlier(DAY, Session.created_at)
        assert not is_in(boss)

    def test_one_from_a_clock_that_was_ahead_begins_when_that_is_noticed(self, boss, services):
        earlier(-40 * DAY, Session.created_at, Session.seen_at)
        services.sessions.purge()
        (session,) = Session.select()
        assert abs(session.created_at - now()) < MINUTE and abs(session.seen_at - now()) < MINUTE
        assert is_in(boss)
        earlier(8 * DAY, Session.created_at)
        assert not is_in(boss)

    def test_the_cookie_ends_with_it(self, boss, app):
        signer = app.session_interface.get_signing_serializer(app)
        _, signed = signer.loads(cookie(boss), return_timestamp=True)
        assert time.time() - signed.timestamp() < 60
        assert app.permanent_session_lifetime.total_seconds() == 7 * 86_400

    def test_ended_sessions_are_removed(self, boss, services):
        services.scheduler.run_all()
        assert Session.select().count() == 1
        earlier(8 * DAY, Session.seen_at, Session.created_at)
        services.scheduler.run_all()
        assert Session.select().count() == 0


def said_to(somebody: Visitor) -> str:
    """Return the messages of the sign-in page to which a browser is led."""
    answer = somebody.get("/admin/reports")
    assert answer.status_code == 302
    return " ".join(one.text for one in somebody.read(answer.headers["Location"]).all("p", class_="note"))


class TestTheReason:
    """The sign-in page says once why a session has ended."""

    @pytest.mark.both_databases
    def test_an_admin_ended_it(self, boss, anna, services):
        by, who = services.accounts.named("admin"), services.accounts.named("anna")
        (session,) = services.sessions.of(who.id)
        services.sessions.end(session.id, who.id, by=by)
        assert said_to(anna) == "An administrator ended your session."
        assert said_to(anna) == ""

    @pytest.mark.both_databases
    def test_it_has_expired_whether_it_was_purged_or_not(self, boss, anna, services):
        earlier(9 * 60 * MINUTE, Session.seen_at)
        assert said_to(anna) == "Your session has expired."
        services.sessions.purge()
        assert not Session.select().exists()
        assert said_to(boss) == "Your session has expired."

    def test_the_sign_in_page_itself_says_it_too(self, anna, services):
        services.sessions.end_all(services.accounts.named("anna"), by=services.accounts.named("anna"))
        assert "You ended this session from another browser." in anna.read("/admin/sign-in")

    def test_a_part_that_refreshes_itself_leaves_it_to_the_page(self, boss, services):
        services.accounts.set_password("admin", "another password")
        assert boss.get("/admin/overview/part", headers={REFRESHES: "1"}).status_code == 302
        assert "An administrator reset your password" in said_to(boss)

    @pytest.mark.parametrize(
        ("end", "reason"),
        [
            (lambda people, who: people.accounts.set_password("anna", "another one", by=who), "password was changed"),
            (lambda people, who: people.accounts.deactivate("anna"), "An administrator deactivated your account."),
            (lambda people, who: people.accounts.remove("anna"), "An administrator removed your account."),
            (lambda people, who: [people.sessions.begin(who, "") for _ in range(50)], "more than 50 sessions"),
            (lambda people, who: Session.delete().execute(), "Your session has ended."),
        ],
    )
    def test_the_true_reason_is_told(self, anna, services, end, reason):
        end(services, services.accounts.named("anna"))
        assert reason in said_to(anna)

    def test_a_second_factor_that_was_turned_on_elsewhere(self, anna, services):
        salt = services.second_factors.new_salt()
        code = TOTP(services.second_factors.secret(salt)).now()
        services.second_factors.turn_on(services.accounts.named("anna"), salt, code)
        assert "Your second factor was turned on in another browser" in said_to(anna)

    def test_a_visitor_is_told_nothing(self, visitor):
        assert said_to(visitor) == ""

    def test_reasons_are_forgotten_when_no_cookie_can_be_left(self, boss, services):
        services.accounts.set_password("admin", "another password")
        services.sessions.purge()
        assert EndedSession.select().count() == 1
        EndedSession.update(ended_at=now() - 8 * DAY).execute()
        services.sessions.purge()
        assert EndedSession.select().count() == 0


class TestMeanwhile:
    """The user's role and customers are looked up for each request."""

    def test_another_role_counts_at_once(self, boss, anna, services):
        assert anna.get("/admin/system").status_code == 403
        who = services.accounts.verify("anna", PASSWORD)
        services.accounts.change(who, "operator", None)
        assert anna.get("/admin/system").status_code == 200
        services.accounts.change(who, "analyst", ["BARCHART"])
        assert anna.get("/admin/system").status_code == 403

    def test_other_customers_count_at_once(self, anna, nobody, services):
        nobody.send(event(customer="BARCHART", type="OURS"), event(customer="FERNHILL", type="THEIRS"))
        assert "OURS" in anna.read("/admin/events")
        who = services.accounts.verify("anna", PASSWORD)
        services.accounts.change(who, "analyst", ["FERNHILL"])
        page = anna.see("/admin/events")
        assert "OURS" not in page
        assert "THEIRS" in page
        services.accounts.change(who, "analyst", [])
        assert "THEIRS" not in anna.see("/admin/events")

    def test_both_count_at_once_for_a_recently_verified_password(self, analyst, services, nobody):
        nobody.send(event())
        assert analyst.get("/events", query_string={"customer": "BARCHART"}).status_code == 200
        who = services.accounts.verify("anna", PASSWORD)
        services.accounts.change(who, "analyst", ["FERNHILL"])
        assert analyst.get("/events", query_string={"customer": "BARCHART"}).status_code == 403
        services.accounts.set_password("anna", "another password")
        assert analyst.get("/events").status_code == 401

    def test_a_new_user_with_a_removed_users_name_is_another_user(self, anna, analyst, services):
        services.accounts.remove("anna")
        services.accounts.add("anna", "admin", None, "another password")
        assert not is_in(anna)
        assert analyst.get("/events").status_code == 401


class TestActs:
    def test_opening_a_page_extends_the_session(self, boss):
        earlier(10 * MINUTE, Session.seen_at)
        boss.get("/admin/reports")
        assert now() - Session.get().seen_at < MINUTE

    def test_a_part_that_refreshes_itself_does_not_extend_the_session(self, boss):
        earlier(10 * MINUTE, Session.seen_at)
        assert boss.get("/admin/overview/part", headers={REFRESHES: "1"}).status_code == 200
        assert now() - Session.get().seen_at > 9 * MINUTE

    def test_an_extension_is_recorded_once_a_minute_at_most(self, boss, monkeypatch):
        monkeypatch.setattr(store, "note_seen", lambda *_: 1 / 0)
        assert is_in(boss)

    def test_a_page_does_not_fail_if_the_extension_cannot_be_recorded(self, boss, monkeypatch):
        def away(*_: object) -> None:
            raise StoreUnavailable("The database is busy.")

        monkeypatch.setattr(store, "note_seen", away)
        earlier(10 * MINUTE, Session.seen_at)
        assert is_in(boss)


class TestOthersSessions:
    def test_one_is_ended_and_the_others_stay(self, app, services, admin, boss):
        other = Visitor(app).sign_in("admin")
        who = services.accounts.verify("admin", PASSWORD)
        first = min(one.id for one in services.sessions.of(who.id))
        services.sessions.end(first, who.id, by=who)
        assert (is_in(boss), is_in(other)) == (False, True)
        with pytest.raises(SessionUnknown):
            services.sessions.end(first, who.id, by=who)

    def test_another_users_session_cannot_be_ended(self, services, boss, anna):
        foreign = Session.select().order_by(Session.id.desc()).get()
        who = services.accounts.verify("admin", PASSWORD)
        with pytest.raises(SessionUnknown):
            services.sessions.end(foreign.id, who.id, by=who)
        assert is_in(anna)


def test_sessions_are_in_the_audit_log(boss, services):
    boss.send("/admin/sign-out", {}, form="/admin/")
    assert [(one.who, one.action, one.address) for one in AuditEntry.select().order_by(AuditEntry.id).offset(1)] == [
        ("admin", "signed in", "127.0.0.1"),
        ("admin", "signed out", "127.0.0.1"),
    ]


def test_the_api_accepts_no_session(boss):
    assert boss.get("/reports").status_code == 401
    assert boss.get("/service/authenticate").status_code == 401
