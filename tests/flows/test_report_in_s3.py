"""Reports in an S3 store: workers write the files there, and clients fetch them there without credentials.

In `make test`, tests/api/reports/test_downloads.py and test_delivered_reports.py have the links, redirects, deliveries
and removals, and tests/faults/test_reports_survive_s3.py the files that the worker of a running service writes.
"""

from __future__ import annotations

import hashlib
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import requests

from tests.flows.conftest import ADMIN, Visitor
from tests.support.client import event
from tests.support.running import Running
from tests.support.s3 import DELIVERED, S3

pytestmark = [
    pytest.mark.processes,
    pytest.mark.soak,
    pytest.mark.skipif(sys.platform != "linux", reason="the processes are ended by what Linux offers"),
]
EVENTS = 3_000  # 12 MB, which is more than one part of an upload


@pytest.fixture(scope="module")
def running(short_folder: Path, s3_server: S3) -> Iterator[Running]:
    folder, settings = Path(tempfile.mkdtemp(dir=short_folder)), {"ADMIN_PASSWORD": ADMIN[1]} | s3_server.environment
    service = Running(folder, idle=["scheduler"], **settings)
    yield service.until_ready()
    assert service.stop() == 0


@pytest.fixture
def visitor(running: Running, s3: S3) -> Visitor:
    """Client of a service whose store is empty."""
    return Visitor(running)


def test_a_report_is_written_to_the_store_and_fetched_by_a_link_without_credentials(visitor, s3):
    made = [event(context=["x" * 4000], timestamp=number) for number in range(EVENTS)]
    for first in range(0, EVENTS, 2000):
        assert visitor.post("/events", json={"events": made[first : first + 2000]}).status_code == 200
    job = visitor.start_report("BARCHART", "PORTFOLIO", layout="positional")
    assert visitor.until_ended(job)["status"] == "COMPLETE"
    content = "".join(f"{number}|{one['type']}|{'x' * 4000}\n" for number, one in enumerate(made)).encode()

    redirect = requests.get(visitor.link(job), allow_redirects=False, timeout=30)
    assert redirect.status_code == 302
    target = urlsplit(redirect.headers["Location"])
    assert f"{target.scheme}://{target.netloc}" == s3.endpoint
    assert parse_qs(target.query)["X-Amz-Expires"] == ["60"]
    file = requests.get(visitor.link(job), timeout=30)
    assert (file.status_code, file.content) == (200, content)
    assert re.fullmatch(r'attachment; filename="PORTFOLIO_until_[-0-9]{10}\.csv"', file.headers["Content-Disposition"])
    assert visitor.progress(job)["file"]["sha256"] == hashlib.sha256(content).hexdigest()

    assert list(s3.objects().values()) == [content]
    assert s3.unfinished() == []
    assert not list(visitor.service.data.glob("reports/*"))

    assert requests.delete(f"{visitor.service.url}/reports/{job['source']}", auth=ADMIN, timeout=30).status_code == 204
    assert (s3.objects(), s3.unfinished()) == ({}, [])


def test_a_report_is_delivered_to_a_bucket_that_the_operator_allows_and_stays_there(visitor, s3):
    visitor.post("/events", json=[event(customer="OTHER", context=["a"])])
    asked = {"layout": "positional", "bucketName": DELIVERED, "bucketKey": "daily/report.csv"}
    job = visitor.start_report("OTHER", "PORTFOLIO", **asked)
    assert visitor.until_ended(job)["status"] == "COMPLETE"
    [(name, content)] = s3.objects(DELIVERED).items()
    assert (name, content.endswith(b"|a\n"), s3.objects()) == ("daily/report.csv", True, {})
    assert requests.get(visitor.link(job), timeout=30).content == content

    refused = visitor.post(
        "/reports", json={"filter": job["filter"], "output": asked | {"bucketName": "others"}}, auth=ADMIN
    )
    assert refused.status_code == 403
    assert f"allows only {DELIVERED}" in refused.json()[0]["value"]["message"]

    assert requests.delete(f"{visitor.service.url}/reports/{job['source']}", auth=ADMIN, timeout=30).status_code == 204
    assert s3.objects(DELIVERED) == {"daily/report.csv": content}
