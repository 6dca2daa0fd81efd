"""Sign-in by an identity provider against hostile tokens, responses and providers.

`provider` is a provider of the test's own, whose tokens it forges. Real providers are in tests/browser.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import replace
from urllib.parse import urlencode

import pytest
from joserfc.jwk import ECKey
from werkzeug.wrappers import Response

from app.services.people import identity_provider as client
from app.services.people import single_sign_on, tokens
from app.store.models import Account, AuditEntry, OidcOnce, Session
from tests.admin.conftest import Visitor
from tests.admin.people.test_second_factor import enter_password, set_up
from tests.conftest import PASSWORD
from tests.support import identity_provider as support
from tests.support.client import Client
from tests.support.identity_provider import CLIENT, LOGOUT, SECRET, IdentityProvider, signed, signed_by_secret, unsigned
from tests.support.page import read
from tests.support.threads import at_once

HOUR = 3600
ROLES = ("admins=admin", "operators=operator", "acme=analyst:ACME", "acme=analyst:ACME 2", "fern=analyst:FERN")
LOGOUT_PATH = "/admin/oidc/backchannel-logout"


@pytest.fixture(scope="module")
def running_provider() -> Iterator[IdentityProvider]:
    with support.running() as provider:
        yield provider


@pytest.fixture
def provider(running_provider: IdentityProvider) -> IdentityProvider:
    running_provider.reset()
    return running_provider


@pytest.fixture
def settings(settings, provider):
    values = {"oidc_issuer": provider.url, "oidc_client_id": CLIENT, "oidc_client_secret": SECRET, "oidc_roles": ROLES}
    return replace(settings, **{**values, "oidc_only": settings.oidc_only})


@pytest.fixture
def patient(monkeypatch) -> None:
    """Fetch keys again as often as asked, and never wait for a failed fetch."""
    monkeypatch.setattr(client, "PAUSE_SECONDS", 0.0)


def begin(visitor: Visitor, next: str = "/admin/") -> str:
    """Return the address at the provider."""
    answer = visitor.get(f"/admin/oidc/sign-in?{urlencode({'next': next})}")
    assert answer.status_code == 302, answer.text
    return answer.headers["Location"]


def enter(visitor: Visitor, provider: IdentityProvider, subject: str = "anna", **claims: object):
    """Sign in, and return the response to the browser's return."""
    return visitor.get(provider.approve(begin(visitor), subject, **claims))


def is_signed_in(visitor: Visitor) -> bool:
    return visitor.get("/admin/me").status_code == 200


def tamper(claims: dict, key) -> str:
    """Return a token whose claims were changed after it was signed."""
    head, _, signature = signed(claims, key).split(".")
    return f"{head}.{unsigned(claims | {'groups': ['admins']}).split('.')[1]}.{signature}"


NOW = int(time.time())
OTHER_KEY = ECKey.generate_key("P-256", {"kid": "first"})
FORGED_CLAIMS = {
    "wrong issuer": {"iss": "https://evil.example"},
    "issuer of another type": {"iss": ["https://evil.example"]},
    "no issuer": {"iss": None},
    "wrong audience": {"aud": "another"},
    "no audience": {"aud": None},
    "audience of two without azp": {"aud": [CLIENT, "another"]},
    "other authorized party": {"azp": "another"},
    "wrong nonce": {"nonce": "another"},
    "no nonce": {"nonce": None},
    "expired": {"exp": NOW - 120},
    "no expiry": {"exp": None},
    "expiry of another type": {"exp": "tomorrow"},
    "issued in the future": {"iat": NOW + 3 * HOUR},
    "not yet valid": {"nbf": NOW + HOUR},
    "no time": {"iat": None},
    "no subject": {"sub": None},
    "empty subject": {"sub": ""},
    "long subject": {"sub": "a" * 256},
    "subject with a control character": {"sub": "a\0b"},
    "subject of another type": {"sub": 7},
    "hash of another access token": {"at_hash": "AAAAAAAAAAAAAAAAAAAAAA"},
}
FORGED_SIGNATURES = {
    "alg none": lambda claims, key: unsigned(claims),
    "alg NONE": lambda claims, key: unsigned(claims, "NonE"),
    "HS256 with the public key": lambda claims, key: signed_by_secret(claims, key.as_pem(private=False)),
    "another key under the same id": lambda claims, key: signed(claims, OTHER_KEY),
    "an unknown key": lambda claims, key: signed(claims, ECKey.generate_key("P-256", {"kid": "unknown"})),
    "key in the header": lambda claims, key: signed(claims, OTHER_KEY, jwk=OTHER_KEY.as_dict(private=False)),
    "claims changed": tamper,
    "no token": lambda claims, key: "not a token",
    "list for claims": lambda claims, key: unsigned([]),
    "empty": lambda claims, key: "..",
}


