"""Saved views: filters under a name, personal or shared, which show only what their reader may see."""

from __future__ import annotations

import pytest

from app.services.people import saved_views
from app.store.models import AuditEntry, SavedView
from tests.admin.conftest import Visitor, key
from tests.support.client import event
from tests.support.page import Element, read

QUERY = "customer=BARCHART&range=24h"
EVENTS = f"/admin/events?{QUERY}"


def save(visitor: Visitor, name: str, address: str = EVENTS, **fields: str) -> str:
    """Save what a page shows by its menu, and return the address that the answer leads to."""
    form = visitor.read(address).link("Save this view")
    answer = visitor.send(form, {"name": name} | fields)
    assert answer.status_code == 302, read(answer).text
    return answer.location


def menu(page: Element) -> list[str]:
    """Return the lines of a page's menu."""
    return [line.text for line in page.first("details", class_="views").all("li")]


@pytest.mark.parametrize(
    "address",
    [EVENTS, "/admin/explore?by=type&range=24h", "/admin/reports?state=failed&text=x", "/admin/events?types=A&types=B"],
)
def test_a_view_is_saved_and_opened_with_its_relative_range(boss, address):
    assert save(boss, "Mine", address) == address
    page = boss.read(address.partition("?")[0])
    assert menu(page)[0] == "Mine Remove"
    assert page.link("Mine") == address
    assert "Save this view" not in boss.read(address)


def test_a_view_has_no_place_in_a_list(boss):
    save(boss, "Older", EVENTS + "&after=5-5")
    assert SavedView.get().query == QUERY


def test_the_form_shows_the_filter_in_words(boss):
    page = boss.read("/admin/me/views/new?page=explore&query=by%3Dcontext%253AuserId%26types%3DA")
    assert "The filter by: context:userId, types: A of the page Explore." in page


def test_a_page_without_a_filter_has_nothing_to_save(boss):
    assert menu(boss.read("/admin/events")) == ["None yet. Set a filter, then save it here."]


def test_a_view_is_personal_unless_it_is_shared(boss, anna):
    save(boss, "Mine")
    save(boss, "Ours", "/admin/events?product=P", is_shared="y")
    assert menu(boss.read("/admin/events")) == ["Mine Remove", "Ours shared Remove"]
    assert menu(anna.read("/admin/events")) == ["Ours by admin"]
    assert menu(anna.read("/admin/explore")) == ["None yet. Set a filter, then save it here."]
    entry = AuditEntry.get(AuditEntry.action == "view shared")
    assert (entry.object, entry.details) == ("view Ours", {"page": "events", "query": "product=P"})
    assert AuditEntry.select().where(AuditEntry.object.contains("Mine")).count() == 0


def test_a_shared_view_does_not_tell_of_customers_that_one_may_not_see(boss, anna):
    save(boss, "Theirs", "/admin/events?customer=SECRET", is_shared="y")
    assert "Theirs" not in anna.see("/admin/events")
    assert anna.get(f"/admin/me/views/{SavedView.get().id}/remove").status_code == 404


def test_a_text_that_is_the_code_of_a_hidden_customer_tells_nothing_of_it(boss, anna, nobody, services):
    """Lists of reports link a customer as a text."""
    nobody.send(event(customer="SECRET"), event(customer="BARCHART"))
    services.scheduler.run_all()
    for text in ("SECRET", "BARCHART", "weekly"):
        save(boss, f"All of {text}", f"/admin/reports?text={text}", is_shared="y")
    assert menu(anna.read("/admin/reports")) == ["All of BARCHART by admin", "All of weekly by admin"]
    hidden = SavedView.get(SavedView.name == "All of SECRET")
    assert anna.get(f"/admin/me/views/{hidden.id}/remove").status_code == 404


@pytest.mark.parametrize(("name", "fault"), [(" ", "Name is missing."), ("x" * 129, "1 to 128 characters")])
def test_an_invalid_name_is_a_fault_of_its_field(boss, name, fault):
    answer = boss.send(boss.read(EVENTS).link("Save this view"), {"name": name})
    assert answer.status_code == 400
    assert fault in read(answer).wrong("name")


def test_a_name_is_unique_for_a_user_and_a_page(boss, anna):
    save(boss, "Week")
    form = boss.read("/admin/events?product=P").link("Save this view")
    assert "which another of your views of this page has" in read(boss.send(form, {"name": "Week"})).wrong("name")
    save(boss, "Week", "/admin/reports?state=failed")
    save(anna, "Week")


def test_a_user_has_at_most_a_hundred_views(boss, monkeypatch):
    monkeypatch.setattr(saved_views, "MAX_VIEWS", 1)
    save(boss, "First")
    answer = boss.send(boss.read("/admin/events?product=P").link("Save this view"), {"name": "Second"})
    assert (answer.status_code, "You have 1 saved views, which is the maximum." in read(answer)) == (400, True)


@pytest.mark.parametrize("query", ["", "x" * 9_000])
def test_a_query_that_cannot_be_opened_is_not_saved(boss, query):
    answer = boss.send("/admin/me/views/new?page=events&query=" + (query and f"text={query}"), {"name": "Wrong"})
    assert (answer.status_code, "it must have 1 to 8,000" in read(answer)) == (400, True)


def test_a_query_with_a_character_that_no_database_looks_up_is_not_saved(boss):
    answer = boss.send("/admin/me/views/new?page=reports&query=text%3D%2500", {"name": "Wrong"})
    assert (answer.status_code, "The filter has a NUL character" in read(answer)) == (400, True)


def test_only_pages_with_a_filter_have_views(boss):
    assert boss.get("/admin/me/views/new?page=system&query=a=b").status_code == 404


class TestRemoval:
    def test_a_user_removes_an_own_view(self, boss):
        save(boss, "Mine")
        form = boss.read("/admin/me").link_to(".*/views/")
        assert "Remove the view Mine?" in boss.read(form)
        assert boss.send(form, {}).location == EVENTS
        assert SavedView.select().count() == 0

    def test_only_an_admin_removes_a_shared_view_of_another_user(self, boss, anna, olga):
        save(anna, "Ours", is_shared="y")
        form = f"/admin/me/views/{SavedView.get().id}/remove"
        assert "Remove" not in menu(olga.read("/admin/events"))[0]
        assert olga.send(form, {}).status_code == 403
        boss.send(form, {})
        assert SavedView.select().count() == 0
        assert AuditEntry.get(AuditEntry.action == "shared view removed").details["owner"] == "anna"

    def test_the_views_of_a_removed_user_are_removed(self, boss, anna):
        save(anna, "Ours", is_shared="y")
        save(boss, "Mine")
        boss.send(f"/admin/people/{key('anna')}/remove", {})
        assert [view.name for view in SavedView.select()] == ["Mine"]
