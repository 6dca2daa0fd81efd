"""`GET /reports/{source}` and the links that it gives: who gets which form, what a link opens, and until when."""

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
    return complete(admin, services)


def complete(client, services, **filter: object) -> str:
    client.send(event(context=["a", "b"]))
    job = client.start_report(**filter)
    services.runner.run(job["job"])
    return job["source"]


def link_of(client, source: str) -> str:
    """A link without the address of the service, which the test client cannot reach."""
    link = client.get(f"/reports/{source}", headers=JSON).get_json()["link"]
    assert link.startswith(f"{PUBLIC}/")
    return link.removeprefix(PUBLIC)


def changed(link: str, **changes: str) -> str:
    """A link with other query parameters; one changed to nothing is left out."""
    parts = urlsplit(link)
    query = {name: values[0] for name, values in parse_qs(parts.query).items()} | changes
    return urlunsplit(parts._replace(query="&".join(f"{name}={value}" for name, value in query.items() if value)))


class TestForm:
    def test_json_where_accept_allows_it(self, admin, source):
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

    def test_a_redirect_to_the_same_link_where_it_does_not(self, admin, source):
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
            assert urlsplit(location).path == urlsplit(link_of(admin, source)).path
            assert location.startswith(f"{PUBLIC}/")
            assert admin.get(location.removeprefix(PUBLIC)).status_code == 200

    def test_the_json_is_nothing_but_the_link(self, admin, source):
        answer = admin.get(f"/reports/{source}", headers=JSON)
        assert answer.get_data(as_text=True) == f'{{"link":"{answer.get_json()["link"]}"}}'

    def test_the_link_comes_from_public_url_whatever_the_request_says(self, admin, source):
        forged = {"Host": "evil.example", "X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "http"}
        forged |= {"Forwarded": "host=evil.example"}
        answer = admin.get(f"/reports/{source}", headers=JSON | forged, base_url="http://evil.example:81/")
        assert answer.get_json()["link"].startswith(f"{PUBLIC}/")
        answer = admin.get(f"/reports/{source}", headers=forged, base_url="http://evil.example:81/")
        assert answer.headers["Location"].startswith(f"{PUBLIC}/")

    def test_another_call_gives_another_link_and_both_work(self, admin, nobody, source):
        links = {link_of(admin, source) for _ in range(3)}
        assert len(links) == 3
        assert {nobody.get(link).get_data() for link in links} == {b"1793000000000|PORTFOLIO-APPLICATION-LOADED|a|b\n"}

    def test_no_link_is_given_without_credentials(self, nobody, source):
        assert nobody.get(f"/reports/{source}").status_code == 401


@pytest.mark.settings(public_url="https://tally.example/behind/a/path/")
def test_a_public_url_may_have_a_path(admin, services):
    source = complete(admin, services)
    link = admin.get(f"/reports/{source}", headers=JSON).get_json()["link"]
    assert link.startswith("https://tally.example/behind/a/path/files/")


class TestFile:
    def test_it_is_downloaded_without_credentials_any_number_of_times(self, admin, nobody, source):
        link = link_of(admin, source)
        for _ in range(3):
            answer = nobody.get(link)
            assert answer.status_code == 200
            assert answer.get_data() == b"1793000000000|PORTFOLIO-APPLICATION-LOADED|a|b\n"

    def test_it_is_named_by_its_product_and_days(self, admin, nobody, services):
        admin.send(event(product="ä/..\\b \"'\n".replace("\n", "")))
        source = complete(admin, services, start=0, end=1_793_000_000_000, product="ä/..\\b \"'")
        answer = nobody.get(link_of(admin, source))
        assert answer.headers["Content-Disposition"] == (
            "attachment; filename=_--..-b---_1970-01-01_2026-10-26.csv; "
            "filename*=UTF-8''%C3%A4-..-b%20-%27_1970-01-01_2026-10-26.csv"
        )


class TestExpiry:
    def test_a_link_works_for_15_minutes_from_its_own_call(self, admin, nobody, source, monkeypatch):
        began = now()
        link = link_of(admin, source)
        monkeypatch.setattr("app.services.reports.service.now", lambda: began + 15 * MINUTE_MS - 1)
        assert nobody.get(link).status_code == 200
        fresh = link_of(admin, source)
        monkeypatch.setattr("app.services.reports.service.now", lambda: now() + 15 * MINUTE_MS)
        answer = nobody.get(link)
        assert (answer.status_code, root(answer)) == (403, "REQUEST_AUTHORIZATION_FAILURE")
        assert "expired" in answer.get_json()[0]["value"]["message"]
        assert nobody.get(fresh).status_code == 200


class TestForgery:
    def test_a_changed_link_is_forbidden(self, admin, nobody, source):
        link = link_of(admin, source)
        expires = parse_qs(urlsplit(link).query)["expires"][0]
        signature = parse_qs(urlsplit(link).query)["signature"][0]
        for wrong in (
            changed(link, expires=str(int(expires) + 1)),
            changed(link, expires=f"0{expires}"),
            changed(link, expires=f"{expires}.0"),
            changed(link, expires="9" * 5000),
            changed(link, expires=""),
            changed(link, expires="never"),
            changed(link, expires="%D9%A3"),
            changed(link, nonce="x"),
            changed(link, nonce=""),
            changed(link, signature=""),
            changed(link, signature="x"),
            changed(link, signature=signature[:-1]),
            changed(link, signature="%00"),
            changed(link, signature="%C3%A9"),
            changed(link, signature="%ED%A0%80"),
            urlsplit(link).path,
        ):
            answer = nobody.get(wrong)
            assert (answer.status_code, root(answer)) == (403, "REQUEST_AUTHORIZATION_FAILURE"), wrong

    def test_no_other_spelling_of_the_signature_is_taken(self, admin, nobody, source):
        link = link_of(admin, source)
        signature = parse_qs(urlsplit(link).query)["signature"][0]
        last = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_".replace(signature[-1], "")
        spellings = [f"{signature}=", f"{signature}%21", *(f"{signature[:-1]}{letter}" for letter in last)]
        assert {nobody.get(changed(link, signature=one)).status_code for one in spellings} == {403}

    def test_a_link_opens_no_other_report(self, admin, nobody, services, source):
        other = complete(admin, services)
        link = link_of(admin, source)
        answer = nobody.get(link.replace(source, other))
        assert (answer.status_code, root(answer)) == (403, "REQUEST_AUTHORIZATION_FAILURE")

    def test_a_source_that_does_not_exist_is_forbidden_too(self, admin, nobody, source):
        link = link_of(admin, source)
        for name in (f"JOB-{'0' * 8}-0000-0000-0000-{'0' * 12}", "x", "..", "%00"):
            assert nobody.get(link.replace(source, name)).status_code == 403


class TestRemoval:
    @pytest.fixture
    def removed(self, admin, services, source, monkeypatch) -> tuple[str, str]:
        """A report whose file was removed when its time was up, and a link made before."""
        link = link_of(admin, source)
        monkeypatch.setattr("app.store.reports.reports.now", lambda: now() + 7 * 24 * 60 * MINUTE_MS + 1)
        services.reports.cleanup.clean_up()
        monkeypatch.undo()
        return source, link

    def test_a_link_to_it_is_gone(self, nobody, removed):
        answer = nobody.get(removed[1])
        assert (answer.status_code, root(answer)) == (410, "EVENT_JOB_GET_FAILED")

    def test_and_so_is_the_report_s_file_in_either_form(self, admin, removed):
        for headers in (JSON, {"Accept": "text/csv"}):
            answer = admin.get(f"/reports/{removed[0]}", headers=headers)
            assert (answer.status_code, root(answer)) == (410, "EVENT_JOB_GET_FAILED")

    def test_the_report_itself_is_still_there(self, admin, removed):
        assert admin.availability(removed[0])["status"] == "COMPLETE"

    def test_a_file_that_somebody_deleted_is_gone_too(self, admin, nobody, services, source, settings):
        link = link_of(admin, source)
        [file] = (settings.data_dir / "reports").iterdir()
        file.unlink()
        assert nobody.get(link).status_code == 410
        assert admin.get(f"/reports/{source}", headers=JSON).status_code == 410
