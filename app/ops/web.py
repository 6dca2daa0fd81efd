"""Run granian so that replacing or stopping a web process drops no connection.

The module accepts granian's own options. The launcher runs it by its path, like `die_with_parent`, because granian's
main process must not import any application code. It forks the web processes, and after SIGHUP they must load the new
code.

Differences from `python -m granian`:

- The web processes accept from the launcher's listening sockets (see `listeners`). Each of granian's processes would
  open its own socket, and a process that exits resets the connections in that socket's queue.
- SIGHUP replaces a web process only after the new process has loaded the application. If loading fails, the old
  process continues to serve.
- A web process that shuts down stops accepting and adds `Connection: close` to each response until no request has
  arrived for a short time. Only then does granian close the idle connections. Closing them at once would also drop
  connections that were just accepted, and connections on which a client is about to send its next request.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import runpy
import socket
import sys
import threading
import time
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import granian._signals
import granian.cli
from granian._granian import SocketHolder, WorkerSignal
from granian._internal import load_target
from granian.server.mp import MPServer, WorkerProcess

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment
    from granian.server.mp import Loader, Target

LISTENERS = "TALLY_LISTENERS"  # the descriptors of the listening sockets, one for each web process
ALONE = "TALLY_ALONE"  # set if there is no launcher, which would refuse new clients before it ends this process
STOPPING = "tally.stopping"  # environ key of a threading.Event, with whose setting requests that wait for events end
LOADED, NOT_LOADED = "web: reloaded", "web: not reloaded"  # the launcher waits for one of these lines

LOAD_SECONDS = 60.0  # time limit for a new web process to load the application
QUIET_SECONDS = 0.25  # time without a request before a retiring process closes its idle connections
LINGER_SECONDS = 2.0  # the longest that a retiring process waits for that
PATIENCE_SECONDS = 120.0  # time limit for a replaced process to finish its requests, such as a slow download


class WebServer(MPServer):
    """Main process of granian that inherits its listening sockets and replaces web processes on SIGHUP."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)
        self._loaded, self._tell_loaded = multiprocessing.Pipe(duplex=False)
        # The launcher's sockets; none if the server was started by hand.
        descriptors = filter(None, os.environ.get(LISTENERS, "").split(","))
        self._listeners = [socket.socket(fileno=int(number)) for number in descriptors]
        if self._listeners and len(self._listeners) != self.workers:
            sys.exit(f"There are {len(self._listeners)} listening sockets for {self.workers} web processes.")
        self._replaced: list[WorkerProcess] = []

    def serve(self, *args: object, **kwargs: object) -> None:
        """Serve until a signal stops the process."""
        load = partial(_load, self.target, self.working_dir, self.factory, self._tell_loaded)
        super().serve(target_loader=load, wrap_loader=False)

    def _init_shared_socket(self) -> None:
        if not self._listeners:
            super()._init_shared_socket()

    def _spawn_worker(self, idx: int, target: Target, callback_loader: Loader) -> WorkerProcess:
        if self._listeners:
            self._sso = self._listeners[idx]
            self._shd = SocketHolder(self._sso.fileno(), False, self.backlog)
            callback_loader = partial(callback_loader, self._sso.fileno())
        return super()._spawn_worker(idx, target, callback_loader)

    def _drop_shared_socket(self) -> None:
        """Leave the sockets open, because the launcher closes them."""

    def _reload(self, spawn_target: Target, target_loader: Loader) -> None:
        self.reload_signal = False
        self.respawned_wrks.clear()
        self.main_loop_interrupt.clear()
        for idx in range(self.workers):
            if not self._replace(idx, spawn_target, target_loader):
                _print(NOT_LOADED)
                break
        else:
            _print(LOADED)
        if self.interrupt_children or self.interrupt_signal:  # the interrupt arrived during the reload
            self.main_loop_interrupt.set()

    def _replace(self, idx: int, spawn_target: Target, target_loader: Loader) -> bool:
        """Replace a web process and return True if the new process can load the application."""
        new = self._spawn_worker(idx, spawn_target, target_loader)
        new.interrupt_by_parent = True  # otherwise granian would mistake its exit for that of the old process
        new.start()
        has_loaded, deadline = False, time.monotonic() + LOAD_SECONDS
        while not has_loaded and new.is_alive() and not self.interrupt_signal and time.monotonic() < deadline:
            has_loaded = self._loaded.poll(0.1) and self._loaded.recv() == new._id()
        if not has_loaded:
            new.kill()
            return False
        new.interrupt_by_parent = False
        old, self.wrks[idx] = self.wrks[idx], new
        old.terminate()
        self._replaced = [process for process in self._replaced if process.is_alive()] + [old]

        def await_end() -> None:
            old.join(PATIENCE_SECONDS)
            if old.is_alive():
                old.kill()

        threading.Thread(target=await_end, daemon=True).start()
        return True

    def _stop_workers(self) -> None:
        if os.environ.get(ALONE):  # nobody else refuses new clients, and waits for those that are in a queue
            listeners = runpy.run_path(str(Path(__file__).with_name("listeners.py")))  # without the application's code
            listeners["refuse_new"](self._listeners)
            deadline = time.monotonic() + LINGER_SECONDS
            time.sleep(QUIET_SECONDS)
            while listeners["waiting"](self._listeners) and time.monotonic() < deadline:
                time.sleep(0.05)
        super()._stop_workers()
        for old in self._replaced:
            old.kill()


def _print(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


class _Retirement:
    """Graceful shutdown of this web process."""

    listener: int | None = None  # the descriptor of the listening socket
    begun = False
    last_request = 0.0  # from time.monotonic()

    def __init__(self) -> None:
        self.stopping = threading.Event()

    def begin(self, stop: WorkerSignal) -> None:
        """Stop accepting, and stop the process when requests cease. Do nothing if shutdown has already begun."""
        if self.begun:
            return
        self.begun, self.last_request = True, time.monotonic()
        self.stopping.set()
        if self.listener is not None:  # replaced with an unused socket, because closing it would break its readers
            self._unused = socket.create_server(("127.0.0.1", 0))
            self._unused.setblocking(False)
            os.dup2(self._unused.fileno(), self.listener)
        threading.Thread(target=self._linger, args=(stop,), daemon=True).start()

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
    loaded: Any,
    listener: int | None = None,  # noqa: ANN401 - passed by granian
) -> WSGIApplication:
    """Load the application in a web process, and notify the main process."""
    app = load_target(target, wd=folder, factory=factory)
    _retirement.listener = listener
    loaded.send(os.getpid())

    def serve(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        environ[STOPPING] = _retirement.stopping
        if _retirement.begun:
            _retirement.last_request = time.monotonic()
        return app(environ, partial(_start, start_response))

    return serve


def _start(start_response: StartResponse, status: str, headers: list[tuple[str, str]], *error: Any) -> Any:  # noqa: ANN401
    """Start a response; of a retiring process with `Connection: close`, so that the next request reaches another."""
    if _retirement.begun:
        _retirement.last_request = time.monotonic()
        headers = [*headers, ("Connection", "close")]
    return start_response(status, headers, *error)


def _set_signals() -> WorkerSignal:
    """Install the signal handlers of a web process in place of granian's, which would stop it at once."""
    stop = WorkerSignal()
    granian._signals.set_main_signals(lambda signum, frame: _retirement.begin(stop))
    return stop


granian._signals.set_sync_signals = _set_signals
granian.cli.Server = WebServer

if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        granian.cli.entrypoint()