def test_a_forged_id_token_signs_nobody_in(app, provider, patient):
    accepted, visitor = [], Visitor(app)
    for name, claims in FORGED_CLAIMS.items():
        provider.claims = claims
        if enter(visitor, provider).status_code != 400 or is_signed_in(visitor):
            accepted.append(name)
    provider.claims = {}
    for name, forge in FORGED_SIGNATURES.items():
        provider.sign = lambda claims, forge=forge: forge(claims, provider.key)
        if enter(visitor, provider).status_code != 400 or is_signed_in(visitor):
            accepted.append(name)
    assert accepted == []
    assert Account.select().count() == 0
    provider.sign = None
    assert enter(visitor, provider).status_code == 302  # the same request with nothing forged
    assert is_signed_in(visitor)


def test_clocks_may_differ_by_a_minute(app, provider):
    provider.claims = {"exp": int(time.time()) - 30, "iat": int(time.time()) + 30}
    assert enter(Visitor(app), provider).status_code == 302


def test_a_response_is_accepted_once_and_only_in_the_browser_that_asked(app, provider):
    visitor, other = Visitor(app), Visitor(app)
    back = provider.approve(begin(visitor))
    assert other.get(back).status_code == 400
    cookie = visitor.flask_client.get_cookie(app.session_interface.get_cookie_name(app), path="/")
    assert visitor.get(back).status_code == 302
    assert visitor.get(back).status_code == 400  # the cookie has no such state any more

    thief = Visitor(app)  # with the cookie from before
    thief.flask_client.set_cookie(cookie.key, cookie.value)
    answer = thief.get(back)
    assert (answer.status_code, "ended already" in answer.text) == (400, True)
    assert provider.asked.count("/token") == 1


def test_a_code_of_another_sign_in_signs_nobody_in(app, provider):
    visitor, thief = Visitor(app), Visitor(app)
    back, stolen = provider.approve(begin(visitor)), provider.approve(begin(thief))
    code = re.search("code=[^&]+", back)[0]
    assert thief.get(re.sub("code=[^&]+", code, stolen)).status_code == 400  # the PKCE verifier is another
    assert not is_signed_in(thief)


def test_a_used_code_signs_nobody_in(app, provider):
    visitor = Visitor(app)
    back = provider.approve(begin(visitor))
    assert visitor.get(back).status_code == 302
    thief = Visitor(app)
    fresh = provider.approve(begin(thief))
    assert thief.get(re.sub("code=[^&]+", re.search("code=[^&]+", back)[0], fresh)).status_code == 400
    assert not is_signed_in(thief)


@pytest.mark.parametrize("named", ["https://evil.example", "", None])
def test_a_response_of_another_provider_is_rejected(app, provider, named):
    provider.metadata["authorization_response_iss_parameter_supported"] = True
    visitor = Visitor(app)
    back = provider.approve(begin(visitor)).partition("&iss=")[0]
    answer = visitor.get(back if named is None else f"{back}&{urlencode({'iss': named})}")
    assert answer.status_code == 400
    assert "/token" not in provider.asked


def test_an_error_of_the_provider_is_shown_as_text(app, provider):
    visitor = Visitor(app)
    state = re.search("state=([^&]+)", begin(visitor))[1]
    answer = visitor.get(f"/admin/oidc/callback?state={state}&error=<b>denied</b>&error_description=x")
    assert answer.status_code == 400
    assert "(<b>denied</b>)" in read(answer)


@pytest.mark.parametrize(
    "elsewhere",
    ["https://evil.example/", "//evil.example/", "/admin/..//evil.example", "/reports", "/admin/" + "a" * 500],
)
def test_a_sign_in_leads_only_to_pages_of_the_dashboard(app, provider, elsewhere):
    visitor = Visitor(app)
    assert visitor.get(provider.approve(begin(visitor, elsewhere))).headers["Location"] == "/admin/"


