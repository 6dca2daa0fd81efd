"""Host names that the service accepts, and proxies that it trusts about the origin of a request."""

from __future__ import annotations

import pytest

from app.store.models import AuditEntry, RejectedEvent
from tests.admin.conftest import Visitor
from tests.conftest import PASSWORD
from tests.support.client import event, root

named = pytest.mark.settings(trusted_hosts=("tally.example", ".example.org", "[::1]"))
FORWARDED = {"X-Forwarded-For": "198.51.100.66, 203.0.113.5", "X-Forwarded-Proto": "https"}


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """Use SQLite, because hosts and addresses are checked before the database is used."""
    return sqlite_url


class TestHosts:
    @named
    @pytest.mark.parametrize(
        "host",
        ["tally.example", "TALLY.example:8000", "example.org", "a.b.example.org:443", "[::1]:8000", "tally.example:"],
    )
    def test_trusted_hosts_are_answered(self, nobody, visitor, host):
        assert nobody.get("/system/version", headers={"Host": host}).status_code == 200
        assert visitor.get("/admin/sign-in", headers={"Host": host}).status_code == 200

    @named
    @pytest.mark.parametrize(
        "host",
        [
            "evil.example",
            "tally.example.evil.example",
            "eviltally.example",
            "evilexample.org",
            "tally.example@evil.example",
            "tally.example:80@evil.example",
            "127.0.0.1:8000",
            "[::2]",
            "",
        ],
    )
    def test_other_hosts_are_refused(self, nobody, visitor, admin, host):
        headers = {"Host": host}
        for answer in (
            nobody.get("/system/version", headers=headers),
            nobody.post("/events", [event()], headers=headers),
            admin.get("/reports", headers=headers),
        ):
            assert answer.status_code == 400
            assert root(answer) == "REQUEST_INPUT_MALFORMED"
            assert "is not one of this service" in answer.get_json()[0]["value"]["message"]
        for path in ("/admin/", "/admin/sign-in", "/"):
            page = visitor.get(path, headers=headers)
            assert page.status_code == 400
            assert page.mimetype == "text/html"

    @named
    def test_a_load_balancer_may_request_the_health_by_address(self, nobody):
        assert nobody.get("/health/live", headers={"Host": "10.0.0.7:8000"}).status_code == 200

    def test_by_default_any_host_is_accepted(self, nobody):
        assert nobody.get("/system/version", headers={"Host": "10.0.0.7:8000"}).status_code == 200

    @pytest.mark.parametrize(
        "host", ["a b", "a\tb", "<script>", "a/b", "tally.example:99999999", "[", "é", "a..b", "x" * 64]
    )
    def test_an_invalid_host_breaks_nothing(self, nobody, visitor, host):
        assert nobody.get("/system/version", headers={"Host": host}).status_code in (200, 400)
        for path in ("/admin/", "/admin/sign-in", "/"):
            page = visitor.get(path, headers={"Host": host})
            assert page.status_code < 500
            assert "<script>alert" not in page.get_data(as_text=True)

    def test_links_are_never_built_from_the_host_header(self, admin, nobody):
        nobody.send(event())
        job, _ = admin.run_report()
        for accept in ("application/json", "text/csv"):
            answer = admin.get(f"/reports/{job['source']}", headers={"Host": "evil.example", "Accept": accept})
            assert "evil.example" not in answer.get_data(as_text=True) + answer.headers.get("Location", "")


class TestProxies:
    def recorded_address(self, nobody) -> str:
        """Return the address that a rejected event is recorded with."""
        nobody.post("/events", [event(timestamp=-1)], headers=FORWARDED)
        nobody.app.extensions["services"].rejected.flush()
        return RejectedEvent.select().order_by(RejectedEvent.id.desc()).get().address

    def test_by_default_no_proxy_is_trusted(self, nobody):
        assert self.recorded_address(nobody) == "127.0.0.0/24"

    @pytest.mark.settings(trusted_proxies=1)
    def test_one_proxy_determines_the_last_address(self, nobody):
        assert self.recorded_address(nobody) == "203.0.113.0/24"

    @pytest.mark.settings(trusted_proxies=1)
    @pytest.mark.parametrize(
        ("said", "address"),
        [
            ("203.0.113.5:4711", "203.0.113.0/24"),
            ("[2001:db8:1:2::3]:4711", "2001:db8:1::/48"),
            ("[2001:db8:1:2::3]", "2001:db8:1::/48"),
            ("2001:db8:1:2::3", "2001:db8:1::/48"),
        ],
    )
    def test_a_proxy_may_send_the_port_too(self, nobody, said, address):
        nobody.post("/events", [event(timestamp=-1)], headers={"X-Forwarded-For": said})
        nobody.app.extensions["services"].rejected.flush()
        assert RejectedEvent.get().address == address

    @pytest.mark.settings(trusted_proxies=2)
    def test_with_two_proxies_the_address_before_the_last_counts(self, nobody):
        assert self.recorded_address(nobody) == "198.51.100.0/24"

    @pytest.mark.settings(trusted_proxies=3)
    def test_fewer_addresses_than_proxies_are_not_trusted(self, nobody):
        assert self.recorded_address(nobody) == "127.0.0.0/24"

    @pytest.mark.settings(trusted_proxies=1)
    def test_the_audit_log_and_the_throttle_use_the_clients_address(self, app, admin):
        for number in (1, 2):
            somebody = Visitor(app)
            page = somebody.get("/admin/sign-in", headers=FORWARDED).get_data(as_text=True)
            token = page.split('name="csrf_token"')[1].split('value="')[1].split('"')[0]
            fields = {"user": "admin", "password": "wrong", "csrf_token": token}
            headers = {"X-Forwarded-For": f"203.0.113.{number}"}
            assert somebody.flask_client.post("/admin/sign-in", data=fields, headers=headers).status_code == 401
        failed = AuditEntry.select().where(AuditEntry.action == "sign-in failed").order_by(AuditEntry.id)
        assert [one.address for one in failed] == ["203.0.113.1", "203.0.113.2"]

    @pytest.mark.settings(trusted_proxies=1, rate_limit_address=1)
    def test_clients_behind_one_proxy_are_throttled_separately(self, nobody):
        statuses = [
            nobody.post("/events", [event()], headers={"X-Forwarded-For": address}).status_code
            for address in ("203.0.113.1", "203.0.113.2", "203.0.113.1")
        ]
        assert statuses == [200, 200, 429]

    @pytest.mark.settings(trusted_proxies=1)
    def test_no_header_of_a_proxy_changes_the_host(self, nobody, admin):
        headers = {"X-Forwarded-Host": "evil.example", "X-Forwarded-Prefix": "/evil", "X-Forwarded-Port": "1"}
        answer = Visitor(admin.app).get("/admin/", headers=headers | FORWARDED)
        assert answer.headers["Location"] == "/admin/sign-in?next=/admin/"
        assert PASSWORD not in answer.get_data(as_text=True)
