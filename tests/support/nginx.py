"""nginx with the site of deploy/nginx.conf, without TLS, with ports and folders of the test."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.running import ROOT, free_port, wait_until

# Debian's location, which is only in root's PATH, and that of `make test`
FOLDERS = (os.environ["PATH"], "/usr/sbin", str(ROOT / ".venv" / "nginx" / "usr" / "sbin"))

AROUND = """daemon off; pid {folder}/pid; error_log {folder}/error.log; worker_processes 1; {user}
events {{ worker_connections 4096; }}
http {{ access_log off; client_body_temp_path {folder}/1; proxy_temp_path {folder}/2; fastcgi_temp_path {folder}/3;
uwsgi_temp_path {folder}/4; scgi_temp_path {folder}/5;
{site}
{further}
}}"""


def configuration(folder: Path, port: int, first: str, second: str, files: Path, further: str = "") -> str:
    """Return the configuration of deploy/nginx.conf in front of two servers, given as address:port."""
    site = (ROOT / "deploy" / "nginx.conf").read_text().rpartition("server {")[0]  # the last one is for TLS
    site = re.sub(r"listen 443 ssl;\s+listen \[::\]:443 ssl;", f"listen 127.0.0.1:{port};", site)
    site = re.sub(r"ssl_certificate\S* .*;", "", site)
    site = site.replace("127.0.0.1:8000", first).replace("127.0.0.1:8001", second)
    site = site.replace("/var/lib/tally/reports/", f"{files}/").replace("/var/log/nginx/", f"{folder}/")
    return around(folder, site, further)


def around(folder: Path, site: str, further: str = "") -> str:
    """Return a whole configuration with these servers."""
    user = "user root;" if os.geteuid() == 0 else ""
    return AROUND.format(folder=folder, site=site, further=further, user=user)


def program() -> str:
    """Return the path of nginx."""
    return shutil.which("nginx", path=os.pathsep.join(FOLDERS)) or "nginx"


@contextmanager
def running(
    folder: Path, port: int, first: int, files: Path, *, second: int | None = None, further: str = ""
) -> Iterator[None]:
    """Run nginx in front of one service or two.

    Args:
        port: nginx's port.
        first, second: the ports of the services.
        files: the folder of report files.
        further: servers in addition to the one of deploy/nginx.conf.
    """
    servers = (f"127.0.0.1:{first}", f"127.0.0.1:{second or free_port()}")
    with serving(folder, configuration(folder, port, *servers, files, further), "127.0.0.1", port):
        yield


@contextmanager
def serving(folder: Path, configuration: str, address: str, port: int) -> Iterator[None]:
    """Run nginx with a whole configuration, and wait until it listens."""
    (folder / "conf").write_text(configuration)
    nginx = subprocess.Popen([program(), "-p", str(folder), "-c", str(folder / "conf")])
    try:
        wait_until(lambda: nginx.poll() is not None or is_listening(address, port), 20)
        assert nginx.poll() is None, (folder / "error.log").read_text()
        yield
    finally:
        nginx.send_signal(signal.SIGQUIT)
        nginx.wait(20)


def is_listening(address: str, port: int) -> bool:
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as probe:
        return probe.connect_ex((address, port)) == 0
