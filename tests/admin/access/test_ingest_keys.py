"""The page of ingest keys: for admins only, a key shown once, and revoked after a question."""

from __future__ import annotations

import re

import pytest

from tests.admin.conftest import Visitor
from tests.conftest import PASSWORD

TOKEN = re.compile(r"tally_[A-Za-z0-9_-]{43}")
NEW = "/admin/keys/new"


@pytest.fixture(autouse=True)
def quiet(services):
    """No use is still being noted when the database of the next test comes."""
    yield
    services.ingest_keys.flush()


@pytest.fixture
def olga(app, operator) -> Visitor:
    """The operator, signed in."""
    return Visitor(app).sign_in("olga")


def words(page: str) -> str:
    """What stands on a page, without its markup."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", page))


def test_admins_find_the_page_beside_the_users_and_others_do_not(boss, olga, anna):
    assert 'href="/admin/keys"' in boss.see("/admin/people")
    for other in (olga, anna):
        assert "/admin/keys" not in other.see("/admin/")


def test_the_page_and_its_forms_are_for_admins_only(olga, anna, boss, services):
    key, _ = services.ingest_keys.add("web")
    for other in (olga, anna):
        for path in ("/admin/keys", NEW, f"/admin/keys/{key.id}/revoke"):
            assert other.get(path).status_code == 403
        for path in (NEW, f"/admin/keys/{key.id}/revoke"):
            assert other.send(path, {"name": "mine"}, form="/admin/").status_code == 403
    assert [(one.name, one.revoked) for one in services.ingest_keys.all()] == [("web", None)]


def test_without_a_key_the_page_says_what_to_do(boss):
    page = boss.see("/admin/keys")
    assert "No keys yet." in page
    assert f'href="{NEW}"' in page
    assert "Anyone can send events because" in page


@pytest.mark.settings(ingest_auth="key")
def test_where_a_key_is_asked_for_and_there_is_none_the_page_warns(boss, services):
    assert "No events are accepted because" in boss.see("/admin/keys")
    services.ingest_keys.add("web")
    page = boss.see("/admin/keys")
    assert "No events are accepted because" not in page
    assert "1 in use. Events are accepted only with a key." in words(page)


def test_a_key_is_shown_once(boss, services):
    answer = boss.send(NEW, {"name": "web", "customers": "BARCHART\r\n\r\n FERNHILL ", "products": ""})
    assert answer.status_code == 200
    assert answer.headers["Cache-Control"] == "private, no-store"
    token = TOKEN.search(answer.get_data(as_text=True))[0]
    key = services.ingest_keys.verify(token)
    assert (key.name, key.customers, key.products) == ("web", ("BARCHART", "FERNHILL"), None)
    assert "the customers BARCHART, FERNHILL and all products" in words(answer.get_data(as_text=True))
    assert not TOKEN.search(boss.see("/admin/keys"))


def test_the_command_shown_with_a_key_sends_what_the_key_may_send(boss):
    page = boss.send(NEW, {"name": "web", "customers": "O'NEILL", "products": "WATCHLIST"}).get_data(as_text=True)
    assert "Authorization: Bearer tally_" in page
    assert '"customer": "O\\u0027NEILL"' in page.replace("&#34;", '"')
    assert '"product": "WATCHLIST"' in page.replace("&#34;", '"')


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"name": " "}, "Name is missing."),
        ({"name": "n" * 129}, "Name has 129 characters; it must be a string of 1 to 128 characters"),
        ({"name": "web", "products": "P\r\n" + "p" * 129}, "Products, line 2, has 129 characters"),
        ({"name": "taken"}, 'Name is "taken", and a key of that name is in use.'),
    ],
)
def test_what_is_wrong_is_said_beside_its_field(boss, services, fields, said):
    services.ingest_keys.add("taken")
    answer = boss.send(NEW, {"customers": "KEPT"} | fields)
    assert answer.status_code == 400
    page = words(answer.get_data(as_text=True).replace("&#34;", '"'))
    assert said in page
    assert "KEPT" in page  # what was filled in stays
    assert len(services.ingest_keys.all()) == 1


def test_keys_are_listed_with_their_last_use(boss, services):
    _, token = services.ingest_keys.add("web", ["BARCHART"])
    services.ingest_keys.add("never")
    services.ingest_keys.verify(token)
    services.ingest_keys.flush()
    rows = [words(row) for row in boss.see("/admin/keys").split("<tr>")[2:]]
    assert ["never" in rows[0], "In use" in rows[0], "All All" in rows[0], "Never" in rows[0]] == [True] * 4
    assert "BARCHART" in rows[1]
    assert re.search(r"just now|seconds? ago", rows[1])


def test_before_a_key_is_revoked_it_is_said_what_goes(boss, services):
    key, token = services.ingest_keys.add("web", ["BARCHART"], ["PORTFOLIO"])
    page = words(boss.see(f"/admin/keys/{key.id}/revoke"))
    assert "Revoke web?" in page
    assert "never used" in page
    assert "nobody can use it to send events of the customer BARCHART and the product PORTFOLIO" in page
    assert services.ingest_keys.verify(token)


def test_a_key_is_revoked(boss, services):
    key, token = services.ingest_keys.add("web")
    answer = boss.send(f"/admin/keys/{key.id}/revoke", {})
    assert answer.headers["Location"] == "/admin/keys"
    assert services.ingest_keys.verify(token) is None
    page = words(boss.see("/admin/keys"))
    assert "web is revoked." in page
    assert "Revoked" in page


def test_a_form_without_the_token_of_its_session_changes_nothing(boss, services):
    key, _ = services.ingest_keys.add("web")
    for path in (NEW, f"/admin/keys/{key.id}/revoke"):
        assert boss.post(path, {"name": "forged"}).status_code == 400
    assert [(one.name, one.revoked) for one in services.ingest_keys.all()] == [("web", None)]


@pytest.mark.parametrize("key", ["999", "0", "-1", "x", "9" * 30, "²"])
def test_a_key_that_there_is_not_is_told_on_a_page(boss, key):
    assert boss.get(f"/admin/keys/{key}/revoke").status_code == 404
    assert boss.send(f"/admin/keys/{key}/revoke", {}, form="/admin/").status_code == 404


def test_a_key_is_revoked_once(boss, services):
    key, _ = services.ingest_keys.add("web")
    path = f"/admin/keys/{key.id}/revoke"
    boss.send(path, {})
    answer = boss.send(path, {}, form="/admin/")
    assert answer.status_code == 404
    assert "revoked already" in answer.get_data(as_text=True)


def test_names_and_codes_are_text(boss, services):
    services.ingest_keys.add("<script>alert(1)</script>", ["<img src=x>"])
    page = boss.get("/admin/keys").get_data(as_text=True)
    assert "<script>alert" not in page
    assert "<img" not in page


class TestAnAdminOfSomeCustomers:
    @pytest.fixture
    def ada(self, app, services) -> Visitor:
        services.accounts.add("ada", "admin", ["BARCHART"], PASSWORD)
        return Visitor(app).sign_in("ada")

    def test_sees_and_revokes_only_keys_for_those(self, ada, services):
        ours, *others = (
            services.ingest_keys.add(name, codes)[0]
            for name, codes in (("ours", ["BARCHART"]), ("theirs", ["FERNHILL"]), ("everybody's", []))
        )
        page = words(ada.see("/admin/keys"))
        assert "ours" in page
        assert "theirs" not in page
        assert "everybody" not in page
        for key in others:
            assert ada.get(f"/admin/keys/{key.id}/revoke").status_code == 404
            assert ada.send(f"/admin/keys/{key.id}/revoke", {}, form="/admin/me").status_code == 404
        assert ada.send(f"/admin/keys/{ours.id}/revoke", {}).status_code == 302
        assert [key.name for key in services.ingest_keys.all() if key.revoked] == ["ours"]

    @pytest.mark.parametrize("customers", ["", "FERNHILL", "BARCHART\r\nFERNHILL"])
    def test_makes_none_that_sends_for_others(self, ada, services, customers):
        answer = ada.send(NEW, {"name": "mine", "customers": customers})
        assert answer.status_code == 400
        told = "Customers must name some of those that you see: BARCHART." if customers else "Customers is missing."
        assert told in answer.get_data(as_text=True)
        assert services.ingest_keys.all() == []
        assert ada.send(NEW, {"name": "mine", "customers": "BARCHART"}).status_code == 200
