"""Properties of every page: login, errors, left bar, refreshing parts, and no inline markup."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from app.exceptions import StoreUnavailable
from app.services.people.principal import SYSTEM
from app.store.models import Alert, AlertChannel
from tests.support.client import event
from tests.support.page import read

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
    """Use SQLite, because rendering does not depend on the database."""
    return sqlite_url


def inline(page: str) -> list[str]:
    """Return the elements that a browser would run or style, which a page must not contain."""
    elements = []
    for element in read(page):
        forbidden = [name for name in element.attributes if name.startswith("on") or name == "style"]
        for name in ("href", "src", "action"):
            value = element[name] or "/"
            forbidden += [] if value.startswith(("/", "#")) and not value.startswith("//") else [name]
        if (
            element.tag in ("style", "iframe", "img", "object")
            or (element.tag == "script" and element["src"] is None)
            or forbidden
        ):
            elements.append(f"{element.tag} {element.attributes}")
    return elements


@pytest.fixture
def pages(admin, app) -> list[str]:
    """Store the corpus as events and a report, and return the path of every page."""
    admin.send(*[event(customer=text, product=text, type=text, context=[text]) for text in CORPUS], event())
    job, _ = admin.run_report(customer=CORPUS[0], product=CORPUS[1], types=CORPUS)
    return [path for path in addresses(app, job["source"]) if not path.endswith("/download")]


def addresses(app, source: str) -> list[str]:
    """Return the path of every GET route, with the report's source, and 1 for other variables."""
    rules = [rule for rule in app.url_map.iter_rules() if rule.endpoint.startswith("admin.") and "GET" in rule.methods]
    values = {"source": source, "word": "type", "act": "delete", "uuid": "6ba7b810-9dad-11d1-80b4-00c04fd430c8"}
    return [
        re.sub(r"<(?:\w+(?:\([^)]*\))?:)?(\w+)>", lambda name: values.get(name[1], "1"), rule.rule) for rule in rules
    ]


def test_every_page_requires_a_session(app, visitor):
    without = {"/admin/sign-in", "/admin/unsubscribe/1"}  # the second one has a signed address
    paths = set(addresses(app, "JOB-1")) - without
    assert len(paths) > 6
    for path in paths:
        assert visitor.get(path).headers["Location"].startswith("/admin/sign-in"), path


def test_styles_and_scripts_are_not_sniffed(visitor):
    for path in ("/static/style.css", "/static/live.js", "/bootstrap/static/css/bootstrap.min.css"):
        answer = visitor.get(path)
        assert answer.status_code == 200
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        answer.close()


def test_text_that_looks_like_markup_is_shown_as_received(boss, pages):
    """`bdi` isolates right-to-left text."""
    isolated = [element.content for element in boss.read("/admin/").all("bdi")]
    for text in CORPUS:
        assert text in isolated


def test_sentences_of_consecutive_lines_of_a_template_are_apart():
    """Jinja removes the line break after a block and the blanks before one."""
    glued = re.compile(r"[.?!]\{% endif %}\n *\{% if [^%]*%}[A-Z]")
    templates = list((Path(__file__).parents[2] / "templates").rglob("*.html"))
    assert len(templates) > 50
    assert [(one.name, found) for one in templates for found in glued.findall(one.read_text())] == []


def test_no_script_is_needed(boss, pages):
    """Every button submits a form or is hidden without scripts."""
    for page in pages:
        buttons = read(boss.get(page)).all("button")
        assert all(element["type"] == "submit" or "with-script" in element["class"] for element in buttons), page


@pytest.mark.parametrize(
    ("path", "item"),
    [
        ("", "Overview"),
        ("events", "Events"),
        ("events/1", "Events"),
        ("reports", "Reports"),
        ("reports/new", "Reports"),
        ("reports/recurring", "Reports"),
        ("rejected", "Rejected"),
        ("rejected/by/event", "Rejected"),
        ("catalog/types", "Catalog"),
        ("people/new", "People"),
        ("tokens", "People"),
        ("keys", "People"),
        ("audit", "People"),
        ("system", "System"),
        ("system/settings", "System"),
        ("system/versions", "System"),
        ("me", None),
    ],
)
def test_the_left_bar_marks_the_current_section(boss, admin, path, item):
    admin.send(event())
    bar = boss.read(f"/admin/{path}").first("nav", aria_label="Main")
    assert [element.text for element in bar.all("a", aria_current="page")] == ([item] if item else [])


