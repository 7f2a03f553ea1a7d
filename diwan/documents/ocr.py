"""Text of scans by Tesseract, where the machine has it. It reads letters well and Arabic digits badly: so twice."""

from __future__ import annotations

import functools
import io
import shutil
import subprocess

from PIL import Image

MAX_PIXELS = 12_000_000  # A4 at 300 dpi has 8.7 million; more does not read better
DPI = 300
SECONDS = 30.0  # for one pass over one page


@functools.cache
def languages() -> tuple[str, ...]:
    """Languages of ours that the installed Tesseract reads; empty where there is no Tesseract."""
    program = shutil.which("tesseract")
    if program is None:
        return ()
    listed = subprocess.run([program, "--list-langs"], capture_output=True, timeout=10, check=False)
    there = set(listed.stdout.decode(errors="replace").split())
    return tuple(language for language in ("ara", "fra", "eng") if language in there)


def read(image: Image.Image) -> tuple[str, str]:
    """Two readings of one page: by its layout, then as one block with the languages the other way round.

    Empty where Tesseract fails.
    """
    image = image.convert("L")
    if image.width * image.height > MAX_PIXELS:
        factor = (MAX_PIXELS / (image.width * image.height)) ** 0.5
        image = image.resize((int(image.width * factor), int(image.height * factor)))
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    picture = buffer.getvalue()
    known = languages()
    return _run(picture, "+".join(known), "3"), _run(picture, "+".join(reversed(known)), "6")


def _run(picture: bytes, language: str, segmentation: str) -> str:
    command = [shutil.which("tesseract") or "tesseract", "stdin", "stdout", "-l", language, "--psm", segmentation]
    try:
        done = subprocess.run(
            [*command, "--dpi", str(DPI)], input=picture, capture_output=True, timeout=SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return ""
    return done.stdout.decode(errors="replace") if done.returncode == 0 else ""
