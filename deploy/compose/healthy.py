"""Whether the node in this container is ready: the image's health check.

Reads $CDNLAB_READY_FILE, which a node writes once it is ready (HOST:PORT of its admin API), and asks there for
/readyz. `healthy.py HOST:PORT PATH` asks there instead. Exit code 0 and the answer's first line, or 1 and what is
wrong: `docker inspect` shows either. It knows nothing of cdnlab and imports little, since it runs in every container
every few seconds.
"""

import os
import socket
import sys

#: Seconds for the whole answer; less than the health check's own timeout, so that this sentence is what people see.
PATIENCE = 2.0
BYTES = 4096


def where(arguments: list[str]) -> tuple[str, str]:
    """(HOST:PORT, path) to ask; SystemExit with the reason where no node is ready yet."""
    if arguments:
        return arguments[0], arguments[1]
    file = os.environ.get("CDNLAB_READY_FILE", "")
    try:
        with open(file, encoding="ascii") as opened:
            return opened.read().strip(), "/readyz"
    except OSError as error:
        raise SystemExit(f"not ready: {file or 'CDNLAB_READY_FILE'}: {error.strerror}") from None


def ask(address: str, path: str) -> bytes:
    """The beginning of the answer to GET `path`. OSError, ValueError for an address that is none."""
    host, _, port = address.rpartition(":")
    with socket.create_connection((host.strip("[]"), int(port)), PATIENCE) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n".encode())
        answer = b""
        while len(answer) < BYTES and (piece := connection.recv(BYTES)):
            answer += piece
    return answer


def main(arguments: list[str]) -> int:
    """0 where the answer is a 200."""
    address, path = where(arguments)
    try:
        head, _, body = ask(address, path).partition(b"\r\n\r\n")
    except (OSError, ValueError) as error:
        print(f"not ready: {address}{path}: {error}")
        return 1
    status = head.split(b"\r\n", 1)[0].decode("latin-1")
    print(f"{address}{path}: {status} {body[:200].decode('utf-8', 'replace').strip()}")
    return 0 if status.startswith("HTTP/1.1 200 ") else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
