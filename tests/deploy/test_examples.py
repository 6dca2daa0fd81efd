"""The examples of deploy/ with one service: TLS, IPv6, a path of a shared host, and pgbouncer before PostgreSQL."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import psycopg
import pytest
import requests
import trustme

from tests.flows.conftest import ADMIN
from tests.support import backing_servers, nginx, pgbouncer
from tests.support.client import event
from tests.support.running import ROOT, Running, free_port, wait_until

pytestmark = pytest.mark.processes
SHARED_HOST = """
server {{
    listen [::1]:{port} ssl;
    ssl_certificate {folder}/tls.pem;
    ssl_certificate_key {folder}/tls.pem;
    include {folder}/nginx-subpath.conf;
    location / {{ return 200 "another application"; }}
}}"""


@pytest.fixture(scope="module")
def folder(short_folder: Path) -> Path:
    folder = Path(tempfile.mkdtemp(dir=short_folder))
    for path in (folder, short_folder):
        path.chmod(0o755)  # pgbouncer runs as another user
    return folder


@pytest.fixture(scope="module")
def database(postgres_server: str, folder: Path) -> Iterator[str]:
    """A database that is reached through pgbouncer, as the user tally."""
    url = backing_servers.make_database(postgres_server, "pooled")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("DROP ROLE IF EXISTS tally")
        connection.execute("CREATE ROLE tally LOGIN PASSWORD 'a-word-for-tests'")
        connection.execute("ALTER DATABASE pooled OWNER TO tally")
        connection.execute("ALTER SCHEMA public OWNER TO tally")
        server = connection.info
        with pgbouncer.running(folder, Path(server.host), server.port, "pooled", "a-word-for-tests") as pooled:
            yield pooled


def adapt(name: str, folder: Path, port: int) -> str:
    """Return a configuration of deploy/ with this machine's places in it."""
    text = (ROOT / "deploy" / name).read_text()
    places = {
        "listen 443 ssl;": "",
        "listen [::]:443 ssl;": f"listen [::1]:{port} ssl;",
        "listen 80;": "",
        "listen [::]:80;": f"listen [::1]:{free_port()};",
        "server 127.0.0.1:8001 max_fails=0;": "",
        "/etc/letsencrypt/live/tally.example.com/fullchain.pem": f"{folder}/tls.pem",
        "/etc/letsencrypt/live/tally.example.com/privkey.pem": f"{folder}/tls.pem",
        "/var/log/nginx/": f"{folder}/",
    }
    for old, new in places.items():
        text = text.replace(old, new)
    return text


@pytest.fixture(scope="module")
def site(folder: Path, database: str) -> Iterator[SimpleNamespace]:
    """A service on IPv6 behind nginx: at the root of one host, and under a path of another."""
    root, shared = free_port(), free_port()
    base = f"https://[::1]:{shared}/tally"
    settings = {"HOST": "::1", "PUBLIC_URL": base, "TRUSTED_PROXIES": "1", "ADMIN_PASSWORD": ADMIN[1]}
    service = Running(folder, DATABASE_URL=database, WEB_PROCESSES="1", idle=["scheduler"], **settings).until_ready()
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    authority.issue_cert("::1").private_key_and_cert_chain_pem.write_to_path(str(folder / "tls.pem"))
    (folder / "nginx-subpath.conf").write_text(adapt("nginx-subpath.conf", folder, shared))
    own = adapt("nginx.conf", folder, root).replace("server 127.0.0.1:8000", f"server [::1]:{service.port}")
    whole = nginx.around(folder, own, SHARED_HOST.format(port=shared, folder=folder))
    with nginx.serving(folder, whole, "::1", shared), requests.Session() as session:
        session.verify, session.trust_env = str(folder / "ca.pem"), False  # no other authorities from the environment
        yield SimpleNamespace(
            root=f"https://[::1]:{root}", shared=f"https://[::1]:{shared}", base=base, session=session
        )
    assert service.stop() == 0


def test_an_event_and_its_report_pass_tls_ipv6_and_pgbouncer(site):
    assert site.session.post(f"{site.root}/events", json={"events": [event()]}).status_code == 200
    wanted = {"filter": {"customer": event()["customer"], "product": event()["product"]}}
    job = site.session.post(f"{site.base}/reports", json=wanted, auth=ADMIN).json()

    def is_complete() -> bool:
        address = f"{site.base}/reports/{job['source']}/availability"
        return site.session.get(address, auth=ADMIN).json()["status"] == "COMPLETE"

    wait_until(is_complete, 60)
    accept = {"Accept": "application/json"}
    link = site.session.get(f"{site.base}/reports/{job['source']}", auth=ADMIN, headers=accept).json()["link"]
    assert link.startswith(f"{site.base}/")
    assert event()["type"] in site.session.get(link).text


def test_browsers_are_told_to_stay_with_tls(site):
    assert site.session.get(f"{site.root}/health/live").headers["Strict-Transport-Security"] == "max-age=31536000"


def test_under_a_path_pages_files_and_redirects_stay_below_it(site):
    page = site.session.get(f"{site.base}/")
    assert page.url.startswith(f"{site.base}/admin/sign-in")
    assert 'href="/tally/static/style.css' in page.text
    assert site.session.get(f"{site.base}/static/style.css").status_code == 200
    assert site.session.get(f"{site.base}/docs/").status_code == 200


def test_metrics_are_not_for_the_outside(site):
    assert site.session.get(f"{site.root}/metrics").status_code == 404
    assert site.session.get(f"{site.base}/metrics").status_code == 404


def test_the_other_application_of_the_host_keeps_its_paths(site):
    assert site.session.get(f"{site.shared}/events").text == "another application"
