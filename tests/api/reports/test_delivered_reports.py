"""The link of a delivered report returns the delivered file, and never another object that replaced it."""

from __future__ import annotations

from urllib.request import urlopen

import pytest

from app.exceptions import FileMissing
from app.services.people.principal import SYSTEM
from app.storage import LocalStorage
from app.store.models import Report
from tests.support.client import event, faults
from tests.support.s3 import DELIVERED, STORAGE

DATABASE = "sqlite"  # both databases store the ETag the same way

KEY = "exports/november.csv"
OUTPUT = {"bucketName": DELIVERED, "bucketKey": KEY}
MIB = 1024 * 1024


@pytest.fixture
def deliver(s3, admin, services):
    """Return a function that delivers a report of a customer to the same key, and returns its source."""

    def run(customer: str, context: list[str], output: dict | None = None) -> str:
        admin.send(event(customer=customer, context=context))
        job = admin.start_report({**OUTPUT, **(output or {})}, customer=customer)
        services.runner.run(job["job"])
        assert admin.availability(job["source"])["status"] == "COMPLETE"
        return job["source"]

    return run


def link(client, source: str):
    return client.get(f"/reports/{source}", headers={"Accept": "application/json"})


def content(client, source: str) -> bytes:
    """Return the bytes that a client gets by the link."""
    answer = client.get(link(client, source).get_json()["link"])
    assert answer.status_code == 302
    with urlopen(answer.headers["Location"]) as file:
        return file.read()


def is_gone(client, source: str) -> bool:
    answer = link(client, source)
    return answer.status_code == 410 and faults(answer) == [] and "another took its place" in answer.text


@pytest.mark.parametrize("large", [False, True], ids=["in one request", "in parts"])
def test_of_two_reports_under_one_key_only_the_later_has_a_file(s3, admin, services, deliver, large):
    context = ["x" * 4096] * 100 if large else ["x"]
    if large:
        for name in ("BARCHART", "OTHER"):
            admin.send(*[event(customer=name, context=context) for _ in range(22)])
    first = deliver("BARCHART", context)
    assert content(admin, first) == s3.objects(DELIVERED)[KEY]
    first_link = link(admin, first).get_json()["link"]
    second = deliver("OTHER", ["y", *context[1:]])
    assert content(admin, second) == s3.objects(DELIVERED)[KEY]
    assert is_gone(admin, first)
    assert admin.get(first_link).status_code == 410
    for source, name in (
        (first, "BARCHART"),
        (second, "OTHER"),
    ):  # as if it were replaced between the two requests of a reader
        report = Report.get(Report.customer == name)
        storage = services.reports.destinations.place(report)
        if source == second:
            assert storage.open(KEY, etag=report.etag).read() == s3.objects(DELIVERED)[KEY]
        else:
            with pytest.raises(FileMissing, match="replaced by another"):
                storage.open(KEY, etag=report.etag)


def test_any_other_object_under_the_key_is_not_returned(s3, admin, deliver):
    source = deliver("BARCHART", ["x"])
    delivered = s3.objects(DELIVERED)[KEY]
    s3.client.put_object(Bucket=DELIVERED, Key=KEY, Body=bytes(len(delivered)))
    assert is_gone(admin, source)
    s3.client.delete_object(Bucket=DELIVERED, Key=KEY)
    assert is_gone(admin, source)
    s3.client.put_object(Bucket=DELIVERED, Key=KEY, Body=delivered)
    assert content(admin, source) == delivered


def test_a_report_without_a_recorded_etag_has_no_file(admin, deliver):
    source = deliver("BARCHART", ["x"])
    Report.update(etag=None).execute()
    assert is_gone(admin, source)


def test_in_a_versioned_bucket_the_link_returns_the_delivered_version(s3, admin, deliver):
    s3.client.put_bucket_versioning(Bucket=DELIVERED, VersioningConfiguration={"Status": "Enabled"})
    source = deliver("BARCHART", ["x"])
    delivered = s3.objects(DELIVERED)[KEY]
    address = admin.get(link(admin, source).get_json()["link"]).headers["Location"]
    s3.client.put_object(Bucket=DELIVERED, Key=KEY, Body=b"another customer's")
    with urlopen(address) as file:
        assert file.read() == delivered
    assert is_gone(admin, source)


def test_deleting_a_report_keeps_other_objects_and_uploads_under_its_key(s3, admin, deliver):
    first = deliver("BARCHART", ["x"])
    second = deliver("OTHER", ["y"])
    s3.client.create_multipart_upload(Bucket=DELIVERED, Key=KEY)  # of a third report, in progress
    assert admin.request("DELETE", f"/reports/{first}").status_code == 204
    assert s3.unfinished(DELIVERED) == [KEY]
    assert content(admin, second) == s3.objects(DELIVERED)[KEY]


def test_a_replaced_file_in_the_service_s_own_bucket_is_gone(s3, admin, services):
    admin.send(event())
    job = admin.start_report()
    services.runner.run(job["job"])
    assert link(admin, job["source"]).status_code == 200
    [name] = s3.objects(STORAGE)
    s3.client.put_object(Bucket=STORAGE, Key=name, Body=b"x" * len(s3.objects(STORAGE)[name]))
    assert is_gone(admin, job["source"])


def test_a_file_removed_between_two_requests_is_gone_without_an_error(admin, services, monkeypatch):
    admin.send(event())
    job, _ = admin.run_report()
    old_link = link(admin, job["source"]).get_json()["link"]
    monkeypatch.setattr(LocalStorage, "path", lambda storage, key: None)
    monkeypatch.setattr(type(services.reports.destinations), "has", lambda destinations, report: True)
    assert admin.get(old_link).status_code == 410


def test_a_replaced_file_on_disk_is_gone(admin, services):
    admin.send(event())
    job, _ = admin.run_report()
    path = services.reports.path(services.reports.get(SYSTEM, job["source"]))
    path.write_bytes(b"short")
    assert is_gone(admin, job["source"])
