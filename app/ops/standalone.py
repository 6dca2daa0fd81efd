"""Run one program of the service alone: in a container, as a unit of systemd, or on a machine of its own.

The command lines are those of `programs`, so that a program does the same alone as under `serve`. It replaces the
calling process, which has checked the settings, and so receives the signals sent by its parent.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import NoReturn
from urllib.parse import urlsplit

from app.config import Settings
from app.ops import listeners, preflight
from app.ops.programs import LISTENERS, WEB, WORKER_COMMAND, environment, web_command

ALONE = "TALLY_ALONE"  # see `web`
LOCAL_DATABASE = (
    "The database is the SQLite file {file}, which only processes on this machine reach, but REDIS_URL leads to {host}."
    " For several machines, set DATABASE_URL=postgresql://… on all of them."
)
LOCAL_REDIS = (
    "REDIS_URL leads to this machine, but DATABASE_URL to {host}. Reports of other machines wake no worker here; set "
    "REDIS_URL to one Redis or Valkey that all of them reach."
)
LOCAL_FILES = (
    "{name}, so report files are in {folder}. Processes on other machines need the same folder there, "
    "or set STORAGE_URL=s3://bucket/prefix on all of them."
)
OWN_KEY = (
    "SECRET_KEY is not set, so links and sessions are signed with the key in {folder}. Processes with another DATA_DIR "
    "reject them; set the same SECRET_KEY on all of them."
)
OWN_ADDRESS = (
    "PUBLIC_URL is not set, so links begin with {url}, the web server of this machine alone. Set PUBLIC_URL to the "
    "address that clients use, the same on all machines."
)
LOOPBACK = ("localhost", "127.0.0.1", "::1")


def prepare(settings: Settings, program: str) -> Settings:
    """Check what a program needs of this machine, and return the settings with HOST resolved.

    Raises:
        SettingInvalid: it could not run; the message is one sentence that names the setting.
    """
    preflight.private_folder(preflight.run_folder(settings))
    settings.secret()
    if program != WEB:
        return settings
    settings = preflight.resolved(settings)
    preflight.try_port(settings.host, settings.port)
    return settings


def one_machine_settings(settings: Settings) -> Iterator[str]:
    """Yield a sentence about each setting that works on one machine only, if other machines may take part."""
    redis, data = _remote_host(settings.redis_url), settings.data_dir.absolute()
    if settings.database.startswith("sqlite"):
        if redis:
            yield LOCAL_DATABASE.format(file=settings.database.removeprefix("sqlite:///"), host=redis)
        return
    if (host := _remote_host(settings.database)) and settings.redis_url and not redis:
        yield LOCAL_REDIS.format(host=host)
    if not settings.storage_url:
        yield LOCAL_FILES.format(name="STORAGE_URL is not set", folder=data / "reports")
    elif settings.storage_url.startswith("file:"):
        yield LOCAL_FILES.format(name="STORAGE_URL is a folder", folder=settings.storage_url.removeprefix("file://"))
    if not settings.secret_key:
        yield OWN_KEY.format(folder=data)
    if not settings.public_url:
        yield OWN_ADDRESS.format(url=settings.base_url)


def execute(settings: Settings, program: str) -> NoReturn:
    """Replace this process by a program: the web server or a worker."""
    given = environment(settings) | {ALONE: "1"}
    command: Sequence[str] = WORKER_COMMAND
    sockets = []  # they stay open as long as this list exists, which is until the new program inherits them
    if program == WEB:
        command = web_command(settings.host, settings.port, settings.web_process_count)
        sockets = listeners.open_listeners(settings.host, settings.port, settings.web_process_count)
    for one in sockets:
        one.set_inheritable(True)
    os.environ |= given | {LISTENERS: ",".join(str(one.fileno()) for one in sockets)}
    os.environ.pop("FLASK_RUN_FROM_CLI", None)
    os.execv(command[0], list(command))


def _remote_host(url: str) -> str | None:
    """Return the host of a URL, or None if it is this machine or a Unix socket."""
    host = urlsplit(url).hostname
    return None if host in LOOPBACK else host
