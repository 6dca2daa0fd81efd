"""Checks before the first process starts, so that a misconfigured machine is reported in one sentence.

They create the private folders, ensure that no other instance uses them, and try the port. The migrations check what
the database needs.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import socket
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from app.config import Settings
from app.exceptions import SettingInvalid

UMASK = 0o027  # files are private: the group may read them (a proxy that sends files), others have no access
LOCK = "lock"  # file in the run folder that contains the process id of its holder
SOCKET_PATH_BYTES = 107  # the kernel's limit for a Unix socket's path (struct sockaddr_un), without its closing NUL


def check(settings: Settings) -> int:
    """Check what the processes need, and acquire the lock on DATA_DIR.

    Returns:
        The lock's file descriptor. The lock holds as long as a process has it open.

    Raises:
        SettingInvalid: the processes could not run; the message is one sentence that names the setting.
    """
    if not settings.redis_url:
        path = os.fsencode(settings.valkey_socket)
        if not re.fullmatch("[^\0-\x1f\ufffd]+", path.decode(errors="replace")):
            raise SettingInvalid(
                "DATA_DIR: the path has a control character, or bytes that are not UTF-8, which Redis clients cannot "
                "read. Choose another one, or set REDIS_URL."
            )
        if len(path) > SOCKET_PATH_BYTES:
            raise SettingInvalid(
                f"DATA_DIR: the path of Valkey's socket, {settings.valkey_socket}, has {len(path)} bytes, and the "
                f"system allows {SOCKET_PATH_BYTES}. Choose a shorter DATA_DIR, or set REDIS_URL."
            )
        private_folder(settings.valkey_socket.parent)
    run = private_folder(run_folder(settings))
    settings.secret()
    lock = _lock(run / LOCK)
    try_port(settings.host, settings.port)
    return lock


def hold(settings: Settings) -> int:
    """Acquire the lock on DATA_DIR for a command that needs the service to be stopped, and return its descriptor.

    Raises:
        SettingInvalid: Tally runs with this DATA_DIR.
    """
    return _lock(private_folder(run_folder(settings)) / LOCK)


def resolved(settings: Settings) -> Settings:
    """Return the settings with HOST resolved to an address, preferably IPv4, which most clients try.

    Raises:
        SettingInvalid: the name cannot be resolved.
    """
    try:
        found = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError):
        raise SettingInvalid(f"HOST: {settings.host} is not a name or address that this machine knows.") from None
    return replace(settings, host=str(min(found, key=lambda one: one[0] != socket.AF_INET)[4][0]))


def run_folder(settings: Settings) -> Path:
    """Return the folder with the private files of the running processes: the lock and the supervisor's files."""
    return settings.data_dir.absolute() / "run"


def private_folder(path: Path) -> Path:
    """Create a folder that only its owner may enter, and return its path.

    Raises:
        SettingInvalid: the folder cannot be created or written to.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        path.chmod(0o700)
        (path / ".written").touch()
        (path / ".written").unlink()
    except OSError as error:
        raise SettingInvalid(f"DATA_DIR: cannot write to the folder {path}: {error.strerror}.") from error
    return path


def _lock(path: Path) -> int:
    lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise SettingInvalid(
            f"Tally already runs with DATA_DIR {path.parent.parent}. Stop it, or set another DATA_DIR."
        ) from None
    os.truncate(lock, 0)
    os.write(lock, str(os.getpid()).encode())
    return lock


def try_port(host: str, port: int) -> None:
    """Listen for a moment, because granian shares its port (SO_REUSEPORT), so a second instance would not fail.

    Raises:
        SettingInvalid: the port is taken, or cannot be listened on.
    """
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with closing(socket.socket(family, kind)) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen()
    except PermissionError as error:
        raise SettingInvalid(
            f"PORT: this user may not listen on port {port}. Set PORT to a number from 1024 on."
        ) from error
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise SettingInvalid(f"Port {port} on {host} is taken by another program. Stop it, or set PORT.") from error
        raise SettingInvalid(f"HOST: cannot listen on {host}, port {port}: {error.strerror}.") from error