def test_the_left_bar_has_the_items_that_a_role_may_see(boss, olga, anna):
    everybody = ["Overview", "Events", "Explore", "Reports", "Alerts", "Catalog", "API"]
    items = {
        user: [element.text for element in user.read("/admin/").first("nav", aria_label="Main").all("a")]
        for user in (boss, olga, anna)
    }
    assert items[boss] == [*everybody[:5], "Rejected", "Catalog", "People", "System", "API"]
    assert items[olga] == [*everybody[:5], "Rejected", "Catalog", "System", "Audit log", "API"]
    assert items[anna] == everybody


@pytest.mark.settings(webhook_hosts=("hooks.example.com",))
def test_every_refreshing_part_matches_the_part_of_its_page(boss, pages, services):
    fields = {"name": "Daily", "recurrence": "daily", "hour": "6", "mode": "period"}
    answer = boss.send("/admin/reports/recurring/new", {"customer": "BARCHART", "product": "PORTFOLIO"} | fields)
    assert answer.status_code == 302
    alert = {"rule": 1, "rule_name": "R", "kind": "health", "subject": "disk", "state": "firing", "details": {}}
    words = dict.fromkeys(("customer", "product", "type", "title", "seen", "expected"), "")
    Alert.create(**alert, **words, **dict.fromkeys(("since_at", "pending_at", "checked_at"), 1))
    AlertChannel.create(name="Mail", addresses=["a@mail.example"], shown="a@mail.example", created_at=1, changed_at=1)
    services.webhooks.add(SYSTEM, {"name": "Hook", "url": "https://hooks.example.com/"})
    parts = [path for path in pages if path.endswith("/part")]
    assert len(parts) == 16
    for part in (*parts, "/admin/rejected/by/reason"):
        page = part.removesuffix("/part").removesuffix("/by/reason")
        page = "/admin/" if page == "/admin/overview" else page
        shown, live = boss.see(page), boss.see(part).strip()
        first = read(live).children[0]
        assert first["data-live"].partition("?")[0] == part
        assert "<html" not in live
        assert [element["data-live"] for element in read(shown).all(first.tag, data_live=first["data-live"])], part


@pytest.mark.parametrize("path", ["/admin/nothing", "/admin/reports/x/y/z", "/static/nothing.css"])
def test_an_unknown_path_gets_an_error_page(boss, visitor, path):
    for user in (boss, visitor):
        answer = user.get(path)
        assert answer.status_code == 404
        assert answer.mimetype == "text/html"
        assert "Page not found" in read(answer)


def test_error_pages_keep_the_left_bar_for_signed_in_users(boss, visitor):
    assert [len(read(user.get("/admin/nothing")).all(class_="side")) for user in (boss, visitor)] == [1, 0]


def test_another_method_is_rejected_with_the_allowed_methods(boss):
    answer = boss.get("/admin/sign-out")
    assert answer.status_code == 405
    assert answer.headers["Allow"] == "OPTIONS, POST"
    assert answer.mimetype == "text/html"


def test_an_internal_error_is_shown_without_details(boss, services, monkeypatch):
    monkeypatch.setattr(services.listing, "arrivals", lambda *_: 1 / 0)
    answer = boss.get("/admin/", headers={"X-Request-ID": "abc-1"})
    assert answer.status_code == 500
    assert "Internal error" in read(answer)
    assert "abc-1" in read(answer)
    assert "ZeroDivisionError" not in answer.get_data(as_text=True)


def test_an_unavailable_database_is_reported_on_a_page(boss, services, monkeypatch):
    def fail(*_, **__):
        raise StoreUnavailable("The database cannot be reached.")

    monkeypatch.setattr(services.sessions, "find", fail)
    answer = boss.get("/admin/")
    assert answer.status_code == 503
    assert answer.headers["Retry-After"]
    assert "Temporarily unavailable" in read(answer)
    assert "The database cannot be reached." in read(answer)


def test_errors_of_the_api_stay_json(nobody):
    assert nobody.get("/nothing").content_type == "application/json"
    assert "Content-Security-Policy" not in nobody.get("/nothing").headers
