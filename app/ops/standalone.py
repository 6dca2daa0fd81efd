"""Run one program of the service alone: in a container, as a unit of systemd, or on a machine of its own.

The command lines are those of `programs`, so that a program does the same alone as under `serve`. It replaces the
calling process, which has checked the settings, and so receives the signals sent by its parent.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NoReturn

from app.config import Settings
from app.ops import listeners, preflight
from app.ops.programs import LISTENERS, WEB, WORKER_COMMAND, environment, web_command

ALONE = "TALLY_ALONE"  # see `web`


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
