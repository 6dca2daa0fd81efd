"""`GET /files/…`: whole files, parts and conditional requests, from the local disk, through a proxy, or from S3."""

from __future__ import annotations

import hashlib
import re
import threading
from datetime import UTC, datetime
from email.utils import format_datetime
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from app.api import files
from app.exceptions import StorageFailed
from app.store.models import Report
from tests.support.client import event, root
from tests.support.s3 import STORAGE

DATABASE = "sqlite"  # the database plays no part in sending a file

JSON = {"Accept": "application/json"}
FILE = b"1793000000000|PORTFOLIO-APPLICATION-LOADED|a|b\n"


@pytest.fixture
def job(admin, services) -> str:
    """A complete report."""
    admin.send(event(context=["a", "b"]))
    job = admin.start_report()
    services.runner.run(job["job"])
    return job["job"]


@pytest.fixture
def link(admin, job) -> str:
    return fetch_link(admin, job)


def fetch_link(admin, job: str) -> str:
    return admin.get(f"/reports/JOB-{job}", headers=JSON).get_json()["link"].removeprefix("https://tally.example")


class TestWhole:
    def test_the_headers_describe_the_file(self, nobody, link, job):
        answer = nobody.get(link)
        assert (answer.status_code, answer.get_data()) == (200, FILE)
        assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
        assert re.fullmatch(
            r"attachment; filename=PORTFOLIO_until_[-0-9]{10}\.csv", answer.headers["Content-Disposition"]
        )
        assert answer.headers["Content-Length"] == str(len(FILE))
        assert answer.headers["ETag"] == f'"{hashlib.sha256(FILE).hexdigest()}"'
        ended = datetime.fromtimestamp(Report.get(Report.job == job).ended_at // 1000, UTC)
        assert answer.headers["Last-Modified"] == format_datetime(ended, usegmt=True)
        assert answer.headers["Accept-Ranges"] == "bytes"
        assert answer.headers["Cache-Control"] == "private, no-store"
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
        assert "ETag" in answer.headers["Access-Control-Expose-Headers"]

    @pytest.mark.parametrize(
        ("output", "kind", "ending"),
        [
            (None, "text/csv; charset=utf-8", "csv"),
            ({"compression": "none"}, "text/csv; charset=utf-8", "csv"),
            ({"compression": "gzip"}, "application/gzip", "csv.gz"),
            ({"format": "jsonl"}, "application/x-ndjson", "jsonl"),
            ({"format": "jsonl", "compression": "zstd"}, "application/zstd", "jsonl.zst"),
            ({"format": "parquet"}, "application/vnd.apache.parquet", "parquet"),
        ],
    )
    def test_type_and_name_depend_on_the_content(self, nobody, link, job, output, kind, ending):
        Report.update(output=output).where(Report.job == job).execute()
        answer = nobody.get(link)
        assert answer.headers["Content-Type"] == kind
        name = rf"attachment; filename=PORTFOLIO_until_[-0-9]{{10}}\.{ending}"
        assert re.fullmatch(name, answer.headers["Content-Disposition"])
        assert "Content-Encoding" not in answer.headers  # clients must save a compressed file as it is

    def test_a_head_request_returns_the_same_headers_without_the_file(self, nobody, link):
        head, get = nobody.request("HEAD", link), nobody.get(link)
        assert (head.status_code, head.get_data()) == (200, b"")
        varying = {"X-Request-ID", "Date"}
        assert {header for header in head.headers if header[0] not in varying} == {
            header for header in get.headers if header[0] not in varying
        }

    def test_a_head_request_ignores_ranges(self, nobody, link):
        head = nobody.request("HEAD", link, headers={"Range": "bytes=0-3"})
        assert (head.status_code, head.headers["Content-Length"]) == (200, str(len(FILE)))


class TestParts:
    @pytest.mark.parametrize(
        ("range", "first", "last"),
        [
            ("bytes=0-", 0, 46),
            ("bytes=0-0", 0, 0),
            ("bytes=5-9", 5, 9),
            ("bytes=46-46", 46, 46),
            ("bytes=40-4000", 40, 46),
            ("bytes=-7", 40, 46),
            ("bytes=-47", 0, 46),
        ],
    )
    def test_a_range_returns_that_part(self, nobody, link, range, first, last):
        answer = nobody.get(link, headers={"Range": range})
        assert (answer.status_code, answer.get_data()) == (206, FILE[first : last + 1])
        assert answer.headers["Content-Range"] == f"bytes {first}-{last}/47"
        assert answer.headers["Content-Length"] == str(last - first + 1)
        assert answer.headers["ETag"] == f'"{hashlib.sha256(FILE).hexdigest()}"'

    @pytest.mark.parametrize("range", ["bytes=47-", "bytes=1000-2000"])
    def test_a_range_beyond_the_end_is_not_satisfiable(self, nobody, link, range):
        answer = nobody.get(link, headers={"Range": range})
        assert (answer.status_code, root(answer)) == (416, "REQUEST_INPUT_MALFORMED")
        assert answer.headers["Content-Range"] == "bytes */47"

    @pytest.mark.parametrize(
        "range", ["bytes=0-3,7-9", "bytes=-48", "lines=1-2", "bytes", "bytes=9-5", "bytes=x-y", ""]
    )
    def test_any_other_range_returns_the_whole_file(self, nobody, link, range):
        answer = nobody.get(link, headers={"Range": range})
        assert (answer.status_code, answer.get_data()) == (200, FILE)

    def test_an_interrupted_download_resumes_if_the_file_is_unchanged(self, nobody, link):
        tag = nobody.get(link).headers["ETag"]
        same = nobody.get(link, headers={"Range": "bytes=40-", "If-Range": tag})
        assert (same.status_code, same.get_data()) == (206, FILE[40:])
        other = nobody.get(link, headers={"Range": "bytes=40-", "If-Range": '"another"'})
        assert (other.status_code, other.get_data()) == (200, FILE)


class TestConditional:
    def test_a_matching_etag_returns_304(self, nobody, link):
        tag = nobody.get(link).headers["ETag"]
        for value in (tag, f'"another", {tag}', "*", f"W/{tag}"):
            answer = nobody.get(link, headers={"If-None-Match": value})
            assert (answer.status_code, answer.get_data()) == (304, b"")
            assert answer.headers["ETag"] == tag
        assert nobody.get(link, headers={"If-None-Match": '"another"'}).get_data() == FILE

    def test_another_etag_than_if_match_names_returns_412_without_the_file(self, nobody, link):
        tag = nobody.get(link).headers["ETag"]
        assert nobody.get(link, headers={"If-Match": tag}).get_data() == FILE
        answer = nobody.get(link, headers={"If-Match": '"another"'})
        assert (answer.status_code, root(answer)) == (412, "REQUEST_INPUT_MALFORMED")
        assert FILE not in answer.get_data()

    def test_an_unmodified_file_returns_304(self, nobody, link):
        moment = nobody.get(link).headers["Last-Modified"]
        assert nobody.get(link, headers={"If-Modified-Since": moment}).status_code == 304
        assert nobody.get(link, headers={"If-Modified-Since": "Mon, 01 Jan 2024 00:00:00 GMT"}).status_code == 200


class TestSlots:
    """A slow client holds a thread, so downloads are limited and other requests find free threads."""

    @pytest.fixture(autouse=True)
    def two_slots(self, monkeypatch) -> None:
        monkeypatch.setattr(files, "download_slots", threading.BoundedSemaphore(2))

    def test_a_download_beyond_the_limit_is_429_with_a_retry_after(self, app, nobody, link):
        slow = [app.test_client().get(link, buffered=False) for _ in range(2)]
        answer = nobody.get(link)
        assert (answer.status_code, root(answer)) == (429, "REQUEST_RATE_LIMITED")
        assert answer.headers["Retry-After"] == "5"
        assert nobody.send(event())
        slow[0].close()
        assert nobody.get(link).get_data() == FILE
        slow[1].close()

    def test_every_download_releases_its_slot_however_it_ends(self, nobody, link):
        tag = nobody.get(link).headers["ETag"]
        for _ in range(3):
            nobody.get(link)
            nobody.request("HEAD", link)
            nobody.get(link, headers={"Range": "bytes=2-3"})
            nobody.get(link, headers={"Range": "bytes=100-"})
            nobody.get(link, headers={"If-None-Match": tag})
            nobody.get(link, headers={"If-Match": '"another"'})
            nobody.get(link + "x")
        assert files.download_slots._value == 2

    def test_a_download_whose_file_is_removed_in_between_releases_its_slot(
        self, nobody, link, settings, services, monkeypatch
    ):
        [file] = (settings.data_dir / "reports").iterdir()
        monkeypatch.setattr(services.reports.destinations.own, "size", lambda key: 47)
        monkeypatch.setattr(services.reports.destinations.own, "path", lambda key: file)
        file.unlink()
        assert (nobody.get(link).status_code, files.download_slots._value) == (410, 2)

    def test_a_discarded_response_releases_its_slot(self, nobody, link, settings):
        [file] = (settings.data_dir / "reports").iterdir()
        stream = files.Stream(file)
        assert files.download_slots._value == 1
        del stream
        assert files.download_slots._value == 2


class TestProxy:
    @pytest.mark.settings(sendfile="x-accel")
    def test_nginx_gets_the_file_s_internal_path(self, nobody, link, settings):
        answer = nobody.get(link)
        [file] = (settings.data_dir / "reports").iterdir()
        assert (answer.status_code, answer.get_data()) == (200, b"")
        assert answer.headers["X-Accel-Redirect"] == f"/report-files/{file.name}"
        assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
        assert re.fullmatch(
            r"attachment; filename=PORTFOLIO_until_[-0-9]{10}\.csv", answer.headers["Content-Disposition"]
        )
        assert answer.headers["Cache-Control"] == "private, no-store"

    @pytest.mark.settings(sendfile="x-accel", sendfile_prefix="/of/tally/")
    def test_the_prefix_of_that_path_is_configurable(self, nobody, link):
        assert nobody.get(link).headers["X-Accel-Redirect"].startswith("/of/tally/")

    @pytest.mark.settings(sendfile="x-sendfile")
    def test_x_sendfile_gets_the_path_on_disk(self, nobody, link, settings):
        [file] = (settings.data_dir / "reports").iterdir()
        answer = nobody.get(link)
        assert (answer.headers["X-Sendfile"], answer.get_data()) == (str(file.absolute()), b"")

    @pytest.mark.settings(sendfile="x-accel")
    def test_an_invalid_link_gets_no_path(self, nobody, link):
        answer = nobody.get(link + "x")
        assert (answer.status_code, "X-Accel-Redirect" in answer.headers) == (403, False)

    def test_without_the_setting_no_path_is_sent(self, nobody, link):
        assert not {"X-Accel-Redirect", "X-Sendfile"} & set(nobody.get(link).headers.keys())


class TestFromS3:
    def test_the_link_redirects_to_the_store_without_credentials(self, s3, nobody, link):
        answer = nobody.get(link)
        assert (answer.status_code, answer.headers["Cache-Control"]) == (302, "private, no-store")
        assert answer.headers["Location"].startswith(f"{s3.endpoint}/{STORAGE}/reports/")
        with urlopen(answer.headers["Location"]) as file:
            assert file.read() == FILE
            assert re.fullmatch(
                r'attachment; filename="PORTFOLIO_until_[-0-9]{10}\.csv"', file.headers["Content-Disposition"]
            )
            assert file.headers["Content-Type"] == "text/csv"

    def test_a_range_works_there(self, s3, nobody, link):
        location = nobody.get(link, headers={"Range": "bytes=5-9"}).headers["Location"]
        with urlopen(Request(location, headers={"Range": "bytes=5-9"})) as file:
            assert (file.status, file.read()) == (206, FILE[5:10])

    def test_a_head_request_is_answered_here_because_a_presigned_link_allows_only_get(self, s3, nobody, link):
        head = nobody.request("HEAD", link)
        assert (head.status_code, head.headers["Content-Length"]) == (200, "47")
        assert re.fullmatch(
            r"attachment; filename=PORTFOLIO_until_[-0-9]{10}\.csv", head.headers["Content-Disposition"]
        )

    def test_the_presigned_link_expires_soon_and_the_report_s_link_creates_another(self, s3, nobody, link, monkeypatch):
        monkeypatch.setattr("app.services.reports.service.LINK_SECONDS", -1)
        with pytest.raises(HTTPError, match="403"):
            urlopen(nobody.get(link).headers["Location"])
        monkeypatch.undo()
        with urlopen(nobody.get(link).headers["Location"]) as file:
            assert file.read() == FILE

    def test_a_file_removed_from_the_bucket_is_gone(self, s3, admin, nobody, link, job):
        [name] = s3.objects()
        s3.client.delete_object(Bucket=STORAGE, Key=name)
        assert nobody.get(link).status_code == 410
        assert admin.get(f"/reports/JOB-{job}", headers=JSON).status_code == 410

    def test_an_unavailable_store_is_503_until_it_is_back(self, s3, nobody, link, services, monkeypatch):
        def away(key: str) -> None:
            raise StorageFailed("The S3 store cannot be reached.")

        monkeypatch.setattr(services.reports.destinations.own, "size", away)
        answer = nobody.get(link)
        assert (answer.status_code, root(answer)) == (503, "REQUEST_GENERAL_FAILURE")
        assert answer.headers["Retry-After"]
        assert answer.get_json()[0]["value"]["message"] == "The S3 store cannot be reached. Try again."

    def test_no_file_is_on_the_local_disk(self, s3, link, settings):
        assert not (settings.data_dir / "reports").exists()
        assert list(s3.objects().values()) == [FILE]
        assert s3.unfinished() == []
