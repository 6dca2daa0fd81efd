"""Behind the nginx of deploy/nginx.conf under a path, nginx sends report files, and only to clients with a link."""

from __future__ import annotations

import os
import re
import socket
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlsplit

import pytest
import requests
from playwright.sync_api import Browser

from tests.browser.conftest import browser_type_launch_args, sign_in
from tests.flows.conftest import ADMIN, Visitor, large_report
from tests.support import nginx
from tests.support.running import Running, free_port

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(sys.platform != "linux", reason="the processes are ended by what Linux offers"),
]
__all__ = ["browser_type_launch_args"]
BASE = "/tally"
STRIPPING = """
server {{
    listen 127.0.0.1:{port};
    access_log off;
    location {base}/ {{
        proxy_pass http://tally/;
        proxy_set_header Host $http_host;
    }}
}}"""


@pytest.fixture(scope="module")
def site(short_folder: Path) -> Iterator[SimpleNamespace]:
    """A running service behind nginx with a complete report: the address of its file, and its content."""
    folder = Path(tempfile.mkdtemp(dir=short_folder))
    port, stripping = free_port(), free_port()
    url = f"http://127.0.0.1:{port}"
    settings = {"ADMIN_PASSWORD": ADMIN[1], "SENDFILE": "x-accel", "PUBLIC_URL": url + BASE}
    service = Running(folder, idle=["scheduler"], **settings).until_ready()
    further = STRIPPING.format(port=stripping, base=BASE)
    with nginx.running(folder, port, service.port, service.data / "reports", further=further):
        visitor = Visitor(service)
        job, content = large_report(visitor, 2000)  # 8 MB, more than the system buffers for a client that does not read
        facts = {"url": url, "service": service, "content": content, "folder": folder}
        yield SimpleNamespace(file=visitor.link(job), strips=f"http://127.0.0.1:{stripping}", **facts)
    assert service.stop() == 0


def test_nginx_sends_the_file_and_what_the_service_said_of_it(site):
    answer = requests.get(site.file, timeout=30)
    assert (answer.status_code, answer.content) == (200, site.content)
    assert answer.headers["Content-Length"] == str(len(site.content))
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert re.fullmatch(r"attachment; filename=PORTFOLIO_until_[-0-9]{10}\.csv", answer.headers["Content-Disposition"])
    assert answer.headers["Cache-Control"] == "private, no-store"
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert answer.headers["X-Request-ID"]
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "X-Accel-Redirect" not in answer.headers
    assert requests.head(site.file, timeout=30).headers["Content-Length"] == str(len(site.content))


def test_it_supports_ranges_and_conditional_requests(site):
    part = requests.get(site.file, headers={"Range": "bytes=1000-1999"}, timeout=30)
    assert (part.status_code, part.content) == (206, site.content[1000:2000])
    tag = part.headers["ETag"]
    assert requests.get(site.file, headers={"If-None-Match": tag}, timeout=30).status_code == 304


def test_a_client_that_does_not_read_occupies_no_thread_of_the_service(site):
    slow = [socket.create_connection(("127.0.0.1", urlsplit(site.url).port)) for _ in range(20)]
    request = f"GET {site.file.removeprefix(site.url)} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    for one in slow:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        one.sendall(request)
        assert one.recv(12) == b"HTTP/1.1 200"
    assert open_files(site) == 0
    for one in slow:
        one.close()


def open_files(site: SimpleNamespace) -> int:
    """Return how many report files the processes of the service have open."""
    folder = str(site.service.data / "reports")
    links = [link for process in site.service.left() for link in Path(f"/proc/{process}/fd").iterdir()]
    return sum(os.readlink(link).startswith(folder) for link in links if link.is_symlink())


def test_the_folder_cannot_be_reached_without_a_link(site):
    [file] = (site.service.data / "reports").glob("*.csv")
    assert requests.get(f"{site.url}/report-files/{file.name}", timeout=30).status_code == 404
    assert requests.get(site.file + "x", timeout=30).status_code == 403


def test_its_log_has_the_client_and_file_without_the_signature(site):
    assert requests.get(site.file, timeout=30).status_code == 200
    assert requests.get(site.file + "x", timeout=30).status_code == 403
    logs = "".join(path.read_text() for path in site.folder.glob("tally*.log"))
    parts = urlsplit(site.file)
    assert f'"GET {parts.path}" 200' in logs
    assert f'"GET {parts.path}" 403' in logs
    assert "signature" not in logs
    assert "?" not in logs


@pytest.mark.parametrize("proxy", ["url", "strips"])
def test_under_a_path_the_overview_loads_and_refreshes(site, browser: Browser, proxy):
    at, wrong, paths = getattr(site, proxy) + BASE, [], set()
    page = browser.new_page()
    page.on("response", lambda answer: paths.add(urlsplit(answer.url).path))
    page.on("response", lambda answer: wrong.append(answer.url) if answer.status >= 400 else None)
    page.on("requestfailed", lambda request: wrong.append(request.url))
    page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    page.goto(f"{at}/admin/")
    sign_in(page, *ADMIN)
    with page.expect_response(f"{at}/admin/overview/part") as part:
        assert urlsplit(page.url).path == f"{BASE}/admin/"
    assert part.value.status == 200
    with page.expect_response(f"{at}/openapi.json"):
        page.goto(f"{at}/docs/")
    page.close()
    assert wrong == []
    assert f"{BASE}/static/live.js" in paths
    assert all(path.startswith(f"{BASE}/") for path in paths)
