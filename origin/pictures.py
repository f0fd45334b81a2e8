"""Draws the site's pictures, which lie in site/assets: `python -m origin.pictures` makes them anew.

Decides every pixel and dot, with no library but zlib; a test holds the files against it. The origin itself never
runs this: it serves the files. Must not know pages.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from math import asin, atan2, cos, degrees, hypot, radians, sin
from pathlib import Path

from origin.land import is_land

Colour = tuple[float, float, float]
Shape = Callable[[float, float], float]
"""Signed distance from a point to the edge of a shape, below 0 inside; the picture is the square from -1 to 1."""

NAVY: Colour = (0.055, 0.106, 0.196)
TEAL: Colour = (0.145, 0.624, 0.596)
AMBER: Colour = (0.965, 0.651, 0.192)
CREAM: Colour = (0.984, 0.957, 0.902)
CORAL: Colour = (0.878, 0.361, 0.290)
SKY: Colour = (0.788, 0.890, 0.918)


def png(width: int, height: int, pixels: bytes, channels: int) -> bytes:
    """A PNG file of 8-bit RGB (3 channels) or RGBA (4) pixels, row by row (ISO/IEC 15948)."""
    stride = width * channels
    rows = b"".join(b"\0" + pixels[start : start + stride] for start in range(0, len(pixels), stride))
    head = struct.pack(">IIBBBBB", width, height, 8, {3: 2, 4: 6}[channels], 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(rows, 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def disc(x: float, y: float, r: float) -> Shape:
    """A circle about (x, y)."""
    return lambda px, py: hypot(px - x, py - y) - r


def ring(x: float, y: float, r: float, half: float) -> Shape:
    """A circle's line, `half` to either side."""
    return lambda px, py: abs(hypot(px - x, py - y) - r) - half


def box(x: float, y: float, w: float, h: float, r: float = 0.0) -> Shape:
    """A rectangle about (x, y) of half sizes w and h, its corners rounded by r."""

    def shape(px: float, py: float) -> float:
        dx, dy = abs(px - x) - w + r, abs(py - y) - h + r
        return hypot(max(dx, 0.0), max(dy, 0.0)) + min(max(dx, dy), 0.0) - r

    return shape


def cone(x: float, top: float, bottom: float, w_top: float, w_bottom: float) -> Shape:
    """A tower that widens downwards."""

    def shape(px: float, py: float) -> float:
        t = min(1.0, max(0.0, (py - top) / (bottom - top)))
        return max(abs(px - x) - (w_top + (w_bottom - w_top) * t), top - py, py - bottom)

    return shape


def wave(y: float, amplitude: float, pitch: float, half: float) -> Shape:
    """A horizontal wave's line."""
    return lambda px, py: (abs(py - y - amplitude * sin(px * pitch)) - half) * 0.8


def both(one: Shape, other: Shape) -> Shape:
    """Where both are."""
    return lambda px, py: max(one(px, py), other(px, py))


Layers = tuple[tuple[Shape, Colour], ...]

