"""pgbouncer with the settings of deploy/pgbouncer.ini, at a port and before a server of a test's own."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.nginx import is_listening
from tests.support.running import ROOT, free_port, wait_until

UNPACKED = ROOT / ".venv" / "pgbouncer" / "usr"  # where `make test` puts it, with its libraries


@contextmanager
def running(folder: Path, socket_folder: Path, port: int, database: str, password: str) -> Iterator[str]:
    """Run it before a server, and yield the database's URL.

    Args:
        folder: for its files, which everybody may enter.
        socket_folder, port: where the server listens.
        database: the name of the database there.
        password: of the user tally.
    """
    own_port = free_port()
    users = folder / "userlist.txt"
    users.write_text(f'"tally" "{password}"\n')
    users.chmod(0o644)
    shipped = (ROOT / "deploy" / "pgbouncer.ini").read_text()
    for old, new in {
        "host=127.0.0.1 port=5432 dbname=tally": f"host={socket_folder} port={port} dbname={database}",
        "listen_port = 6432": f"listen_port = {own_port}",
        "/etc/pgbouncer/userlist.txt": str(users),
    }.items():
        assert shipped.count(old) == 1, old
        shipped = shipped.replace(old, new)
    (folder / "pgbouncer.ini").write_text(shipped + "unix_socket_dir =\n")
    program = shutil.which("pgbouncer", path=os.pathsep.join((os.environ["PATH"], "/usr/sbin", f"{UNPACKED}/sbin")))
    # It refuses to run as root, and only the server's user may enter the folder of the socket.
    user = socket_folder.stat().st_uid if os.geteuid() == 0 else None
    libraries = ":".join(str(path) for path in (UNPACKED / "lib").glob("*-linux-*"))
    pooler = subprocess.Popen(
        [program or "pgbouncer", "--quiet", str(folder / "pgbouncer.ini")],
        user=user,
        env={"PATH": os.environ["PATH"], "LD_LIBRARY_PATH": libraries},
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until(lambda: is_listening("127.0.0.1", own_port), 20)
        yield f"postgresql://tally:{password}@127.0.0.1:{own_port}/tally"
    finally:
        pooler.terminate()
        pooler.wait(20)
