"""The site's style, scripts and pictures, each under a name that holds a hash of its content.

Decides those names: a new content is a new name, so the answers may be kept for ever (RFC 8246, immutable).
Must not know pages. Pure but for reading the package's own files once at start.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from origin import digest

SITE = Path(__file__).parent / "site"
CACHE_CONTROL = "public, max-age=31536000, immutable"
MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".png": "image/png",
    ".svg": "image/svg+xml",
}


@dataclass(frozen=True, slots=True)
class Asset:
    """One file: its URL path, content, media type, strong entity-tag and Repr-Digest."""

    path: str
    content: bytes
    media_type: str
    etag: str
    repr_digest: str


class Assets:
    """All files of site/assets, by name for pages and by path for requests."""

    def __init__(self, folder: Path = SITE / "assets") -> None:
        files = [file for file in sorted(folder.iterdir()) if file.suffix in MEDIA_TYPES]
        self.by_name = {file.name: _asset(file) for file in files}
        self.by_path = {asset.path: asset for asset in self.by_name.values()}

    def path(self, name: str) -> str:
        """The URL path of the file `name`; KeyError if there is none."""
        return self.by_name[name].path


def _asset(file: Path) -> Asset:
    content = file.read_bytes()
    name = sha256(content).hexdigest()
    path = f"/assets/{file.stem}.{name[:12]}{file.suffix}"
    return Asset(path, content, MEDIA_TYPES[file.suffix], f'"{name[:32]}"', digest.of(content))