MUG: Layers = (
    (ring(0.42, 0.12, 0.28, 0.08), CORAL),
    (box(-0.08, 0.12, 0.46, 0.48, 0.1), CORAL),
    (box(-0.08, -0.29, 0.38, 0.05, 0.05), NAVY),
    (box(-0.08, 0.2, 0.46, 0.05), CREAM),
    (both(wave(-0.58, 0.06, 9.0, 0.035), box(-0.08, -0.58, 0.3, 0.2)), NAVY),
)
GLOBE: Layers = (
    (box(0, 0.78, 0.36, 0.06, 0.06), NAVY),
    (box(0, 0.66, 0.05, 0.14), NAVY),
    (ring(0, -0.06, 0.66, 0.035), AMBER),
    (disc(0, -0.06, 0.54), TEAL),
    (both(disc(0, -0.06, 0.54), disc(-0.22, -0.3, 0.26)), CREAM),
    (both(disc(0, -0.06, 0.54), disc(0.3, 0.12, 0.24)), CREAM),
    (both(disc(0, -0.06, 0.54), disc(-0.2, 0.32, 0.14)), CREAM),
)
LAMP: Layers = (
    (both(disc(0, -0.5, 0.9), box(0.55, -0.5, 0.5, 0.09)), AMBER),
    (both(disc(0, -0.5, 0.9), box(-0.55, -0.5, 0.5, 0.09)), AMBER),
    (cone(0, -0.32, 0.72, 0.17, 0.3), CREAM),
    (both(cone(0, -0.32, 0.72, 0.17, 0.3), box(0, -0.08, 1, 0.1)), CORAL),
    (both(cone(0, -0.32, 0.72, 0.17, 0.3), box(0, 0.34, 1, 0.1)), CORAL),
    (box(0, -0.5, 0.14, 0.16, 0.03), AMBER),
    (cone(0, -0.84, -0.64, 0.0, 0.24), NAVY),
    (box(0, -0.33, 0.25, 0.04), NAVY),
    (box(0, 0.77, 0.5, 0.06, 0.05), NAVY),
)
CABLE: Layers = (
    (wave(-0.1, 0.3, 4.2, 0.2), NAVY),
    (wave(-0.1, 0.3, 4.2, 0.13), TEAL),
    (wave(-0.1, 0.3, 4.2, 0.045), AMBER),
    (wave(0.62, 0.05, 12.0, 0.03), CREAM),
    (wave(0.8, 0.05, 12.0, 0.03), CREAM),
)
PARCEL: Layers = (
    (box(0, 0.1, 0.62, 0.52, 0.05), AMBER),
    (box(0, 0.1, 0.12, 0.52), CREAM),
    (box(0, -0.3, 0.68, 0.14, 0.04), CORAL),
    (box(0, -0.3, 0.13, 0.14), CREAM),
    (box(0.38, 0.42, 0.14, 0.08, 0.02), CREAM),
)
ITEMS: dict[str, tuple[Layers, Colour]] = {
    "mug": (MUG, SKY),
    "globe": (GLOBE, SKY),
    "lamp": (LAMP, (0.32, 0.48, 0.62)),
    "cable": (CABLE, (0.32, 0.48, 0.62)),
    "parcel": (PARCEL, SKY),
}


def item(layers: Layers, ground: Colour, size: int = 192) -> bytes:
    """A PNG of the layers, later ones on top, edges smoothed over one pixel."""
    pixel = 2.0 / size
    steps = [(index + 0.5) * pixel - 1 for index in range(size)]
    return png(size, size, b"".join(_blend(layers, ground, x, y, pixel) for y in steps for x in steps), 3)


def _blend(layers: Layers, colour: Colour, x: float, y: float, pixel: float) -> bytes:
    for shape, paint in layers:
        cover = min(1.0, max(0.0, 0.5 - shape(x, y) / pixel))
        if cover:
            colour = _mix(colour, paint, cover)
    return _bytes(colour)


def _mix(below: Colour, above: Colour, share: float) -> Colour:
    r, g, b = (low + (high - low) * share for low, high in zip(below, above, strict=True))
    return r, g, b


def _bytes(colour: Colour) -> bytes:
    return bytes(round(channel * 255) for channel in colour)


def favicon(size: int = 32) -> bytes:
    """A PNG of three dots joined to one, on nothing."""
    pixel = 2.0 / size
    steps = [(index + 0.5) * pixel - 1 for index in range(size)]
    dots = ((0.6 * cos(radians(a)), 0.6 * sin(radians(a))) for a in (-90, 30, 150))
    layers = (
        (disc(0, 0, 0.98), NAVY),
        (ring(0, 0, 0.6, 0.07), TEAL),
        (disc(0, 0, 0.24), AMBER),
        *((disc(x, y, 0.2), CREAM) for x, y in dots),
    )
    alpha = [
        round(255 * min(1.0, max(0.0, 0.5 - (hypot(x, y) - 0.98) / pixel))) for y in steps for x in steps
    ]
    colours = [_blend(layers, NAVY, x, y, pixel) for y in steps for x in steps]
    return png(size, size, b"".join(c + bytes((a,)) for c, a in zip(colours, alpha, strict=True)), 4)