def test_a_sign_in_leads_back_to_the_page_and_starts_a_new_session(app, provider):
    visitor = Visitor(app)
    before = visitor.flask_client.get_cookie(app.session_interface.get_cookie_name(app), path="/")
    answer = visitor.get(provider.approve(begin(visitor, "/admin/events?text=a")))
    assert answer.headers["Location"] == "/admin/events?text=a"
    after = visitor.flask_client.get_cookie(app.session_interface.get_cookie_name(app), path="/")
    assert before is None or before.value != after.value


def test_keys_may_rotate_but_unknown_keys_cause_no_flood_of_requests(app, provider, monkeypatch):
    visitor, old = Visitor(app), provider.key
    monkeypatch.setattr(client, "PAUSE_SECONDS", 0.0)
    assert enter(visitor, provider).status_code == 302
    provider.key = ECKey.generate_key("P-256", {"kid": "second"})
    try:
        assert enter(Visitor(app), provider).status_code == 302
        assert provider.asked.count("/keys") == 2
        monkeypatch.setattr(client, "PAUSE_SECONDS", 60.0)
        provider.key = ECKey.generate_key("P-256", {"kid": "third"})
        assert enter(Visitor(app), provider).status_code == 302  # the first unknown key is looked up
        for _ in range(5):
            app.test_client().post(LOGOUT_PATH, data={"logout_token": signed({}, OTHER_KEY, kid="unknown")})
        assert provider.asked.count("/keys") == 3
    finally:
        provider.key = old


GARBAGE = {
    "no JSON": Response("<html>"),
    "a list": Response("[]", content_type="application/json"),
    "an error": Response("{}", 500),
    "a redirect": Response("", 302, {"Location": "https://evil.example/"}),
    "too much": Response(b" " * (client.CALL.bytes + 1)),
    "empty object": Response("{}"),
    "broken keys": Response('{"keys": [{"kty": "RSA", "kid": "first", "n": 5}], "id_token": 7, "issuer": []}'),
    "keys of another type": Response('{"keys": {"a": []}, "id_token": "a.b"}'),
}


@pytest.mark.parametrize("path", ["/.well-known/openid-configuration", "/keys", "/token", "/userinfo"])
def test_garbage_of_the_provider_gives_a_page_and_a_password_still_works(app, admin, provider, patient, path):
    wrong = []
    for name, garbage in GARBAGE.items():
        fresh = type(app.extensions["services"].single_sign_on)(app.config["SETTINGS"])
        object.__setattr__(app.extensions["services"], "single_sign_on", fresh)
        provider.paths[path] = lambda request, garbage=garbage: garbage
        visitor = Visitor(app)
        answer = visitor.get("/admin/oidc/sign-in")
        if answer.status_code == 302:
            claims = {"groups": None} if path == "/userinfo" else {}
            answer = visitor.get(provider.approve(answer.headers["Location"], **claims))
        if answer.status_code not in (400, 403, 503) or "/admin/oidc/sign-in" not in answer.text:
            wrong.append((name, answer.status_code))
    assert wrong == []
    assert is_signed_in(visitor.sign_in("admin"))


def test_endpoints_without_tls_on_another_host_are_rejected(app, provider):
    provider.metadata["token_endpoint"] = "http://login.example.com/token"
    assert Visitor(app).get("/admin/oidc/sign-in").status_code == 503


def test_a_discovery_document_of_another_issuer_is_rejected(app, provider):
    provider.metadata["issuer"] = "https://evil.example"
    assert Visitor(app).get("/admin/oidc/sign-in").status_code == 503


def test_a_provider_that_hangs_holds_few_threads_for_a_short_time(app, admin, provider, monkeypatch):
    monkeypatch.setattr(client, "CALL", client.Limits(0.2, 1000))
    monkeypatch.setattr(client, "PAUSE_SECONDS", 60.0)
    provider.paths["/.well-known/openid-configuration"] = lambda request: time.sleep(1) or Response()
    began = time.monotonic()
    answers = [Visitor(app).get("/admin/oidc/sign-in") for _ in range(20)]
    assert time.monotonic() - began < 20 * 0.2  # one of them waited; the others failed at once
    assert {answer.status_code for answer in answers} == {503}
    assert "does not answer" in read(answers[0])
    assert len(provider.asked) == 1
    assert is_signed_in(Visitor(app).sign_in("admin"))


