"""QR codes as pictures that typst sets: one filled shape, so that no hairline stands between two modules."""

from __future__ import annotations

import segno

from diwan.domain.errors import Final

_QUIET = 4  # modules of white around, as ISO/IEC 18004 asks


def svg_of(text: str, *, error: str) -> str:
    """An SVG a module a unit; `text` has only signs of the alphanumeric mode, `error` is how much may be dirty.

    Raises `Final` (`letter.code_too_long`) where it does not fit into one code.
    """
    try:
        rows = [list(row) for row in segno.make(text, error=error, mode="alphanumeric", boost_error=False).matrix]
    except segno.DataOverflowError:
        raise Final("letter.code_too_long", "The receipt does not fit into one code.", "Cosign by fewer.") from None
    side = len(rows) + 2 * _QUIET
    path = "".join(
        f"M{_QUIET + start} {_QUIET + y}h{end - start}v1h-{end - start}z"
        for y, row in enumerate(rows)
        for start, end in _dark(row)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {side} {side}">'
        f'<rect width="{side}" height="{side}" fill="#fff"/><path fill="#000" d="{path}"/></svg>'
    )


def modules_of(text: str, *, error: str) -> int:
    """How many modules such a code has on a side, without the white around it."""
    return len(segno.make(text, error=error, mode="alphanumeric", boost_error=False).matrix)


def _dark(row: list[int]) -> list[tuple[int, int]]:
    """Where dark begins and ends in a row."""
    edges = [x for x, (one, other) in enumerate(zip([0, *row], [*row, 0], strict=True)) if bool(one) != bool(other)]
    return list(zip(edges[::2], edges[1::2], strict=True))
