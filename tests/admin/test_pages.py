"""What holds for every page: its headers, its errors, and that nothing in it is taken for markup."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from tests.support.client import event

CORPUS = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    '" autofocus onfocus=alert(1) x="',
    "' onmouseover='alert(1)",
    "</title><svg/onload=alert(1)>",
    "{{ 7*7 }}{% raise %}",
    "javascript:alert(1)",
    "\u202e\u2066evil",
    "<!-- --><style>*{}</style>",
]


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """How pages are put together does not depend on the database."""
    return sqlite_url


class Markup(HTMLParser):
    """What a browser would run or style: elements and attributes that a page must not have inline."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        wrong = [name for name in given if name.startswith("on") or name == "style"]
        if tag in ("style", "iframe", "img", "object") or (tag == "script" and "src" not in given) or wrong:
            self.found.append(self.get_starttag_text())
        for name in ("href", "src", "action"):
            value = given.get(name) or "/"
            if not value.startswith(("/", "#")) or value.startswith("//"):
                self.found.append(self.get_starttag_text())


def inline(page: str) -> list[str]:
    parser = Markup()
    parser.feed(page)
    return parser.found


@pytest.fixture
def pages(admin, app) -> list[str]:
    """Every page that can be looked at, with what the corpus brings."""
    admin.send(*[event(customer=text, product=text, type=text, context=[text]) for text in CORPUS], event())
    job, _ = admin.run_report(customer=CORPUS[0], product=CORPUS[1], types=CORPUS)
    return [path for path in addresses(app, job["source"]) if not path.endswith("/download")]


def addresses(app, source: str) -> list[str]:
    """Whatever of the dashboard can be asked for, with that report's source, and 1 for what else is wanted."""
    rules = [rule for rule in app.url_map.iter_rules() if rule.endpoint.startswith("admin.") and "GET" in rule.methods]
    wanted = {"source": source, "word": "type", "act": "delete", "uuid": "6ba7b810-9dad-11d1-80b4-00c04fd430c8"}
    return [
        re.sub(r"<(?:\w+(?:\([^)]*\))?:)?(\w+)>", lambda name: wanted.get(name[1], "1"), rule.rule) for rule in rules
    ]


def test_every_page_asks_for_a_session(app, visitor):
    asked = addresses(app, "JOB-1")
    asked.remove("/admin/sign-in")
    assert len(asked) > 6
    for path in asked:
        assert visitor.get(path).headers["Location"].startswith("/admin/sign-in"), path


def test_every_page_forbids_what_it_does_not_need(boss, visitor, pages):
    for page in [*pages, "/admin/nothing"]:
        for somebody in (boss, visitor):
            headers = somebody.get(page).headers
            policy = headers["Content-Security-Policy"]
            assert policy.startswith("default-src 'self'; img-src 'self' data:;")
            assert "frame-ancestors 'none'" in policy
            assert "unsafe" not in policy
            assert headers["X-Content-Type-Options"] == "nosniff"
            assert headers["Referrer-Policy"] == "same-origin"
            assert headers["Cache-Control"] == "private, no-store"


def test_styles_and_scripts_are_not_sniffed(visitor):
    for path in ("/static/style.css", "/static/live.js", "/bootstrap/static/css/bootstrap.min.css"):
        answer = visitor.get(path)
        assert answer.status_code == 200
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        answer.close()


def test_nothing_of_an_event_or_a_report_becomes_markup(boss, pages):
    for page in pages:
        answer = boss.get(page)
        if answer.mimetype != "text/html":
            continue  # the audit log as CSV is no page
        text = answer.get_data(as_text=True)
        assert inline(text) == [], page
        assert "alert(1)</script>" not in text


def test_what_looks_like_markup_is_shown_as_it_came(boss, pages):
    text = boss.see("/admin/")
    for one in CORPUS:
        assert one in text


def test_bidirectional_text_stays_in_its_place(boss, pages):
    assert f"<bdi>{CORPUS[7]}</bdi>" in boss.see("/admin/")


def test_no_script_is_needed(boss, pages):
    """Links are links and forms are forms; no button waits for a script but those that copy."""
    for page in pages:
        text = boss.get(page).get_data(as_text=True)
        buttons = re.findall(r"<button[^>]*>", text)
        assert all('type="submit"' in button or "with-script" in button for button in buttons)


@pytest.mark.parametrize("path", ["/admin/nothing", "/admin/reports/x/y/z", "/static/nothing.css"])
def test_what_is_not_there_is_told_on_a_page(boss, visitor, path):
    for somebody in (boss, visitor):
        answer = somebody.get(path)
        assert answer.status_code == 404
        assert answer.mimetype == "text/html"
        assert "Page not found" in answer.get_data(as_text=True)


def test_whoever_is_signed_in_keeps_the_left_bar_on_an_error(boss, visitor):
    assert 'class="side"' in boss.get("/admin/nothing").get_data(as_text=True)
    assert 'class="side"' not in visitor.get("/admin/nothing").get_data(as_text=True)


def test_another_verb_is_told_on_a_page_with_what_is_allowed(boss):
    answer = boss.get("/admin/sign-out")
    assert answer.status_code == 405
    assert answer.headers["Allow"] == "OPTIONS, POST"
    assert answer.mimetype == "text/html"


def test_a_fault_of_ours_is_told_without_its_insides(boss, services, monkeypatch):
    monkeypatch.setattr(services.listing, "arrivals", lambda *_: 1 / 0)
    answer = boss.get("/admin/", headers={"X-Request-ID": "abc-1"})
    assert answer.status_code == 500
    page = answer.get_data(as_text=True)
    assert "Internal error" in page
    assert "abc-1" in page
    assert "ZeroDivisionError" not in page


def test_a_database_that_is_away_is_told_on_a_page(boss, services, monkeypatch):
    from app.exceptions import StoreUnavailable

    def away(*_, **__):
        raise StoreUnavailable("The database cannot be reached.")

    monkeypatch.setattr(services.sessions, "find", away)
    answer = boss.get("/admin/")
    assert answer.status_code == 503
    assert answer.headers["Retry-After"]
    text = answer.get_data(as_text=True)
    assert "Temporarily unavailable" in text
    assert "The database cannot be reached." in text


def test_the_apis_errors_stay_json(nobody):
    assert nobody.get("/nothing").content_type == "application/json"
    assert "Content-Security-Policy" not in nobody.get("/nothing").headers