def test_a_provider_that_is_down_costs_nothing_that_was_fetched(app, provider, monkeypatch):
    assert enter(Visitor(app), provider).status_code == 302
    monkeypatch.setattr(client, "FRESH_SECONDS", -1.0)
    monkeypatch.setattr(client, "PAUSE_SECONDS", 0.0)
    for path in ("/.well-known/openid-configuration", "/keys"):
        provider.paths[path] = lambda request: Response(status=500)
    assert enter(Visitor(app), provider).status_code == 302


def test_a_user_is_known_by_issuer_and_subject_alone(app, provider, services):
    services.accounts.add("anna", "admin", None, PASSWORD)
    mail = {"preferred_username": "anna", "email": "anna@acme.example", "email_verified": True}
    assert enter(Visitor(app), provider, "1", **mail).status_code == 302
    assert enter(Visitor(app), provider, "2", **mail).status_code == 302
    assert enter(Visitor(app), provider, "1", preferred_username="bert").status_code == 302
    found = {account.name: (account.role, account.oidc_subject) for account in Account.select()}
    assert found == {
        "anna": ("admin", None),  # the local user stays as they are
        "anna@acme.example": ("operator", "1"),
        "anna (2)": ("operator", "2"),
    }


def test_the_verified_mail_address_of_the_provider_is_shown_on_the_own_page(app, provider):
    visitor = Visitor(app)
    enter(visitor, provider, "1", preferred_username="anna", email="anna@acme.example")
    assert "anna@acme.example" not in visitor.see("/admin/me")
    for address in ("anna@acme.example", "anna@corp.example", "not an address"):
        visitor = Visitor(app)
        enter(visitor, provider, "1", email=address, email_verified=True)
    assert "anna@corp.example" in visitor.see("/admin/me")
    assert visitor.send("/admin/me/mail", {"mail": "me@mail.example"}, form="/admin/me").status_code == 403
    changes = [entry.details for entry in AuditEntry.select() if "new mail" in (entry.details or {})]
    assert [one["new mail"] for one in changes] == ["anna@acme.example", "anna@corp.example"]
    assert Account.get(Account.oidc_subject == "1").mail == "anna@corp.example"


def test_roles_and_customers_follow_the_groups_at_each_sign_in(app, provider, services):
    visitor = Visitor(app)
    for groups, expected in (
        (["acme"], ("analyst", ["ACME", "ACME 2"])),
        ("acme", ("analyst", ["ACME", "ACME 2"])),
        (["acme", "fern", "unknown", 7], ("analyst", ["ACME", "ACME 2", "FERN"])),
        (["acme", "operators"], ("operator", None)),
        (["operators", "admins"], ("admin", None)),
        (["fern"], ("analyst", ["FERN"])),
    ):
        assert enter(Visitor(app), provider, groups=groups).status_code == 302
        account = Account.get(Account.name == "anna")
        assert (account.role, account.customers) == expected
    done = [row.action for row in AuditEntry.select().where(AuditEntry.object == "user anna").order_by(AuditEntry.id)]
    assert done == ["user added", "user changed", "user changed", "user changed", "user changed"]
    assert not is_signed_in(visitor)


def test_a_user_without_a_role_is_told_so_and_leaves_no_account(app, provider):
    answer = enter(Visitor(app), provider, groups=["strangers"])
    assert answer.status_code == 403
    assert "none of your groups there has a role here" in read(answer)
    assert Account.select().count() == 0
    assert AuditEntry.get(AuditEntry.action == "sign-in failed").details["reason"] == "no group with a role"


def test_who_loses_the_last_group_loses_sessions_and_tokens(app, provider, services):
    visitor = Visitor(app)
    enter(visitor, provider, groups=["admins"])
    _, token = tokens.add(services.accounts.named("anna"), "program", ["events:read"])
    assert enter(Visitor(app), provider, groups=[]).status_code == 403
    assert not is_signed_in(visitor)
    assert tokens.verify(token, "") is None
    assert enter(visitor, provider, groups=["acme"]).status_code == 302
    assert services.accounts.named("anna").customers == ("ACME", "ACME 2")


def test_groups_may_come_from_userinfo_but_only_of_the_same_user(app, provider):
    provider.userinfo |= {"sub": "anna", "groups": ["operators"]}
    assert enter(Visitor(app), provider, groups=None).status_code == 302
    provider.userinfo["sub"] = "bert"
    assert enter(Visitor(app), provider, groups=None).status_code == 400


