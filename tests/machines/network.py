"""Machines of a test: each has an address, processes and a folder, and can be cut off, killed and started again.

A machine is a network namespace with a cable to a switch, which connects it to this process and to the servers that all
machines share. Where namespaces cannot be made, because the user is not root or the kernel refuses, a machine is an
address of the loopback network. It has no cable to pull, so its processes are suspended instead.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.support.running import PYTHONPATH

TALLY = "from app.cli.main import main; main()"


class Machine:
    """An address of the loopback network, with processes and a folder of its own."""

    def __init__(self, address: str, folder: Path) -> None:
        self.address, self.folder = address, folder
        self._started: list[subprocess.Popen] = []
        folder.mkdir()

    def run(self, program: str, settings: dict[str, str], code: str = TALLY) -> subprocess.Popen:
        """Start a program, by default `tally PROGRAM`. Its output is appended to the file of its name.

        Args:
            code: what Python executes.
        """
        own = {"PATH": os.environ["PATH"], "HOME": str(self.folder), "PYTHONPATH": PYTHONPATH, "HOST": self.address}
        own |= settings | {"DATA_DIR": str(self.folder / "var")}
        command = self._inside([sys.executable, "-c", code, program])
        with (self.folder / program).open("a") as said:
            self._started.append(subprocess.Popen(command, cwd=self.folder, env=own, stdout=said, stderr=said))
        return self._started[-1]

    def said(self, program: str) -> str:
        """Return the output of a program so far."""
        return (self.folder / program).read_text()

    def cut_off(self) -> None:
        """Let nothing reach it or leave it. Nothing ends its connections, either."""
        self._signal(signal.SIGSTOP)

    def reconnect(self) -> None:
        """Undo `cut_off`."""
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """SIGKILL all of its processes."""
        while self.processes():
            self._signal(signal.SIGKILL)
            for process in self._started:
                process.wait()
        self._started.clear()

    def _signal(self, signum: int) -> None:
        for process in self.processes():
            with contextlib.suppress(ProcessLookupError):  # it has ended meanwhile
                os.kill(process, signum)

    def _inside(self, command: Sequence[str]) -> list[str]:
        """Return the command that runs a command on this machine."""
        return list(command)

    def processes(self) -> list[int]:
        """Return the ids of its processes, found by their DATA_DIR."""
        own = f"DATA_DIR={self.folder / 'var'}".encode()
        return [int(entry.name) for entry in Path("/proc").iterdir() if own in _environment(entry)]


class Namespace(Machine):
    """A network namespace whose cable has its name."""

    def __init__(self, address: str, folder: Path, name: str) -> None:
        super().__init__(address, folder)
        self._name = name

    def cut_off(self) -> None:
        """Pull the cable."""
        _ip(f"link set {self._name} down")

    def reconnect(self) -> None:
        """Plug the cable in."""
        _ip(f"link set {self._name} up")

    def _inside(self, command: Sequence[str]) -> list[str]:
        return ["ip", "netns", "exec", self._name, *command]


class Switch:
    """A bridge, which ends with a stack, as do the cables and the namespaces at their other ends.

    No interface of this machine gets an address, because Chromium ends its connections when one is added or removed,
    and other tests use Chromium at the same time. Routes make the hub's address local instead.

    Raises:
        OSError, CalledProcessError: this user or this kernel cannot make one, or namespaces.
    """

    def __init__(self, stack: contextlib.ExitStack) -> None:
        self._stack = stack
        self._name = f"tally{os.getpid()}"  # an interface's name has at most 15 characters
        self.net = next(net for net in _test_nets() if not _ip(f"route show root {net}.0/24"))
        self._add(f"link add {self._name} type bridge", f"link del {self._name}")
        _ip(f"link set {self._name} addrgenmode none")
        _ip(f"link set {self._name} up")
        self._add(f"route add local {self.net}.1 dev lo", f"route del local {self.net}.1 dev lo")
        _ip(f"route add {self.net}.0/24 dev {self._name} src {self.net}.1")
        self.lay_cable(254)

    def lay_cable(self, number: int) -> str:
        """Connect a new namespace, which has this number in the net, and return its name."""
        name = f"{self._name}-{number}"
        self._add(f"netns add {name}", f"netns del {name}")
        _ip(f"link add {name} type veth peer name eth0 netns {name}")
        _ip(f"link set {name} addrgenmode none")
        _ip(f"link set {name} master {self._name} up")
        _ip(f"-n {name} address add {self.net}.{number}/24 dev eth0")
        _ip(f"-n {name} link set lo up")
        _ip(f"-n {name} link set eth0 up")
        return name

    def _add(self, make: str, remove: str) -> None:
        _ip(make)
        self._stack.callback(_ip, remove)


class Network:
    """Machines that end with a stack.

    Attributes:
        hub: the address of the servers that all machines share.
    """

    def __init__(self, folder: Path, stack: contextlib.ExitStack) -> None:
        self._folder, self._stack, self._numbers = folder, stack, itertools.count(2)
        self._switch: Switch | None = None
        with contextlib.suppress(OSError, subprocess.CalledProcessError):
            self._switch = Switch(stack)
        self.hub = f"{self._switch.net}.1" if self._switch else "127.0.0.1"

    def machine(self) -> Machine:
        """Return another machine, which is connected."""
        number = next(self._numbers)
        folder = self._folder / f"machine-{number}"
        if self._switch:
            name = self._switch.lay_cable(number)
            machine: Machine = Namespace(f"{self._switch.net}.{number}", folder, name)
        else:
            machine = Machine(f"127.0.1.{number}", folder)
        self._stack.callback(machine.kill)
        return machine


def _ip(words: str) -> str:
    """Run ip(8), and return its output."""
    return subprocess.run(["ip", *words.split()], check=True, capture_output=True, text=True).stdout


def _test_nets() -> list[str]:
    """Return nets that are reserved for tests of networks (RFC 2544), in an order of this process's own."""
    return [f"198.18.{(os.getpid() + number) % 256}" for number in range(256)]


def _environment(process: Path) -> bytes:
    try:
        return (process / "environ").read_bytes()
    except OSError:  # not a process, or it has ended
        return b""
