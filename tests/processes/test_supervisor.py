"""The launcher of `make run`: how it starts, restarts and stops processes, and how it explains a failed start."""

from __future__ import annotations

import os
import pty
import re
import signal
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
import rq

from tests.support import forked
from tests.support.pace import slack
from tests.support.running import ROOT, START_SECONDS, Running, free_port, wait_until

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(sys.platform != "linux", reason="looks at the processes in /proc"),
]
PROGRAMS = ("valkey", "web", "worker-1", "scheduler")
PASSWORD = re.compile(r"user: +admin\n +password: (\S+)")
# by tests/faults/test_events_survive.py and test_reports_survive.py, which need them back
KILLED_ELSEWHERE = ("web-process", "worker-1", "valkey")
BACK_SECONDS = 20  # 3 are guaranteed, and about 0.7 measured; the rest is for a busy machine


@pytest.fixture(scope="module")
def odd_service(short_folder: Path) -> Iterator[Running]:
    """A service in an odd folder, at a host name, with a missing locale and a configured password."""
    folder = Path(tempfile.mkdtemp(dir=short_folder)) / "a b#%41%='\"$;ü"
    folder.mkdir()
    odd = {"HOST": "localhost", "LC_ALL": "xx_XX.ISO-8859-1", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"}
    yield from starting(folder, ADMIN_PASSWORD="chosen by the operator", idle=["worker", "scheduler"], **odd)


@pytest.fixture(scope="module")
def terminal() -> tuple[int, int]:
    """Return our end of a terminal, and its own end."""
    return pty.openpty()


@pytest.fixture(scope="module")
def service_started_again(odd_service: Running, terminal: tuple[int, int]) -> Iterator[Running]:
    """The same service, started on a terminal after Ctrl-C ended it; the last test that uses it ends it.

    Its worker cannot start while a certain file exists.
    """
    valkey_of(odd_service).set("kept", "yes")
    ends_cleanly(odd_service, signal.SIGINT)
    folder = odd_service.data.parent
    (folder / "worker.py").write_text("raise SystemExit('these are my last words')")
    yield from starting(folder, terminal=terminal[1], modules=True, idle=["scheduler"])


def starting(folder: Path, **options: object) -> Iterator[Running]:
    service = Running(folder, **options)
    wait_until(lambda: "Tally is at http://" in service.said() or service.ended(), START_SECONDS)
    assert not service.ended(), service.said()
    yield service
    if not service.ended():
        service.stop()


def test_the_first_start_starts_everything_and_prints_the_url_and_the_password(shared_service):
    wait_until(lambda: PASSWORD.search(shared_service.said()), 5)
    assert all(shared_service.pid(program) in shared_service.left() for program in PROGRAMS)
    assert shared_service.said().count("Tally is at") == 1
    assert shared_service.answers()


def ends_cleanly(service: Running, signum: int) -> None:
    service.process.send_signal(signum)  # make sends a second one after the terminal's
    assert service.stop(signum) == 0
    assert service.left() == {}


def valkey_of(service: Running) -> redis.Redis:
    return redis.Redis(unix_socket_path=str(service.data / "valkey" / "valkey.sock"))


def test_the_private_valkey_has_no_port_and_a_private_folder(shared_service):
    settings = valkey_of(shared_service).config_get("*")
    expected = {"port": "0", "appendonly": "yes", "appendfsync": "everysec", "maxmemory-policy": "noeviction"}
    assert settings.items() >= expected.items()
    assert (shared_service.data / "valkey").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    ("condition", "words"),
    [
        pytest.param("True", "these are my last words", id="nowhere", marks=pytest.mark.soak),
        pytest.param("'TALLY_SUPERVISED' in os.environ", "could not load the application", id="in a web process"),
    ],
)
def test_new_code_that_cannot_run_is_rejected_and_the_old_code_keeps_running(shared_service, condition, words):
    """Also if only a web process detects the failure. tests/processes/test_reloading.py has the check before that."""
    old = [shared_service.pid(name) for name in ("web", "web-process", "worker-1", "scheduler")]
    broken = shared_service.data.parent / "wsgi.py"
    rest = (ROOT / "wsgi.py").read_text().replace("from __future__ import annotations", "")
    broken.write_text(f"import os, sys\nif {condition}:\n    sys.exit('these are my last words')\n{rest}")
    result = forked.tally("reload", folder=ROOT, environment=shared_service.environment)  # it refuses the other folder
    broken.unlink()
    assert result.returncode == 1
    assert "Not reloaded; what ran before goes on." in result.stderr
    assert words in result.stderr
    assert "these are my last words" in result.stderr + shared_service.said()
    assert shared_service.answers()
    assert old == [shared_service.pid(name) for name in ("web", "web-process", "worker-1", "scheduler")]


@pytest.mark.parametrize(
    "program", ["web", "scheduler", *[pytest.param(one, marks=pytest.mark.soak) for one in KILLED_ELSEWHERE]]
)
def test_a_killed_process_is_restarted_immediately(shared_service, program):
    victim = shared_service.pid(program)
    os.kill(victim, signal.SIGKILL)
    wait_until(lambda: is_back(shared_service, program, victim), BACK_SECONDS)
    assert "died" in shared_service.said()


