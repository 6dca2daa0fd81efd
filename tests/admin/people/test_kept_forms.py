"""Forms that are sent after the session has ended."""

from __future__ import annotations

import pytest
import redis as redis_py
from pyotp import TOTP
from werkzeug.test import TestResponse

from app.admin.pages import forms_kept
from app.redis.queue import KEPT_FORM
from app.services.people import kept_forms
from app.store.models import Account, Report, Session
from tests.admin.conftest import TOKEN, Visitor, key
from tests.conftest import PASSWORD
from tests.support.page import Element, read

FIELDS = {"customer": "BARCHART", "product": "PORTFOLIO", "name": "All of it", "header": "y"}
SECRETS = [
    "/admin/me/password",
    "/admin/me/second-factor",
    "/admin/alerts/channels/new",
    "/admin/events/personal-data",
]
LOST = "What you typed is lost"


def shown_token(somebody: Visitor, path: str = "/admin/reports/new") -> str:
    return TOKEN.search(somebody.get(path).get_data(as_text=True))[1]


def send_late(somebody: Visitor, path: str = "/admin/reports/new", **fields: str) -> str:
    """Send a form after the session has ended, and return the address of the sign-in page."""
    token = shown_token(somebody)
    Session.update(seen_at=0).execute()
    answer = somebody.post(path, (fields or FIELDS) | {"csrf_token": token})
    assert answer.status_code == 302
    return answer.headers["Location"]


def sign_in_at(somebody: Visitor, address: str, name: str = "admin") -> str:
    answer = somebody.send(address, {"user": name, "password": PASSWORD})
    assert answer.status_code == 302
    return answer.headers["Location"]


def send_again(somebody: Visitor, address: str, button: str = "") -> TestResponse:
    """Press a button of the page of a kept form as a browser does, which sends the fields again after a 307."""
    page = somebody.read(address)
    fields = {one["name"]: one["value"] or "" for one in page.first("form", class_="ask").all("input", type="hidden")}
    answer = somebody.post(address + button, fields)
    if answer.status_code == 307:
        answer = somebody.post(answer.headers["Location"], fields)
    return somebody.get(answer.headers["Location"]) if answer.status_code == 302 else answer


def send_without_cookie(app, token: str) -> tuple[Visitor, str]:
    """Send a form of a browser that has lost its cookie, and return the browser and where it is led."""
    fresh = Visitor(app)
    fields = FIELDS | {"csrf_token": token}
    answer = fresh.flask_client.post("/admin/reports/new", data=fields, headers={"Origin": "https://localhost"})
    return fresh, answer.headers["Location"]


def test_what_was_typed_is_sent_after_the_sign_in_with_a_click(boss, sample_catalog):
    address = send_late(boss)
    page = boss.read(address)
    assert "Your session has expired." in page
    assert "What you typed is saved." in page
    kept = sign_in_at(boss, address)
    page = boss.read(kept)
    terms = dict(zip([one.text for one in page.all("dt")], [one.text for one in page.all("dd")], strict=True))
    assert terms == {
        "Action": "Start report",
        "Page": "/admin/reports/new",
        "Customer": "BARCHART",
        "First row has the column names": "Yes",
        "Product": "PORTFOLIO",
        "Name": "All of it",
    }
    assert Report.select().count() == 0, "nothing is sent without a click"
    assert "All of it" in read(send_again(boss, kept))
    assert Report.get().name == "All of it"
    assert boss.get(kept).status_code == 404, "it is sent once"


def test_a_discarded_form_is_gone(boss, redis_url):
    kept = sign_in_at(boss, send_late(boss))
    assert "Nothing was sent." in read(send_again(boss, kept, "/discard"))
    assert boss.get(kept).status_code == 404
    assert redis_py.Redis.from_url(redis_url).keys(f"{KEPT_FORM}*") == []
    assert Report.select().count() == 0


def test_a_form_of_a_browser_without_a_cookie_is_kept(app, boss):
    fresh, address = send_without_cookie(app, shown_token(boss))
    page = fresh.read(address)
    assert "You were signed out." in page
    assert "What you typed is saved." in page
    assert "All of it" in fresh.read(sign_in_at(fresh, address))


def test_a_form_of_an_earlier_session_is_shown_to_a_user_who_has_signed_in_again(boss):
    token = shown_token(boss)
    boss.send("/admin/sign-out", {}, form="/admin/")
    boss.sign_in("admin")
    answer = boss.post("/admin/reports/new", FIELDS | {"csrf_token": token})
    assert "All of it" in boss.read(answer.headers["Location"])


def test_another_user_gets_nothing_of_it(app, boss, anna):
    address = send_late(boss)
    kept = sign_in_at(boss, address, "anna")
    answer = boss.get(kept)
    assert answer.status_code == 404
    assert "There is no saved form here." in read(answer)
    for path in (kept, f"{kept}/discard"):
        assert boss.send(path, {}, form="/admin/").status_code == 404
    boss.send("/admin/sign-out", {}, form="/admin/")
    assert "All of it" in boss.read(sign_in_at(boss, address)), "its own user still gets it"


