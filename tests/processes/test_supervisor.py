"""What `make run` promises about its processes: started, started again, stopped, or not started and why."""

from __future__ import annotations

import os
import pty
import re
import signal
import socket
import subprocess
import sys

import pytest
import redis
import rq

from tests.support.running import ROOT, START_SECONDS, wait_until

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(sys.platform != "linux", reason="looks at the processes in /proc"),
]
PROGRAMS = ("valkey", "web", "worker-1", "scheduler")
PASSWORD = re.compile(r"user: +admin\n +password: (\S+)")
BACK_SECONDS = 20  # 3 are promised, and some 0.7 measured; the rest is for a busy machine


def test_the_first_start_starts_everything_and_prints_the_url_and_the_password(serve, folder):
    service = serve(folder).until_ready()
    wait_until(lambda: PASSWORD.search(service.said()), 5)
    assert all(service.pid(program) in service.left() for program in PROGRAMS)
    assert service.said().count("Tally is at") == 1
    assert service.answers()


def test_the_first_password_may_be_chosen(serve, folder):
    service = serve(folder, ADMIN_PASSWORD="chosen by the operator").until_ready()
    wait_until(lambda: "with the password that ADMIN_PASSWORD has" in service.said(), 5)
    assert "chosen by the operator" not in service.said()


def test_a_second_start_finds_everything_and_prints_no_password(serve, folder):
    first = serve(folder).until_ready()
    database = redis.Redis(unix_socket_path=str(first.data / "valkey" / "valkey.sock"))
    database.set("kept", "yes")
    assert first.stop() == 0
    second = serve(folder).until_ready()
    assert database.get("kept") == b"yes"
    assert second.stop() == 0
    assert "password" not in second.said()


def test_the_private_valkey_has_no_port_and_a_folder_of_its_own(shared_service):
    valkey = shared_service.data / "valkey"
    settings = redis.Redis(unix_socket_path=str(valkey / "valkey.sock")).config_get("*")
    wanted = {"port": "0", "appendonly": "yes", "appendfsync": "everysec", "maxmemory-policy": "noeviction"}
    assert settings.items() >= wanted.items()
    assert valkey.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("program", ["web", "web-process", "worker-1", "scheduler", "valkey"])
def test_a_process_that_is_killed_is_back_at_once(shared_service, program):
    victim = shared_service.pid(program)
    os.kill(victim, signal.SIGKILL)
    wait_until(lambda: is_back(shared_service, program, victim), BACK_SECONDS)
    assert "died" in shared_service.said()


def is_back(service, program, victim):
    if victim in service.left() or service.pid(program) in (0, victim):
        return False
    connection = redis.Redis(unix_socket_path=str(service.data / "valkey" / "valkey.sock"))
    if program == "valkey":
        return connection.ping()
    if program == "worker-1":
        return service.pid(program) in {worker.pid for worker in rq.Worker.all(connection=connection)}
    return service.answers()


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT], ids=lambda signum: signum.name)
def test_a_signal_ends_every_process_cleanly(serve, folder, signum):
    service = serve(folder).until_ready()
    service.process.send_signal(signum)  # make sends its own after the terminal's
    assert service.stop(signum) == 0
    assert service.left() == {}


def test_everything_ends_when_its_terminal_is_closed(serve, folder):
    """SIGHUP in any other case asks for new code."""
    ours, its = pty.openpty()
    service = serve(folder, terminal=its).until_ready()
    os.close(its)
    os.close(ours)
    service.process.send_signal(signal.SIGHUP)  # a shell passes on what it got, and there is none here
    assert service.process.wait(20) == 0
    assert service.left() == {}


@pytest.mark.parametrize(
    ("condition", "words"),
    [("True", "these are my last words"), ("'TALLY_SUPERVISED' in os.environ", "could not load the application")],
    ids=["nowhere", "in a web process"],
)
def test_new_code_that_cannot_run_is_refused_and_what_ran_goes_on(shared_service, condition, words):
    """Also where only a web process finds out."""
    old = [shared_service.pid(name) for name in ("web", "web-process", "worker-1", "scheduler")]
    broken = shared_service.data.parent / "wsgi.py"
    rest = (ROOT / "wsgi.py").read_text().replace("from __future__ import annotations", "")
    broken.write_text(f"import os, sys\nif {condition}:\n    sys.exit('these are my last words')\n{rest}")
    command = [sys.executable, "-m", "flask", "--app", "app:create_app", "reload"]
    result = subprocess.run(
        command, cwd=broken.parent, env=shared_service.environment, capture_output=True, text=True, check=False
    )
    broken.unlink()
    assert result.returncode == 1
    assert "Not reloaded; what ran before goes on." in result.stderr
    assert words in result.stderr
    assert "these are my last words" in result.stderr + shared_service.said()
    assert shared_service.answers()
    assert old == [shared_service.pid(name) for name in ("web", "web-process", "worker-1", "scheduler")]


