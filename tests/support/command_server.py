"""`tally` for a shell of the tests, which runs in a fork of their process (see `forked`)."""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.forked import Process

MAX_BYTES = 1024 * 1024  # of words and variables
CLIENT = """#!{python} -IS
import json, os, socket, sys
with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as server:
    server.connect({address!r})
    socket.send_fds(server, [json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ)]).encode()], [0, 1, 2])
    sys.exit(int(server.recv(8)))
"""


@contextmanager
def serving(folder: Path) -> Iterator[Path]:
    """Put the program into a folder with a short path, and serve it there; yield the folder, which belongs in PATH."""
    program, address = folder / "tally", str(folder / "socket")
    program.write_text(CLIENT.format(python=sys.executable, address=address))
    program.chmod(0o755)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(address)
        listener.listen()
        thread = threading.Thread(target=_accept, args=(listener,))
        thread.start()
        try:
            yield folder
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def _accept(listener: socket.socket) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:  # it was shut down
            return
        threading.Thread(target=_run, args=(connection,), daemon=True).start()


def _run(connection: socket.socket) -> None:
    with connection:
        message, descriptors, *_ = socket.recv_fds(connection, MAX_BYTES, 3)
        words, folder, environment = json.loads(message)
        given, output, errors = descriptors
        command = Process(
            *words, folder=Path(folder), environment=environment, given=given, output=output, errors=errors
        )
        for descriptor in descriptors:
            os.close(descriptor)
        connection.send(str(command.wait()).encode())
