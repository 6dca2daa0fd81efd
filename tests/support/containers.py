"""A Containerfile without a container engine: its instructions, run in order on a root folder of their own.

A stage is a folder with a copy of /etc. The machine's own programs and Python, bound read-only, stand for the base
image. Mount and network namespaces of Linux do the rest, which needs root.
"""

from __future__ import annotations

import fnmatch
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from string import Template

# What stands for the base image. Symbolic links among them, such as /bin, are made again.
SYSTEM = tuple(Path(path) for path in ("/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc/alternatives"))
DEVICES = (Path("/dev"), Path("/proc"))
PATH = f"{sys.base_prefix}/bin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
CACHE = "--mount=type=cache,target="
UP = "import fcntl, socket, struct; s = socket.socket(); fcntl.ioctl(s, 0x8914, struct.pack('16sh', b'lo', 0x41))"


def instructions(text: str) -> Iterator[tuple[str, str]]:
    """Yield the instructions of a Containerfile, continued lines joined and comments left out."""
    kept = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    for line in kept.replace("\\\n", " ").splitlines():
        if line.strip():
            name, _, rest = line.strip().partition(" ")
            yield name.upper(), rest.strip()


def is_ignored(path: str, patterns: Sequence[str]) -> bool:
    """Return whether an ignore file keeps a path out of the build context: the last pattern that matches decides."""
    parts = path.split("/")
    ancestors = ["/".join(parts[: count + 1]) for count in range(len(parts))]
    ignored = False
    for pattern in patterns:
        bare = pattern.removeprefix("!").strip("/")
        expression = re.compile(
            "".join(
                {"**/": "(.*/)?", "*": "[^/]*"}.get(piece) or re.escape(piece)
                for piece in re.split(r"(\*\*/|\*)", bare)
            )
        )
        if any(expression.fullmatch(ancestor) for ancestor in ancestors):
            ignored = not pattern.startswith("!")
    return ignored


def context(folder: Path) -> list[str]:
    """Return the files of a build context, as its .dockerignore leaves them."""
    lines = [line.strip() for line in (folder / ".dockerignore").read_text().splitlines()]
    patterns = [line for line in lines if line and not line.startswith("#")]
    tops = [entry for entry in folder.iterdir() if not is_ignored(entry.name, patterns)]
    paths = [path for top in tops for path in ([top] if top.is_file() else top.rglob("*"))]
    files = [str(path.relative_to(folder)) for path in paths if path.is_file()]
    return sorted(file for file in files if not is_ignored(file, patterns))


@dataclass
class Image:
    """A stage: its folder, and what its instructions have set."""

    root: Path
    environment: dict[str, str] = field(default_factory=lambda: {"PATH": PATH})
    workdir: str = "/"
    user: str = "0:0"
    volumes: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)
    healthcheck: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.root.mkdir()
        shutil.copytree("/etc", self.root / "etc", symlinks=True, ignore=shutil.ignore_patterns("alternatives"))
        (self.root / "tmp").mkdir(mode=0o1777)
        for path in SYSTEM:
            if path.is_symlink():
                (self.root / path.name).symlink_to(path.readlink())

    def arguments(
        self,
        command: Sequence[str],
        *,
        user: str = "",
        environment: Mapping[str, str] | None = None,
        binds: Mapping[Path, str] | None = None,
        read_only: bool = False,
    ) -> list[str]:
        """Return the command that runs another one in this root folder.

        Args:
            command: it and its arguments.
            user: `uid:gid`, if it is not the stage's.
            environment: variables beside those of the stage.
            binds: files and folders of the machine, by their path in the root folder; those in it stay writable.
            read_only: whether the root folder cannot be written, except what is bound there and /tmp.
        """
        bound = [path for path in SYSTEM if path.is_dir() and not path.is_symlink()]
        if not Path(sys.base_prefix).is_relative_to("/usr"):
            bound.append(Path(sys.base_prefix))
        lines = ["set -e", "mount --make-rprivate /", f"mount --bind {self._in('/')} {self._in('/')}"]
        lines += [self._bind(path, str(path), flag="--rbind") for path in DEVICES]
        lines += [self._bind(path, str(path), read_only=True) for path in bound]
        lines += [self._bind(path, target) for path, target in (binds or {}).items()]
        if read_only:
            lines += [f"mount -o remount,bind,ro {self._in('/')}", f"mount -t tmpfs tmpfs {self._in('/tmp')}"]
        variables = [f"{name}={value}" for name, value in (self.environment | dict(environment or {})).items()]
        inside = ["env", "-i", f"--chdir={self.workdir}", *variables, *command]
        entered = ["chroot", f"--userspec={user or self.user}", str(self.root), *inside]
        return ["unshare", "--mount", "sh", "-c", "\n".join([*lines, f"exec {shlex.join(entered)}"])]

    def make_volume(self, folder: Path) -> dict[Path, str]:
        """Return what to bind for a new volume: the folder, with the owner that the image's own has."""
        [volume] = self.volumes
        folder.mkdir()
        found = (self.root / volume.lstrip("/")).stat()
        os.chown(folder, found.st_uid, found.st_gid)
        return {folder: volume}

    def _in(self, path: str) -> str:
        return shlex.quote(f"{self.root}{path}")

    def _bind(self, source: Path, target: str, *, flag: str = "--bind", read_only: bool = False) -> str:
        place = self.root / target.lstrip("/")
        if source.is_dir():
            place.mkdir(parents=True, exist_ok=True)
        elif not place.exists():
            place.parent.mkdir(parents=True, exist_ok=True)
            place.touch()
        bound = f"mount {flag} {shlex.quote(str(source))} {shlex.quote(str(place))}"
        return f"{bound}; mount -o remount,bind,ro {shlex.quote(str(place))}" if read_only else bound