def earth(size: int = 400, longitude: float = 100.0, latitude: float = 22.0) -> bytes:
    """A PNG of the planet as dots of land, seen from far above a point, transparent around it."""
    centre, turn = radians(latitude), radians(longitude)
    rows = [[_globe_pixel(x, y, size, centre, turn) for x in range(size)] for y in range(size)]
    return png(size, size, b"".join(b"".join(row) for row in rows), 4)


def _globe_pixel(column: int, row: int, size: int, centre: float, turn: float) -> bytes:
    """Orthographic projection (Snyder, Map Projections, §20), shaded from the upper left."""
    x, y = (column + 0.5) / size * 2 - 1, 1 - (row + 0.5) / size * 2
    distance = hypot(x, y) / 0.97
    cover = min(1.0, max(0.0, (1 - distance) * size / 2))
    if not cover:
        return b"\0\0\0\0"
    x, y = x / 0.97, y / 0.97
    z = max(0.0, 1 - x * x - y * y) ** 0.5
    lat = asin(max(-1.0, min(1.0, z * sin(centre) + y * cos(centre))))
    lon = turn + atan2(x, z * cos(centre) - y * sin(centre))
    light = 0.62 + 0.38 * max(0.0, z * 0.75 + y * 0.35 - x * 0.35)
    colour = _mix(NAVY, TEAL, 0.18 + 0.14 * z)
    dot = _land_dot(degrees(lat), (degrees(lon) + 540) % 360 - 180)
    colour = _mix(colour, CREAM, dot * (0.35 + 0.6 * z))
    return _bytes(_mix((0.0, 0.0, 0.0), colour, light)) + bytes((round(255 * cover),))


def _land_dot(latitude: float, longitude: float, pitch: float = 2.6) -> float:
    """How much of the point is a dot of land: dots stand on circles of latitude, evenly along each."""
    line = round(latitude / pitch) * pitch
    narrow = max(0.08, cos(radians(line)))
    step = 360 / max(1, round(360 / (pitch / narrow)))
    near = round(longitude / step) * step
    apart = hypot((longitude - near) * narrow, latitude - line) / pitch
    return min(1.0, max(0.0, (0.4 - apart) * 9)) if is_land(near, line) else 0.0


def world_svg(pitch: float = 2.5) -> str:
    """An SVG of the world in degrees (x: longitude, y: minus latitude), one path of round dots."""
    moves = "".join(f"M{_short(x)} {_short(-y)}h0" for x, y in _land_points(pitch))
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="-180 -84 360 142">'
        '<path fill="none" stroke="#7f93a8" stroke-opacity=".6" stroke-width="1.5" stroke-linecap="round" '
        f'd="{moves}"/></svg>\n'
    )


def _land_points(pitch: float) -> Iterator[tuple[float, float]]:
    for row in range(round(-57 / pitch), round(84 / pitch)):
        for column in range(round(-180 / pitch), round(180 / pitch)):
            if is_land(column * pitch, row * pitch):
                yield column * pitch, row * pitch


def _short(number: float) -> str:
    return f"{number:g}"


def files() -> dict[str, bytes]:
    """Every drawn file by name."""
    drawn = {f"{name}.png": item(layers, ground) for name, (layers, ground) in ITEMS.items()}
    return {**drawn, "earth.png": earth(), "favicon.png": favicon(), "world.svg": world_svg().encode()}


def main() -> None:
    """Write the files into site/assets."""
    folder = Path(__file__).parent / "site" / "assets"
    for name, content in files().items():
        (folder / name).write_bytes(content)
        print(f"{name}: {len(content)} bytes")


if __name__ == "__main__":
    main()
