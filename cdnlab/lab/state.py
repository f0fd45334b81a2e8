"""The directory of one lab: where it is, what lies in it, and who may use it now.

    lock           held (flock) by every process of the running lab, so it is free exactly when all of them are gone
    lab.sock       the control API                 store.sock   the embedded store
    topology.yaml  the topology as last loaded     secrets/     made anew by every `up`
    version        its number, once `cdnlab reload` has changed it; choices.json: what `up` was told beside a file
    logs/          one file per node                disk/        what edges store on disk, unless told where
    prometheus/    whom to scrape and how; the data of the Prometheus that `up --prometheus` starts
    store_faults.json  what each node's client of the store does on purpose (cdnlab/node/faults.py)

It decides whether a directory may be taken and what of a former lab is removed. It starts nothing, and imports only
the standard library, since every command passes here.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import stat
import tempfile
import time
from pathlib import Path

from cdnlab.lab.errors import MISUSED, LabError

#: sockaddr_un holds 108 bytes, one of them the final NUL, unix(7).
SOCKET_PATH_BYTES = 107
#: How long `up` waits for the last processes of a killed lab to be gone, seconds.
DYING = 2.0
ENVIRONMENT = "CDNLAB_STATE"


def default_directory() -> Path:
    """$CDNLAB_STATE, else $XDG_RUNTIME_DIR/cdnlab, else a directory of this user's under the system's temporary one."""
    if chosen := os.environ.get(ENVIRONMENT):
        return Path(chosen)
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime and os.access(runtime, os.W_OK):
        return Path(runtime) / "cdnlab"
    return Path(tempfile.gettempdir()) / f"cdnlab-{os.getuid()}"


class StateDirectory:
    """The paths of one lab's state, and its lock. `path` need not exist."""

    def __init__(self, path: Path | None = None) -> None:
        self.given = path is not None or ENVIRONMENT in os.environ
        self.path = Path(os.path.abspath((path or default_directory()).expanduser()))
        self.lock = self.path / "lock"
        self.socket = self.path / "lab.sock"
        self.store_socket = self.path / "store.sock"
        self.store_faults = self.path / "store_faults.json"
        self.topology = self.path / "topology.yaml"
        self.version = self.path / "version"
        self.choices = self.path / "choices.json"
        self.secrets = self.path / "secrets"
        self.logs = self.path / "logs"
        self.prometheus = self.path / "prometheus"

    def log(self, name: str) -> Path:
        """The log file of the node, the store or the supervisor called `name`."""
        return self.logs / f"{name}.log"

    def claim(self, *, shared: bool = False) -> int:
        """Make the directory, take its lock and remove what a former lab left.

        `shared`: with nodes that were started apart, so the secrets in it are theirs and stay, as all does but our own.
        Returns the lock's descriptor: whoever has it open holds the lock. Raises LabError if another lab runs here,
        if the directory is somebody else's or holds other things, or if nothing can be written in it.
        """
        self._check_length()
        try:
            self._make(shared)
            descriptor = os.open(self.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self._take(descriptor, shared)
            self.socket.unlink(missing_ok=True) if shared else self._clean()
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
            self.logs.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise unwritable(self.path, error) from error
        return descriptor

    def holder(self) -> int | None:
        """The pid of the supervisor that holds the lock; 0 if it is held but unnamed; None if no lab runs here."""
        try:
            descriptor = os.open(self.lock, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return None
        except BlockingIOError:
            written = os.pread(descriptor, 32, 0).strip()
            return int(written) if written.isdigit() else 0
        finally:
            os.close(descriptor)

    def sweep(self) -> None:
        """After the lab has ended: remove what makes no sense without it. Logs and topology stay for the reader."""
        for path in (self.socket, self.store_socket, self.store_faults):
            path.unlink(missing_ok=True)
        shutil.rmtree(self.secrets, ignore_errors=True)

    def _check_length(self) -> None:
        length = len(os.fsencode(self.store_socket))
        if length > SOCKET_PATH_BYTES:
            raise LabError(
                f"state directory {self.path}: its sockets' paths take {length} bytes, "
                f"and the kernel allows {SOCKET_PATH_BYTES}",
                "give a shorter path with --state",
                MISUSED,
            )

    def _make(self, shared: bool) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self.path.mkdir(mode=0o700)
        except FileExistsError:
            self._check_ours({self.secrets} if shared else set())
        os.chmod(self.path, 0o700)

    def _check_ours(self, expected: set[Path]) -> None:
        """Refuse what is not a directory of this user's made for a lab, but for what is `expected` in it."""
        found = os.lstat(self.path)
        if not stat.S_ISDIR(found.st_mode):
            raise LabError(
                f"state directory {self.path}: it is not a directory", "give another with --state", MISUSED
            )
        if found.st_uid != os.getuid():
            raise LabError(
                f"state directory {self.path}: it belongs to user {found.st_uid}, not to you ({os.getuid()})",
                "give another with --state",
                MISUSED,
            )
        if not self.lock.exists() and set(self.path.iterdir()) - expected:
            raise LabError(
                f"state directory {self.path}: it holds files that no lab made",
                "give an empty or a new one with --state",
                MISUSED,
            )

    def _take(self, descriptor: int, shared: bool) -> None:
        deadline = time.monotonic() + DYING
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                pid = self.holder()
                if time.monotonic() > deadline or (pid and _alive(pid)):
                    os.close(descriptor)
                    raise (observed if shared else running)(self, pid or 0) from None
            time.sleep(0.02)

    def _clean(self) -> None:
        self.sweep()
        for file in (self.topology, self.version, self.choices):
            file.unlink(missing_ok=True)
        for directory in (self.logs, self.prometheus, self.path / "disk"):
            shutil.rmtree(directory, ignore_errors=True)


def running(state: StateDirectory, pid: int) -> LabError:
    """The error for a second `up` in one state directory."""
    where = f" --state {state.path}" if state.given else ""
    return LabError(
        f"a lab is already running in {state.path} (pid {pid or 'unknown'})",
        f"end it with `cdnlab down{where}`, or start another beside it with --state DIR and --port BASE",
    )


def observed(state: StateDirectory, pid: int) -> LabError:
    """The error for an observer where somebody is already."""
    return LabError(
        f"somebody serves the page for {state.path} already (pid {pid or 'unknown'})",
        "end that one, or give another directory with --state and another address with --page",
    )


def unwritable(path: Path, error: OSError) -> LabError:
    """The error for a state directory in which nothing can be written: a full disk, a missing right."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    where = error.filename or path
    remedy = "make room there" if full else "check its permissions"
    return LabError(
        f"cannot write {where}: {error.strerror or error}",
        f"{remedy}, or give another directory with --state",
    )


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
