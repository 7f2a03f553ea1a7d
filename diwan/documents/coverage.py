"""Which characters our fonts can draw: PDF/UA forbids a letter with one that they cannot."""

from __future__ import annotations

import struct
from functools import cache
from pathlib import Path

FONTS = Path(__file__).parent / "fonts"
REPLACEMENT = "\ufffd"


@cache
def drawable() -> frozenset[int]:
    """Code points that a regular font of ours has a glyph for (the bold ones have the same)."""
    points: set[int] = set()
    for font in sorted(FONTS.glob("*-Regular.ttf")):
        points |= _code_points(font.read_bytes())
    return frozenset(points)


def _code_points(font: bytes) -> set[int]:
    """Code points of a TrueType font's `cmap` table, format 4 (OpenType 1.9, cmap)."""
    (tables,) = struct.unpack_from(">H", font, 4)
    records = (struct.unpack_from(">4sIII", font, 12 + 16 * n) for n in range(tables))
    start = next(offset for tag, _, offset, _ in records if tag == b"cmap")
    (count,) = struct.unpack_from(">H", font, start + 2)
    points: set[int] = set()
    for n in range(count):
        _, _, offset = struct.unpack_from(">HHI", font, start + 4 + 8 * n)
        if struct.unpack_from(">H", font, start + offset)[0] == 4:
            points |= _format_4(font, start + offset)
    return points


def _format_4(font: bytes, at: int) -> set[int]:
    (doubled,) = struct.unpack_from(">H", font, at + 6)
    segments = doubled // 2
    ends = struct.unpack_from(f">{segments}H", font, at + 14)
    starts_at = at + 16 + doubled
    starts = struct.unpack_from(f">{segments}H", font, starts_at)
    deltas = struct.unpack_from(f">{segments}h", font, starts_at + doubled)
    offsets_at = starts_at + 2 * doubled
    offsets = struct.unpack_from(f">{segments}H", font, offsets_at)
    points: set[int] = set()
    for n in range(segments):
        for point in range(starts[n], min(ends[n], 0xFFFE) + 1):
            glyph = point + deltas[n]
            if offsets[n]:
                (index,) = struct.unpack_from(">H", font, offsets_at + 2 * n + offsets[n] + 2 * (point - starts[n]))
                glyph = index and index + deltas[n]
            if glyph & 0xFFFF:
                points.add(point)
    return points


def only_drawable(text: str) -> str:
    """`text` with every character that no font of ours can draw replaced by U+FFFD."""
    known = drawable()
    return "".join(char if ord(char) in known or char in "\n\u200b" else REPLACEMENT for char in text)
