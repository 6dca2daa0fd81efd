"""WSGI application: `granian --interface wsgi wsgi:app`, and `flask --app wsgi …` for the commands."""

from __future__ import annotations

import gc
import os

from app import create_app
from app.exceptions import SettingInvalid
from app.ops import logs
from app.ops.die_with_parent import die_with_parent

if os.environ.get("TALLY_SUPERVISED"):
    die_with_parent()
try:
    app = create_app()
    if not os.environ.get("FLASK_RUN_FROM_CLI"):  # a read-only command must not create a key
        app.config["SETTINGS"].secret()
except SettingInvalid as error:
    logs.exit_with(error)
gc.collect()
gc.freeze()  # these objects are permanent, so the garbage collector need not visit them again