def is_back(service, program, victim):
    if victim in service.left() or service.pid(program) in (0, victim):
        return False
    if program == "valkey":
        return valkey_of(service).ping()
    if program == "worker-1":
        return service.pid(program) in {worker.pid for worker in workers(service)}
    return service.answers()


def workers(service):
    return rq.Worker.all(connection=valkey_of(service))


def test_a_web_server_that_cannot_start_ends_everything_with_an_error(serve, folder):
    (folder / "wsgi.py").write_text(
        "import os, sys\nif 'TALLY_SUPERVISED' in os.environ:\n    sys.exit('these are my last words')\n"
        "from app import create_app\napp = create_app()\n"
    )
    service = serve(folder, modules=True, idle=["worker", "scheduler"])
    assert service.process.wait(120) != 0
    assert service.left() == {}
    assert "these are my last words" in service.said()
    assert "The program web cannot stay up, so everything is stopped." in service.said()


@pytest.fixture
def refused(folder) -> Callable[..., str]:
    """Return a function that tries to start the service in the folder, and returns what it said before it ended."""

    def start(**settings: str) -> str:
        environment = {"PATH": os.environ["PATH"], "DATA_DIR": str(folder / "var"), "PORT": str(free_port())}
        result = forked.tally("serve", folder=folder, environment=environment | settings)
        assert (result.returncode, result.stdout) == (1, "")
        return result.stderr

    return start


def test_a_port_in_use_is_reported_in_one_sentence(refused):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        said = refused(PORT=str(port))
    assert said == f"Port {port} on 127.0.0.1 is taken by another program. Stop it, or set PORT.\n"


@pytest.mark.parametrize("secret", ["", "sixteen letters!"], ids=["generated key", "configured key"])
def test_an_unwritable_folder_is_reported_in_one_sentence(refused, folder, secret):
    (folder / "file").touch()  # below a file, not even root can write
    said = refused(DATA_DIR=str(folder / "file" / "var"), SECRET_KEY=secret)
    assert said.startswith("DATA_DIR: cannot ")
    assert said.count("\n") == 1


def test_an_invalid_setting_is_reported_in_one_sentence(refused):
    said = refused(PORT="abc")
    assert "PORT" in said
    assert said.count("\n") == 1


def test_a_folder_too_deep_for_a_socket_is_reported_in_one_sentence(refused, folder):
    said = refused(DATA_DIR=str(folder / ("d" * 100)))
    assert said.startswith("DATA_DIR: the path of Valkey's socket, ")
    assert said.count("\n") == 1


def test_a_second_service_in_the_same_folder_is_rejected(refused, shared_service):
    said = refused(DATA_DIR=str(shared_service.data))
    assert said == f"Tally already runs with DATA_DIR {shared_service.data}. Stop it, or set another DATA_DIR.\n"


def test_everything_ends_when_the_launcher_is_killed(shared_service):
    """The last of the tests that share this service."""
    shared_service.process.kill()
    shared_service.process.wait()
    wait_until(lambda: not shared_service.left(), 10)


@pytest.mark.soak
def test_sigterm_ends_everything_cleanly(serve, folder):
    """In `make test` so end the services of tests/flows, which is asserted where they start."""
    ends_cleanly(serve(folder).until_ready(), signal.SIGTERM)


def test_an_odd_folder_a_host_name_and_a_missing_locale_do_not_prevent_the_start(odd_service):
    assert "Tally is at http://localhost:" in odd_service.said()
    assert odd_service.answers()
    assert {path.name for path in odd_service.data.parent.rglob("*")} >= {"events.db", "secret.key", "valkey"}


def test_a_configured_password_is_not_printed(odd_service):
    wait_until(lambda: "with the password that ADMIN_PASSWORD has" in odd_service.said(), 5)
    assert "chosen by the operator" not in odd_service.said()


def test_a_second_start_after_ctrl_c_keeps_the_data(service_started_again):
    assert valkey_of(service_started_again).get("kept") == b"yes"
    assert "password" not in service_started_again.said()


def test_a_worker_that_cannot_start_does_not_affect_the_web_server(service_started_again):
    service = service_started_again
    wait_until(lambda: "worker-1 died (exit status 1), again and again." in service.said(), 60)
    assert "these are my last words" in service.said()
    assert service.answers()
    (service.data.parent / "worker.py").unlink()
    wait_until(lambda: workers(service), 60)


def test_everything_ends_when_its_terminal_is_closed(service_started_again, terminal):
    """SIGHUP without a closed terminal means a reload."""
    our_end, its_end = terminal
    os.close(its_end)
    os.close(our_end)
    service_started_again.process.send_signal(signal.SIGHUP)  # a shell forwards the signal, but there is no shell here
    assert service_started_again.process.wait(slack(20)) == 0
    assert service_started_again.left() == {}
