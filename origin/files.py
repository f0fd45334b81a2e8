"""The downloads: files of 1, 10 and 100 MiB that exist only as arithmetic, served whole or in ranges.

Decides their names, validators and digests, and how parts are sent. Must not know the site.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from aiohttp import web

from cdnlab.net import clock
from origin import blocks, conditional, digest, ranges, reply

MIB = 1024 * 1024
MODIFIED = 1767225600  # 2026-01-01T00:00:00Z: the day this edition of the bytes was fixed
CACHE_CONTROL = "public, max-age=86400"
BOUNDARY = "cdnlab-part-5a1f0c7e"


@dataclass(frozen=True, slots=True)
class File:
    """A file: its name, size in bytes, and the SHA-256 of its content (a test computes it again)."""

    name: str
    size: int
    sha256: str

    @property
    def etag(self) -> str:
        return f'"{self.sha256[:32]}"'

    @property
    def repr_digest(self) -> str:
        """Repr-Digest (RFC 9530): of the whole representation, also on 206."""
        return digest.field(bytes.fromhex(self.sha256))


FILES: dict[str, File] = {
    file.name: file
    for file in (
        File("1MiB.bin", MIB, "2301df2f97d1928f5e94f8d47daae23afe3ea9d21d2f4d220d5c030cdccdb7f3"),
        File("10MiB.bin", 10 * MIB, "5625a244fdbc96a4dc64d570494f6b4eab27402b0a8f50b1a0b8ce20dcff0abe"),
        File("100MiB.bin", 100 * MIB, "4cffc2839a69d58e436ca444496de6fb77190d0ff75a4fac1f0baf7b5ba0d032"),
    )
}


async def download(request: web.Request) -> web.StreamResponse:
    """GET or HEAD of one file: 200, 206, 304, 404, 412 or 416."""
    file = FILES.get(request.match_info["name"])
    if file is None:
        return reply.problem(404, f"The files are {', '.join(FILES)}.")
    headers = _headers(file)
    verdict = conditional.evaluate(
        request.method, request.headers, etag=file.etag, modified=MODIFIED, wall=clock.wall()
    )
    if verdict is conditional.Verdict.NOT_MODIFIED:
        return reply.not_modified(headers)
    if verdict is conditional.Verdict.FAILED:
        return reply.problem(
            412, "The file never changes, and this is not its validator.", {"ETag": file.etag}
        )
    try:
        spans = _spans(request, file)
    except ranges.Unsatisfiable:
        fields = {"Content-Range": f"bytes */{file.size}"}
        return reply.problem(416, f"The file has {file.size} bytes.", fields)
    if spans is None:
        return await _send(request, 200, headers, file.size, blocks.pieces(file.name, 0, file.size))
    if len(spans) == 1:
        headers["Content-Range"] = ranges.content_range(spans[0], file.size)
        body = blocks.pieces(file.name, *spans[0])
        return await _send(request, 206, headers, spans[0][1] - spans[0][0], body)
    headers["Content-Type"] = f"multipart/byteranges; boundary={BOUNDARY}"
    return await _send(request, 206, headers, multipart_length(file, spans), multipart(file, spans))


def multipart(file: File, spans: list[ranges.Span]) -> Iterator[bytes]:
    """The body of a multipart/byteranges response (RFC 9110 §14.6), in pieces."""
    for span in spans:
        yield _part_head(file, span)
        yield from blocks.pieces(file.name, *span)
    yield f"\r\n--{BOUNDARY}--\r\n".encode()


def multipart_length(file: File, spans: list[ranges.Span]) -> int:
    """Its length in bytes, without making it."""
    parts = sum(len(_part_head(file, span)) + span[1] - span[0] for span in spans)
    return parts + len(f"\r\n--{BOUNDARY}--\r\n")


def _part_head(file: File, span: ranges.Span) -> bytes:
    return (
        f"\r\n--{BOUNDARY}\r\nContent-Type: application/octet-stream\r\n"
        f"Content-Range: {ranges.content_range(span, file.size)}\r\n\r\n"
    ).encode()


def _spans(request: web.Request, file: File) -> list[ranges.Span] | None:
    """Range is defined for GET alone (RFC 9110 §14.2), and yields to If-Range."""
    applies = conditional.range_applies(
        request.headers.get("If-Range"), etag=file.etag, modified=MODIFIED, wall=clock.wall()
    )
    if request.method != "GET" or not applies:
        return None
    return ranges.parse(request.headers.get("Range"), file.size)


def _headers(file: File) -> dict[str, str]:
    return {
        "Content-Type": "application/octet-stream",
        "Cache-Control": CACHE_CONTROL,
        "Accept-Ranges": "bytes",
        "ETag": file.etag,
        "Last-Modified": reply.http_date(MODIFIED),
        "Repr-Digest": file.repr_digest,
        "X-Checksum-SHA256": file.sha256,
    }


async def _send(
    request: web.Request, status: int, headers: dict[str, str], length: int, body: Iterator[bytes]
) -> web.StreamResponse:
    response = web.StreamResponse(status=status, headers=headers)
    response.content_length = length
    await response.prepare(request)
    if request.method != "HEAD":
        for piece in body:
            await response.write(piece)
    return response