def test_a_form_of_another_user_is_not_kept_for_the_signed_in_one(boss, anna, redis_url):
    answer = boss.post("/admin/reports/new", FIELDS | {"csrf_token": shown_token(anna)})
    assert answer.status_code == 400
    assert redis_py.Redis.from_url(redis_url).keys(f"{KEPT_FORM}*") == []


def test_it_is_kept_through_the_second_factor(boss, services):
    who = services.accounts.verify("admin", PASSWORD)
    salt = services.second_factors.new_salt()
    app_code = TOTP(services.second_factors.secret(salt))
    address = send_late(boss)
    services.second_factors.turn_on(who, salt, app_code.now())
    Account.update(totp_step=0).execute()  # as if time had passed
    code_page = sign_in_at(boss, address)
    answer = boss.send(code_page, {"code": app_code.now()})
    assert "All of it" in boss.read(answer.headers["Location"])


def test_it_is_kept_for_half_an_hour_at_most_64_kib(boss, redis_url):
    send_late(boss)
    server = redis_py.Redis.from_url(redis_url)
    (stored,) = server.keys(f"{KEPT_FORM}*")
    assert 1795 <= server.ttl(stored) <= 1800
    boss.sign_in("admin")
    page = boss.read(send_late(boss, name="x" * kept_forms.MAX_BYTES))
    assert f"{LOST}, because only forms of up to 64 KiB are saved." in page
    assert "Your browser's Back button may still show it." in page
    assert len(server.keys(f"{KEPT_FORM}*")) == 1


def test_a_user_cannot_fill_redis(app, boss):
    token = shown_token(boss)
    addresses = [send_without_cookie(app, token)[1] for _ in range(21)]
    assert ["next=" in address for address in addresses] == [True] * 20 + [False]


@pytest.mark.settings(redis_url="redis://127.0.0.1:1")
def test_without_redis_the_sign_in_page_says_that_it_is_lost(boss):
    page = boss.read(send_late(boss))
    assert f"{LOST}, because Redis, which would store it, cannot be reached." in page
    assert "is saved." not in page


@pytest.mark.parametrize("path", SECRETS)
def test_forms_with_secrets_are_not_kept(boss, redis_url, path):
    page = boss.read(send_late(boss, path, new="my new password", url="https://hooks.example/secret", value="u-17"))
    assert f"{LOST}, because forms with passwords or other secrets are not saved." in page
    assert redis_py.Redis.from_url(redis_url).keys(f"{KEPT_FORM}*") == []


def test_no_form_with_a_password_or_a_code_is_kept(app, boss, services):
    """Looks at every page with a form, so that a new one is included."""
    pages = [rule for rule in app.url_map.iter_rules() if rule.rule.startswith("/admin/") and "GET" in rule.methods]
    found = []
    for rule in pages:
        if rule.arguments or "oidc" in rule.rule:
            continue
        for form in (read(boss.get(rule.rule)) if boss.get(rule.rule).status_code == 200 else Element("", {})).all(
            "form", method="post"
        ):
            secret = [one for one in form if one["type"] == "password" or one["autocomplete"] == "one-time-code"]
            action = app.url_map.bind("localhost").match(form["action"] or rule.rule, "POST")[0] if secret else ""
            found += [action] if action in forms_kept else []
    assert found == []
    assert "admin.start_report" in forms_kept


def test_a_file_is_not_kept(boss):
    token = shown_token(boss)
    Session.update(seen_at=0).execute()
    with open(__file__, "rb") as file:
        answer = boss.flask_client.post("/admin/catalog/import", data={"csrf_token": token, "file": (file, "a.json")})
    assert f"{LOST}, because forms with files are not saved." in boss.read(answer.headers["Location"])


def test_a_kept_form_survives_a_session_that_ends_again(boss, sample_catalog):
    kept = sign_in_at(boss, send_late(boss))
    token = shown_token(boss)
    Session.update(seen_at=0).execute()
    again = boss.post(kept, FIELDS | {"csrf_token": token}).headers["Location"]
    assert sign_in_at(boss, again) == kept
    assert "All of it" in read(send_again(boss, kept))


def test_the_address_and_every_value_are_sent_as_they_were(boss, sample_catalog):
    fields = {"code": "PORTFOLIO", "description": "a\r\nb <&\"' é"}
    kept = sign_in_at(boss, send_late(boss, "/admin/catalog/product?code=PORTFOLIO&x=%C3%A9", **fields))
    assert "/admin/catalog/product?code=PORTFOLIO&x=%C3%A9" in boss.read(kept)
    assert send_again(boss, kept).status_code == 200
    assert fields["description"].replace("\r\n", "\n") in boss.read("/admin/catalog/product?code=PORTFOLIO").value(
        "description"
    ).replace("\r\n", "\n")


def test_a_long_value_is_shown_in_part_and_sent_whole(boss, services):
    services.accounts.add("zoe", "analyst", ["A"], PASSWORD)
    customers = "\n".join(f"CUSTOMER-{number}" for number in range(200))
    path = f"/admin/people/{key('zoe')}"
    kept = sign_in_at(boss, send_late(boss, path, role="analyst", customers=customers))
    assert "more characters" in boss.read(kept)
    send_again(boss, kept)
    assert Account.get(Account.name == "zoe").customers == customers.split("\n")
