"""Where a forked process's output goes: its log file, and never an error from it.

A disk that is full must not end a node. Python raises on a failed write to stderr, so the streams set here swallow
that and count; the count is said once the disk takes lines again.
"""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path


class Forgiving(io.TextIOBase):
    """A text stream on a descriptor, unbuffered, that drops what cannot be written."""

    encoding = "utf-8"
    errors = "backslashreplace"

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.dropped = 0

    def write(self, text: str) -> int:
        """Write `text`, or drop it; always its length."""
        try:
            if self.dropped:
                os.write(self._descriptor, f"({self.dropped} writes to this log were dropped)\n".encode())
                self.dropped = 0
            os.write(self._descriptor, text.encode(self.encoding, self.errors))
        except OSError:
            self.dropped += 1
        return len(text)

    def fileno(self) -> int:
        """The descriptor, for faulthandler and for children."""
        return self._descriptor

    def writable(self) -> bool:
        """Always."""
        return True


def redirect(path: Path) -> None:
    """Make `path` this process's standard output and error, appending; /dev/null where it cannot be opened."""
    try:
        log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    except OSError:
        log = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
    nothing = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    os.dup2(nothing, 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    os.close(nothing)
    sys.stdout = Forgiving(1)
    sys.stderr = Forgiving(2)


def last_line(path: Path, limit: int = 4096) -> str:
    """The last line that says something in the last `limit` bytes of a log; empty if there is none."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - limit))
            lines = file.read(limit).decode("utf-8", "replace").splitlines()
    except OSError:
        return ""
    return next((line.strip() for line in reversed(lines) if line.strip()), "")