def test_when_the_supervisor_is_killed_everything_ends_with_an_error(serve, folder):
    service = serve(folder).until_ready()
    os.kill(service.supervisor(), signal.SIGKILL)
    assert service.process.wait(60) != 0
    wait_until(lambda: not service.left(), 10)
    assert "The supervisor died (SIGKILL), so everything is stopped." in service.said()


def test_when_the_launcher_is_killed_everything_ends(serve, folder):
    service = serve(folder).until_ready()
    service.process.kill()
    service.process.wait()
    wait_until(lambda: not service.left(), 10)


def test_a_worker_that_cannot_stay_up_does_not_take_the_web_server_with_it(serve, folder):
    (folder / "worker.py").write_text("raise SystemExit('these are my last words')")
    service = serve(folder).until_ready()
    wait_until(lambda: "worker-1 died (exit status 1), again and again." in service.said(), 60)
    assert "these are my last words" in service.said()
    assert service.answers()
    (folder / "worker.py").unlink()
    wait_until(lambda: worker_there(service), 60)
    assert service.stop() == 0


def worker_there(service):
    connection = redis.Redis(unix_socket_path=str(service.data / "valkey" / "valkey.sock"))
    return rq.Worker.all(connection=connection)


def test_a_web_server_that_cannot_stay_up_ends_everything_with_an_error(serve, folder):
    (folder / "wsgi.py").write_text(
        "import os, sys\nif 'TALLY_SUPERVISED' in os.environ:\n    sys.exit('these are my last words')\n"
        "from app import create_app\napp = create_app()\n"
    )
    service = serve(folder)
    assert service.process.wait(120) != 0
    assert service.left() == {}
    assert "these are my last words" in service.said()
    assert "The program web cannot stay up, so everything is stopped." in service.said()


def test_a_taken_port_is_told_in_one_sentence(serve, folder):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        service = serve(folder, PORT=str(port))
        assert service.process.wait(60) != 0
    assert service.said() == f"Port {port} on 127.0.0.1 is taken by another program. Stop it, or set PORT.\n"


@pytest.mark.parametrize("secret", ["", "sixteen letters!"], ids=["kept key", "given key"])
def test_a_folder_that_cannot_be_written_is_told_in_one_sentence(serve, folder, secret):
    (folder / "file").touch()  # below a file nobody can write, not even root
    service = serve(folder, DATA_DIR=str(folder / "file" / "var"), SECRET_KEY=secret)
    assert service.process.wait(60) != 0
    assert service.said().startswith("DATA_DIR: cannot ")
    assert service.said().count("\n") == 1


def test_a_wrong_setting_is_told_in_one_sentence(serve, folder):
    service = serve(folder, PORT="abc")
    assert service.process.wait(60) != 0
    assert "PORT" in service.said()
    assert service.said().count("\n") == 1


def test_a_folder_too_deep_for_a_socket_is_told_in_one_sentence(serve, folder):
    service = serve(folder, DATA_DIR=str(folder / ("d" * 100)))
    assert service.process.wait(60) != 0
    assert service.said().startswith("DATA_DIR: the path of Valkey's socket, ")
    assert service.said().count("\n") == 1


def test_a_second_service_in_the_same_folder_is_refused(serve, shared_service, folder):
    second = serve(folder, DATA_DIR=str(shared_service.data))
    assert second.process.wait(60) != 0
    assert second.said() == (
        f"Tally already runs with DATA_DIR {shared_service.data}. Stop it, or set another DATA_DIR.\n"
    )


def test_redis_that_is_away_is_a_warning_only(serve, folder):
    service = serve(folder, REDIS_URL="redis://127.0.0.1:1/0").until_ready()
    assert "REDIS_URL: Redis cannot be reached: Error 111 connecting to 127.0.0.1:1." in service.said()
    assert "valkey started" not in service.said()
    assert service.stop() == 0


def test_an_odd_folder_a_host_by_name_and_a_locale_that_is_missing_stop_no_start(serve, folder):
    odd = folder / "a b#%41%='\"$;ü"
    odd.mkdir()
    service = serve(odd, HOST="localhost", LC_ALL="xx_XX.ISO-8859-1", PYTHONUTF8="0", PYTHONIOENCODING="ascii")
    wait_until(lambda: "Tally is at http://localhost:" in service.said() or service.ended(), START_SECONDS)
    assert service.stop() == 0, service.said()
    assert {path.name for path in odd.rglob("*")} >= {"events.db", "secret.key", "valkey"}