def test_a_deactivated_user_loses_sessions_and_tokens_and_cannot_come_back(app, provider, services):
    visitor = Visitor(app)
    enter(visitor, provider)
    _, token = tokens.add(services.accounts.named("anna"), "program", ["events:read"])
    services.accounts.deactivate("anna")
    assert not is_signed_in(visitor)
    assert tokens.verify(token, "") is None
    answer = enter(visitor, provider)
    assert (answer.status_code, "is deactivated" in read(answer)) == (403, True)
    services.accounts.activate("anna")
    assert tokens.verify(token, "") is None
    assert enter(visitor, provider).status_code == 302


def test_a_user_of_the_provider_has_no_password(app, provider, services):
    enter(Visitor(app), provider)
    assert services.accounts.verify("anna", "") is None
    assert Visitor(app).send("/admin/sign-in", {"user": "anna", "password": ""}).status_code == 401


@pytest.mark.settings(totp_required="everyone")
def test_a_user_of_the_provider_needs_no_second_factor_here(app, provider):
    visitor = Visitor(app)
    enter(visitor, provider)
    assert is_signed_in(visitor)
    assert visitor.get("/admin/me/second-factor").headers["Location"] == "/admin/me"
    assert "Second factor" not in visitor.read("/admin/me")


def test_signing_out_ends_the_provider_s_session_too(app, provider):
    visitor = Visitor(app)
    enter(visitor, provider)
    page = read(visitor.send("/admin/sign-out", {}, form="/admin/me"))
    target = page.link("Sign out of the company account, too")
    assert target.startswith(f"{provider.url}/end?")
    assert "post_logout_redirect_uri=https%3A%2F%2Ftally.example%2Fadmin%2Fsign-in" in target
    assert "id_token_hint=" in target
    assert not is_signed_in(visitor)


FORGED_LOGOUTS = {
    "wrong issuer": {"iss": "https://evil.example"},
    "wrong audience": {"aud": "another"},
    "expired": {"exp": NOW - 120},
    "no time": {"iat": None},
    "no id": {"jti": None},
    "no event": {"events": {}},
    "events of another type": {"events": [LOGOUT]},
    "event of another type": {"events": {LOGOUT: True}},
    "a nonce": {"nonce": "a"},
    "neither user nor session": {"sub": None},
    "session of another type": {"sid": 7},
    "another user's session": {"sub": "bert", "sid": "s1"},
    "an unknown session": {"sub": None, "sid": "s2"},
}


def test_the_provider_ends_sessions_by_a_logout_token(app, provider):
    visitor, other = Visitor(app), Visitor(app)
    provider.claims = {"sid": "s1"}
    enter(visitor, provider)
    provider.claims = {"sid": "s3"}
    enter(other, provider)

    def tell(**claims: object) -> int:
        token = provider.logout_token(**{"sub": "anna"} | claims)
        return app.test_client().post(LOGOUT_PATH, data={"logout_token": token}).status_code

    statuses = {name: tell(**claims) for name, claims in FORGED_LOGOUTS.items()}
    assert {name for name, status in statuses.items() if status == 200} == {
        "another user's session",
        "an unknown session",
    }
    assert is_signed_in(visitor)
    assert tell(sid="s1", jti="once") == 200
    assert (is_signed_in(visitor), is_signed_in(other)) == (False, True)
    assert tell(sid="s1", jti="once") == 400  # replayed
    assert tell(sid="s1", exp=1e300) == 200
    assert tell() == 200  # every session of the user
    assert not is_signed_in(other)
    assert AuditEntry.select().where(AuditEntry.action == "session ended").count() == 2


def test_an_id_token_is_no_logout_token(app, provider):
    token = provider.token(sub="anna", jti="a")
    assert app.test_client().post(LOGOUT_PATH, data={"logout_token": token}).status_code == 400
    assert app.test_client().post(LOGOUT_PATH).status_code == 400


