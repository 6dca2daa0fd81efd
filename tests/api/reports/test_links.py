"""`GET /reports/{source}` and its links: the form of the response, which file a link opens, and until when."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit, urlunsplit

import pytest

from app.support.clock import now
from tests.support.client import event, root

PUBLIC = "https://tally.example"
MINUTE_MS = 60_000
JSON = {"Accept": "application/json"}


@pytest.fixture
def source(admin, services) -> str:
    """A complete report."""
    return run_report(admin, services)


def run_report(client, services, **filter: object) -> str:
    client.send(event(context=["a", "b"]))
    job = client.start_report(**filter)
    services.runner.run(job["job"])
    return job["source"]


def fetch_link(client, source: str) -> str:
    """Return a link without the address of the service, which the test client cannot reach."""
    link = client.get(f"/reports/{source}", headers=JSON).get_json()["link"]
    assert link.startswith(f"{PUBLIC}/")
    return link.removeprefix(PUBLIC)


def modify_link(link: str, **changes: str) -> str:
    """Return a link with other query parameters, without those that are None."""
    parts = urlsplit(link)
    query = {name: values[0] for name, values in parse_qs(parts.query).items()} | changes
    return urlunsplit(parts._replace(query="&".join(f"{name}={value}" for name, value in query.items() if value)))


class TestForm:
    def test_json_if_accept_allows_it(self, admin, source):
        for accept in (
            "application/json",
            "*/*",
            "application/json, text/plain, */*",  # axios
            "application/*",
            "Application/JSON",
            "application/json; charset=utf-8",
            "application/json;charset=UTF-8;q=0.5",
            "text/csv, application/json;q=0.1",
            "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
        ):
            answer = admin.get(f"/reports/{source}", headers={"Accept": accept})
            assert answer.status_code == 200, accept
            assert list(answer.get_json()) == ["link"]

    def test_a_redirect_to_the_same_link_otherwise(self, admin, source):
        for headers in (
            {},
            {"Accept": "text/csv"},
            {"Accept": ""},
            {"Accept": "text/*"},
            {"Accept": "text/html"},
            {"Accept": "application/json;q=0"},
            {"Accept": "application/json;q=0, */*"},
            {"Accept": "text/csv, application/json;q=0.0"},
        ):
            answer = admin.get(f"/reports/{source}", headers=headers)
            assert answer.status_code == 302, headers
            location = answer.headers["Location"]
            assert urlsplit(location).path == urlsplit(fetch_link(admin, source)).path
            assert location.startswith(f"{PUBLIC}/")
            assert admin.get(location.removeprefix(PUBLIC)).status_code == 200

    def test_the_json_has_only_the_link(self, admin, source):
        answer = admin.get(f"/reports/{source}", headers=JSON)
        assert answer.get_data(as_text=True) == f'{{"link":"{answer.get_json()["link"]}"}}'

    def test_the_link_starts_with_public_url_and_not_the_request_s_host(self, admin, source):
        forged = {"Host": "evil.example", "X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "http"}
        forged |= {"Forwarded": "host=evil.example"}
        answer = admin.get(f"/reports/{source}", headers=JSON | forged, base_url="http://evil.example:81/")
        assert answer.get_json()["link"].startswith(f"{PUBLIC}/")
        answer = admin.get(f"/reports/{source}", headers=forged, base_url="http://evil.example:81/")
        assert answer.headers["Location"].startswith(f"{PUBLIC}/")

    def test_each_call_returns_a_new_link_and_all_work(self, admin, nobody, source):
        links = {fetch_link(admin, source) for _ in range(3)}
        assert len(links) == 3
        assert {nobody.get(link).get_data() for link in links} == {b"1793000000000|PORTFOLIO-APPLICATION-LOADED|a|b\n"}

    def test_without_credentials_there_is_no_link(self, nobody, source):
        assert nobody.get(f"/reports/{source}").status_code == 401


@pytest.mark.settings(public_url="https://tally.example/behind/a/path/")
def test_a_public_url_may_have_a_path(admin, services):
    source = run_report(admin, services)
    link = admin.get(f"/reports/{source}", headers=JSON).get_json()["link"]
    assert link.startswith("https://tally.example/behind/a/path/files/")


class TestFile:
    def test_it_can_be_downloaded_without_credentials_any_number_of_times(self, admin, nobody, source):
        link = fetch_link(admin, source)
        for _ in range(3):
            answer = nobody.get(link)
            assert answer.status_code == 200
            assert answer.get_data() == b"1793000000000|PORTFOLIO-APPLICATION-LOADED|a|b\n"

    def test_its_name_has_the_product_and_the_days(self, admin, nobody, services):
        admin.send(event(product="ä/..\\b \"'\n".replace("\n", "")))
        source = run_report(admin, services, start=0, end=1_793_000_000_000, product="ä/..\\b \"'")
        answer = nobody.get(fetch_link(admin, source))
        assert answer.headers["Content-Disposition"] == (
            "attachment; filename=_--..-b---_1970-01-01_2026-10-26.csv; "
            "filename*=UTF-8''%C3%A4-..-b%20-%27_1970-01-01_2026-10-26.csv"
        )


class TestExpiry:
    def test_a_link_works_for_15_minutes_from_its_creation(self, admin, nobody, source, monkeypatch):
        began = now()
        link = fetch_link(admin, source)
        monkeypatch.setattr("app.services.reports.service.now", lambda: began + 15 * MINUTE_MS - 1)
        assert nobody.get(link).status_code == 200
        fresh = fetch_link(admin, source)
        monkeypatch.setattr("app.services.reports.service.now", lambda: now() + 15 * MINUTE_MS)
        answer = nobody.get(link)
        assert (answer.status_code, root(answer)) == (403, "REQUEST_AUTHORIZATION_FAILURE")
        assert "expired" in answer.get_json()[0]["value"]["message"]
        assert nobody.get(fresh).status_code == 200


class TestForgery:
    def test_a_modified_link_is_forbidden(self, admin, nobody, source):
        link = fetch_link(admin, source)
        expires = parse_qs(urlsplit(link).query)["expires"][0]
        signature = parse_qs(urlsplit(link).query)["signature"][0]
        for wrong in (
            modify_link(link, expires=str(int(expires) + 1)),
            modify_link(link, expires=f"0{expires}"),
            modify_link(link, expires=f"{expires}.0"),
            modify_link(link, expires="9" * 5000),
            modify_link(link, expires=""),
            modify_link(link, expires="never"),
            modify_link(link, expires="%D9%A3"),
            modify_link(link, nonce="x"),
            modify_link(link, nonce=""),
            modify_link(link, signature=""),
            modify_link(link, signature="x"),
            modify_link(link, signature=signature[:-1]),
            modify_link(link, signature="%00"),
            modify_link(link, signature="%C3%A9"),
            modify_link(link, signature="%ED%A0%80"),
            urlsplit(link).path,
        ):
            answer = nobody.get(wrong)
            assert (answer.status_code, root(answer)) == (403, "REQUEST_AUTHORIZATION_FAILURE"), wrong

    def test_no_other_encoding_of_the_signature_is_accepted(self, admin, nobody, source):
        link = fetch_link(admin, source)
        signature = parse_qs(urlsplit(link).query)["signature"][0]
        last = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_".replace(signature[-1], "")
        spellings = [f"{signature}=", f"{signature}%21", *(f"{signature[:-1]}{letter}" for letter in last)]
        assert {nobody.get(modify_link(link, signature=one)).status_code for one in spellings} == {403}

    def test_a_link_does_not_open_another_report(self, admin, nobody, services, source):
        other = run_report(admin, services)
        link = fetch_link(admin, source)
        answer = nobody.get(link.replace(source, other))
        assert (answer.status_code, root(answer)) == (403, "REQUEST_AUTHORIZATION_FAILURE")

    def test_an_unknown_source_is_forbidden(self, admin, nobody, source):
        link = fetch_link(admin, source)
        for name in (f"JOB-{'0' * 8}-0000-0000-0000-{'0' * 12}", "x", "..", "%00"):
            assert nobody.get(link.replace(source, name)).status_code == 403


class TestRemoval:
    @pytest.fixture
    def removed(self, admin, services, source, monkeypatch) -> tuple[str, str]:
        """A report whose file expired, and a link created before."""
        link = fetch_link(admin, source)
        monkeypatch.setattr("app.store.reports.reports.now", lambda: now() + 7 * 24 * 60 * MINUTE_MS + 1)
        services.reports.cleanup.clean_up()
        monkeypatch.undo()
        return source, link

    def test_a_link_to_a_removed_file_is_gone(self, nobody, removed):
        answer = nobody.get(removed[1])
        assert (answer.status_code, root(answer)) == (410, "EVENT_JOB_GET_FAILED")

    def test_the_report_s_file_is_gone_in_both_forms(self, admin, removed):
        for headers in (JSON, {"Accept": "text/csv"}):
            answer = admin.get(f"/reports/{removed[0]}", headers=headers)
            assert (answer.status_code, root(answer)) == (410, "EVENT_JOB_GET_FAILED")

    def test_the_report_itself_remains(self, admin, removed):
        assert admin.availability(removed[0])["status"] == "COMPLETE"

    def test_a_manually_deleted_file_is_gone(self, admin, nobody, services, source, settings):
        link = fetch_link(admin, source)
        [file] = (settings.data_dir / "reports").iterdir()
        file.unlink()
        assert nobody.get(link).status_code == 410
        assert admin.get(f"/reports/{source}", headers=JSON).status_code == 410
