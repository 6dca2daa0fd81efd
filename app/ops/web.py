"""granian, only that no web process that is replaced or stopped takes a connection with it.

It takes granian's own options, and is run by its path, like `lifeline`: granian's main process must not have loaded
anything of ours, because the web processes are forked from it, and after SIGHUP they are to load the new code.

What differs from `python -m granian`:

- The listening sockets are those that the launcher holds (see `listeners`). granian's processes each open one of their
  own, and a process that ends resets the connections that wait there.
- SIGHUP replaces a web process only when the new one has loaded the application. Where that fails, the old one stays.
- A web process that is to end accepts nothing more, and marks each answer as the last one of its connection, until no
  request has come for a while. Only then does granian close the idle connections. It would close at once also those
  that were accepted a moment ago, and a client may just send its next request over one that has become idle.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

import granian._signals
import granian.cli
from granian._granian import SocketHolder, WorkerSignal
from granian._internal import load_target
from granian.server.mp import MPServer, WorkerProcess

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

LISTENERS = "TALLY_LISTENERS"  # the descriptors of the sockets to accept from, one for each web process
LOADED, NOT_LOADED = "web: reloaded", "web: not reloaded"  # the launcher waits for either

LOAD_SECONDS = 60.0  # for a new web process to load the application
QUIET_SECONDS = 0.25  # without a request, before an ending process closes its idle connections
LINGER_SECONDS = 2.0  # and then it does so in any case
PATIENCE_SECONDS = 120.0  # for the requests under way in a process that was replaced: a slow download, for example


class WebServer(MPServer):
    """granian's main process."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)
        self._loaded, self._tell_loaded = multiprocessing.Pipe(duplex=False)
        self._listeners = _inherited(self.workers)
        self._replaced: list[WorkerProcess] = []

    def serve(self, *args: object, **kwargs: object) -> None:
        """Serve until told to end."""
        load = partial(_load, self.target, self.working_dir, self.factory, self._tell_loaded)
        super().serve(target_loader=load, wrap_loader=False)

    def _init_shared_socket(self) -> None:
        if not self._listeners:
            super()._init_shared_socket()

    def _spawn_worker(self, idx: int, target: Callable, callback_loader: Callable) -> WorkerProcess:
        if self._listeners:
            self._sso = self._listeners[idx]
            self._shd = SocketHolder(self._sso.fileno(), False, self.backlog)
            callback_loader = partial(callback_loader, self._sso.fileno())
        return super()._spawn_worker(idx, target, callback_loader)

    def _drop_shared_socket(self) -> None:
        """The launcher closes them."""

    def _reload(self, spawn_target: Callable, target_loader: Callable) -> None:
        self.reload_signal = False
        self.respawned_wrks.clear()
        self.main_loop_interrupt.clear()
        for idx in range(self.workers):
            if not self._replace(idx, spawn_target, target_loader):
                _tell(NOT_LOADED)
                break
        else:
            _tell(LOADED)
        if self.interrupt_children or self.interrupt_signal:  # it came meanwhile
            self.main_loop_interrupt.set()

    def _replace(self, idx: int, spawn_target: Callable, target_loader: Callable) -> bool:
        """Put a new process into an old one's place, if it can load the application."""
        new = self._spawn_worker(idx, spawn_target, target_loader)
        new.interrupt_by_parent = True  # or granian would take its death for that of the old one
        new.start()
        if not self._has_loaded(new):
            new.kill()
            return False
        new.interrupt_by_parent = False
        old, self.wrks[idx] = self.wrks[idx], new
        old.terminate()
        self._replaced = [one for one in self._replaced if one.is_alive()] + [old]
        threading.Thread(target=_await_end, args=(old,), daemon=True).start()
        return True

    def _has_loaded(self, process: WorkerProcess) -> bool:
        deadline = time.monotonic() + LOAD_SECONDS
        while process.is_alive() and not self.interrupt_signal and time.monotonic() < deadline:
            if self._loaded.poll(0.1) and self._loaded.recv() == process._id():
                return True
        return False

    def _stop_workers(self) -> None:
        super()._stop_workers()
        for old in self._replaced:
            old.kill()


def _tell(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _await_end(process: WorkerProcess) -> None:
    process.join(PATIENCE_SECONDS)
    if process.is_alive():
        process.kill()


def _inherited(count: int) -> list[socket.socket]:
    """The launcher's sockets; none where this was started by hand."""
    descriptors = os.environ.get(LISTENERS, "")
    listeners = [socket.socket(fileno=int(number)) for number in descriptors.split(",") if number]
    if listeners and len(listeners) != count:
        sys.exit(f"There are {len(listeners)} listening sockets for {count} web processes.")
    return listeners


class _Retirement:
    """How this web process ends, once it is told to."""

    listener: int | None = None  # the descriptor that it accepts from
    begun = False
    last_request = 0.0  # by time.monotonic()

    def begin(self, stop: WorkerSignal) -> None:
        """Accept nothing more, and end when nobody asks any more; the second time it is asked to, do nothing."""
        if self.begun:
            return
        self.begun, self.last_request = True, time.monotonic()
        if self.listener is not None:
            self._stop_accepting(self.listener)
        threading.Thread(target=self._linger, args=(stop,), daemon=True).start()

    def _stop_accepting(self, listener: int) -> None:
        """Put a socket that nobody connects to in the listening one's place: closing it would disturb its readers."""
        self._nobody = socket.create_server(("127.0.0.1", 0))
        self._nobody.setblocking(False)
        os.dup2(self._nobody.fileno(), listener)

    def _linger(self, stop: WorkerSignal) -> None:
        deadline = time.monotonic() + LINGER_SECONDS
        while time.monotonic() < min(deadline, self.last_request + QUIET_SECONDS):
            time.sleep(0.05)
        stop.set()


_retirement = _Retirement()


def _load(
    target: str,
    folder: Any,
    factory: bool,
    tell: Any,
    listener: int | None = None,  # noqa: ANN401 - granian's own
) -> WSGIApplication:
    """Load the application, in a web process, and tell the main one so."""
    app = load_target(target, wd=folder, factory=factory)
    _retirement.listener = listener
    tell.send(os.getpid())

    def serve(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if not _retirement.begun:
            return app(environ, start_response)
        _retirement.last_request = time.monotonic()
        return app(environ, partial(_start_last, start_response))

    return serve


def _start_last(start_response: StartResponse, status: str, headers: list[tuple[str, str]], *error: Any) -> Any:  # noqa: ANN401
    """Start an answer after which the client opens another connection, to a process that stays."""
    return start_response(status, [*headers, ("Connection", "close")], *error)


def _set_signals() -> WorkerSignal:
    """What granian calls in a web process in place of its own, which ends at once."""
    stop = WorkerSignal()
    granian._signals.set_main_signals(lambda signum, frame: _retirement.begin(stop))
    return stop


granian._signals.set_sync_signals = _set_signals
granian.cli.Server = WebServer

if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        granian.cli.entrypoint()
