"""Self-signed certificates for tests, made by openssl."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest


def self_signed(path: Path, name: str) -> Path:
    """Write a key and a certificate for the host `name` into one file; skips the test where openssl is missing."""
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl to make a certificate")
    certificate = path.with_suffix(".crt")
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -batch"
    named = ["-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}"]
    files = ["-keyout", str(path), "-out", str(certificate)]
    subprocess.run([*command.split(), *named, *files], check=True, capture_output=True)
    path.write_text(path.read_text() + certificate.read_text())
    return path
