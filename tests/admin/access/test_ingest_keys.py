"""Pages of ingest keys. tests/security/matrix.py tests which roles may use them."""

from __future__ import annotations

import re

import pytest

from tests.admin.conftest import Visitor
from tests.conftest import PASSWORD
from tests.support.page import read

TOKEN = re.compile(r"tally_[A-Za-z0-9_-]{43}")
PAGE, NEW = "/admin/keys", "/admin/keys/new"


@pytest.fixture(autouse=True)
def flush_uses(services):
    """Finish recording uses of keys before the next test gets its database."""
    yield
    services.ingest_keys.flush()


def test_the_users_page_links_to_the_keys(boss):
    assert PAGE in boss.read("/admin/people").links


def test_a_page_without_keys_explains_what_to_do(boss):
    page = boss.read(PAGE)
    assert "No keys yet." in page
    assert NEW in page.links
    assert "Anyone can send events because" in page


@pytest.mark.settings(ingest_auth="key")
def test_the_page_warns_if_keys_are_required_and_there_is_none(boss, services):
    assert "No events are accepted because" in boss.read(PAGE)
    services.ingest_keys.add("web")
    page = boss.read(PAGE)
    assert "No events are accepted because" not in page
    assert "1 in use. Events are accepted only with a key." in page


def test_a_key_is_shown_once(boss, services):
    answer = boss.send(NEW, {"name": "web", "customers": "BARCHART\r\n\r\n FERNHILL ", "products": ""})
    assert answer.status_code == 200
    key = services.ingest_keys.verify(read(answer).first(id="token").content)
    assert (key.name, key.customers, key.products) == ("web", ("BARCHART", "FERNHILL"), None)
    assert "the customers BARCHART, FERNHILL and all products" in read(answer)
    assert not TOKEN.search(boss.see(PAGE))


def test_the_command_shown_with_a_key_sends_what_the_key_may_send(boss):
    page = read(boss.send(NEW, {"name": "web", "customers": "O'NEILL", "products": "WATCHLIST"}))
    command = page.first(id="with-key").content
    assert "Authorization: Bearer tally_" in command
    assert '"customer": "O\\u0027NEILL"' in command
    assert '"product": "WATCHLIST"' in command


@pytest.mark.parametrize(
    ("fields", "field", "message"),
    [
        ({"name": " "}, "name", "Name is missing."),
        ({"name": "n" * 129}, "name", "Name has 129 characters; it must be a string of 1 to 128 characters"),
        ({"name": "web", "products": "P\r\n" + "p" * 129}, "products", "Products, line 2, has 129 characters"),
        ({"name": "taken"}, "name", 'Name is "taken", and a key of that name is in use.'),
    ],
)
def test_each_error_is_shown_beside_its_field_and_the_input_stays(boss, services, fields, field, message):
    services.ingest_keys.add("taken")
    answer = boss.send(NEW, {"customers": "KEPT"} | fields)
    assert answer.status_code == 400
    assert message in read(answer).wrong(field)
    assert read(answer).value("customers") == "KEPT"
    assert len(services.ingest_keys.all()) == 1


def test_keys_are_listed_with_their_last_use(boss, services):
    _, token = services.ingest_keys.add("web", ["BARCHART"])
    services.ingest_keys.add("never")
    services.ingest_keys.verify(token)
    services.ingest_keys.flush()
    never, web = (row.cells() for row in boss.read(PAGE).all("tr")[1:])
    assert never[1:5] == ["All", "All", "In use", "Never"]
    assert web[1:4] == ["BARCHART", "All", "In use"]
    assert re.search(r"just now|seconds? ago", web[4])


def test_a_key_is_revoked_once_after_a_confirmation(boss, services):
    key, token = services.ingest_keys.add("web", ["BARCHART"], ["PORTFOLIO"])
    path = f"{PAGE}/{key.id}/revoke"
    question = boss.read(path)
    assert "Revoke web?" in question
    assert "never used" in question
    assert "nobody can use it to send events of the customer BARCHART and the product PORTFOLIO" in question
    assert services.ingest_keys.verify(token)
    assert boss.send(path, {}).headers["Location"] == PAGE
    assert services.ingest_keys.verify(token) is None
    page = boss.read(PAGE)
    assert "web is revoked." in page
    assert "Revoked" in page.all("tr")[1].text
    again = boss.send(path, {}, form="/admin/")
    assert again.status_code == 404
    assert "revoked already" in read(again)


class TestALimitedAdmin:
    @pytest.fixture
    def ada(self, app, services) -> Visitor:
        services.accounts.add("ada", "admin", ["BARCHART"], PASSWORD)
        return Visitor(app).sign_in("ada")

    def test_sees_and_revokes_only_keys_of_their_customers(self, ada, services):
        visible, *hidden = (
            services.ingest_keys.add(name, codes)[0]
            for name, codes in (("ours", ["BARCHART"]), ("theirs", ["FERNHILL"]), ("everybody's", []))
        )
        page = ada.see(PAGE)
        assert "ours" in page
        assert "theirs" not in page
        assert "everybody" not in page
        for key in hidden:
            assert ada.get(f"{PAGE}/{key.id}/revoke").status_code == 404
            assert ada.send(f"{PAGE}/{key.id}/revoke", {}, form="/admin/me").status_code == 404
        assert ada.send(f"{PAGE}/{visible.id}/revoke", {}).status_code == 302
        assert [key.name for key in services.ingest_keys.all() if key.revoked_at] == ["ours"]

    @pytest.mark.parametrize("customers", ["", "FERNHILL", "BARCHART\r\nFERNHILL"])
    def test_cannot_create_a_key_for_other_customers(self, ada, services, customers):
        answer = ada.send(NEW, {"name": "mine", "customers": customers})
        assert answer.status_code == 400
        message = "Customers must name some of those that you see: BARCHART." if customers else "Customers is missing."
        assert message in read(answer).wrong("customers")
        assert services.ingest_keys.all() == []
        assert ada.send(NEW, {"name": "mine", "customers": "BARCHART"}).status_code == 200