def build(containerfile: Path, sources: Path, folder: Path) -> Image:
    """Run the instructions of a Containerfile in order, and return its last stage.

    Args:
        containerfile: its path.
        sources: the folder of the build context, to which the ignore file applies.
        folder: where the stages' root folders are made.
    """
    stages: dict[str, Image] = {}
    image = Image(folder / "none")
    for name, rest in instructions(containerfile.read_text()):
        if name == "FROM":
            label = rest.partition(" AS ")[2] or "last"
            image = stages[label] = Image(folder / label)
        elif name == "RUN":
            _run(image, rest)
        elif name == "COPY":
            _copy(image, rest.split(), stages, sources)
        else:
            _set(image, name, rest)
    return image


def _run(image: Image, rest: str) -> None:
    """Run a command line. Its cache mount is a folder that this machine keeps from one build to the next."""
    binds = {}
    if rest.startswith(CACHE):
        mount, _, rest = rest.partition(" ")
        folder = Path.home() / ".cache" / "pip"
        folder.mkdir(parents=True, exist_ok=True)
        binds[folder] = mount.removeprefix(CACHE)
    command = image.arguments(["sh", "-c", rest], environment=_pip(), binds=binds)
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    assert done.returncode == 0, done.stdout


def _pip() -> dict[str, str]:
    """Return the settings of this machine's pip, such as a mirror, for the packages that a stage installs."""
    return {name: value for name, value in os.environ.items() if name.startswith("PIP_")}


def _copy(image: Image, words: list[str], stages: Mapping[str, Image], sources: Path) -> None:
    *given, target = [word for word in words if not word.startswith("--")]
    place = image.root / os.path.join(image.workdir, target).lstrip("/")
    origin = next((word.removeprefix("--from=") for word in words if word.startswith("--from=")), "")
    if origin:
        [source] = given
        shutil.copytree(stages[origin].root / source.lstrip("/"), place, symlinks=True, copy_function=os.link)
        return
    for path in context(sources):
        if any(one == "." or path == one or path.startswith(f"{one}/") or fnmatch.fnmatch(path, one) for one in given):
            (place / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(sources / path, place / path)


def _set(image: Image, name: str, rest: str) -> None:
    """Carry out an instruction that only sets something."""
    if name == "ENV":
        given = dict(word.split("=", 1) for word in shlex.split(rest))
        image.environment |= {one: Template(value).substitute(image.environment) for one, value in given.items()}
    elif name == "WORKDIR":
        image.workdir = rest
        (image.root / rest.lstrip("/")).mkdir(parents=True, exist_ok=True)
    elif name == "USER":
        image.user = rest
    elif name == "VOLUME":
        image.volumes += rest.split()
    elif name == "CMD":
        image.command = json.loads(rest)
    elif name == "HEALTHCHECK":
        image.healthcheck = json.loads(rest[rest.index("CMD") + 3 :])
    else:
        assert name in {"EXPOSE", "STOPSIGNAL"}, f"this instruction is not known here: {name}"


@contextmanager
def network() -> Iterator[list[str]]:
    """Make a network of its own, whose ports are all free; yield the beginning of a command that runs in it.

    Whoever is not root needs a system that allows user namespaces.
    """
    own_user, same_user = ([], []) if os.geteuid() == 0 else (["--user", "--map-root-user"], ["--user"])
    holder = subprocess.Popen(
        ["unshare", *own_user, "--net", sys.executable, "-c", f"{UP}; print('up', flush=True); input()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"up\n"
        yield ["nsenter", f"--target={holder.pid}", "--preserve-credentials", "--net", *same_user]
    finally:
        holder.communicate(b"\n")