def test_a_frame_of_the_provider_ends_its_session(app, provider):
    visitor = Visitor(app)
    provider.claims = {"sid": "s1"}
    enter(visitor, provider)
    with_nul = {"iss": provider.url, "sid": "s1\0"}
    for query in ({"iss": provider.url, "sid": ""}, {"iss": "https://evil.example", "sid": "s1"}, {}, with_nul):
        assert app.test_client().get(f"/admin/oidc/frontchannel-logout?{urlencode(query)}").status_code == 400
    assert is_signed_in(visitor)
    query = urlencode({"iss": provider.url, "sid": "s1"})
    assert app.test_client().get(f"/admin/oidc/frontchannel-logout?{query}").status_code == 200
    assert not is_signed_in(visitor)


@pytest.mark.settings(oidc_only=True)
def test_with_passwords_off_one_local_admin_has_a_way_back(app, provider, services):
    for name, customers in (("limited", ["ACME"]), ("root", None), ("second", None)):
        services.accounts.add(name, "admin", customers, PASSWORD)
    page = read(Visitor(app).get("/admin/sign-in"))
    assert "Password" not in page
    form = "/admin/sign-in?password="
    for name in ("limited", "second"):
        assert Visitor(app).send(form, {"user": name, "password": PASSWORD}).status_code == 401
        assert Client(app, (name, PASSWORD)).get("/reports").status_code == 401
    assert Visitor(app).send(form, {"user": "root", "password": PASSWORD}).status_code == 302
    assert Client(app, ("root", PASSWORD)).get("/reports").status_code == 200
    _, token = tokens.add(services.accounts.named("second"), "program", ["reports:read"])
    assert Client(app, ("x", token)).get("/reports").status_code == 200


@pytest.mark.settings(oidc_only=True, totp_required="everyone")
def test_the_way_back_needs_the_second_factor_and_a_company_account_does_not(app, provider, services):
    services.accounts.add("root", "admin", None, PASSWORD)
    form = "/admin/sign-in?password="
    root = Visitor(app)
    root.send(form, {"user": "root", "password": PASSWORD})
    assert root.get("/admin/people").headers["Location"] == "/admin/me/second-factor"
    assert Client(app, ("root", PASSWORD)).get("/reports").status_code == 403
    _, (code, *_) = set_up(root)
    assert root.get("/admin/people").status_code == 200
    again = enter_password(app, "root", form)
    assert not is_signed_in(again)
    assert again.send("/admin/sign-in/code", {"code": code}).status_code == 302
    assert is_signed_in(again)
    company = Visitor(app)
    enter(company, provider)
    assert is_signed_in(company)


def test_admins_of_the_provider_do_not_replace_the_last_local_admin(app, provider, services, admin):
    enter(Visitor(app), provider, groups=["admins"])
    for act in (services.accounts.remove, services.accounts.deactivate):
        with pytest.raises(Exception, match="is the last admin"):
            act("admin")
    services.accounts.remove("anna")
    assert Session.select().count() == 0


def test_a_sign_in_in_a_second_window_leads_to_its_page_when_the_first_was_faster(app, provider):
    visitor = Visitor(app)
    first, second = (begin(visitor, next) for next in ("/admin/events", "/admin/reports"))
    assert visitor.get(provider.approve(first, "anna")).headers["Location"] == "/admin/events"
    session = Session.get()
    assert visitor.get(provider.approve(second, "anna")).headers["Location"] == "/admin/reports"
    assert Session.get().id == session.id  # so that forms open in the first window stay valid


def test_used_states_are_purged_when_they_are_too_old_to_be_accepted(app, provider, services):
    enter(Visitor(app), provider)
    single_sign_on.purge()
    assert OidcOnce.select().count() == 1
    OidcOnce.update(expires_at=1).execute()
    single_sign_on.purge()
    assert OidcOnce.select().count() == 0


def test_sign_ins_beyond_those_that_may_wait_for_the_provider_fail_at_once(app, provider, monkeypatch):
    monkeypatch.setattr(client, "CALLS_AT_ONCE", 0)
    monkeypatch.setattr(client, "WAIT_SECONDS", 0.0)
    assert Visitor(app).get("/admin/oidc/sign-in").status_code == 503
    assert provider.asked == []


@pytest.mark.both_databases
def test_a_user_who_signs_in_for_the_first_time_in_two_browsers_is_one_user(app, provider):
    visitors = [Visitor(app) for _ in range(4)]
    backs = [provider.approve(begin(visitor)) for visitor in visitors]
    assert at_once(4, lambda number: visitors[number].get(backs[number]).status_code) == [302] * 4
    assert Account.select().count() == 1
