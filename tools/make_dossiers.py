"""Set the PDFs of the sample dossiers from tools/dossiers/*.yaml: `python tools/make_dossiers.py`.

The PDFs are committed; run this after changing a source. All persons and papers in them are invented and say so.
"""

from __future__ import annotations

import argparse
import io
import itertools
import json
import random
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pypdfium2
import typst
import yaml
from PIL import Image, ImageChops, ImageFilter

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ROOT / "tools" / "dossiers"
DOSSIERS = ROOT / "diwan" / "examples" / "direct-housing-aid" / "dossiers"
FONTS = ROOT / "diwan" / "documents" / "fonts"
MAX_BYTES = 60_000
MADE_ON = datetime(2026, 11, 1, tzinfo=UTC)  # in the file, so that the same source gives the same bytes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="dossiers to make; all, where none is named")
    parser.add_argument("--into", type=Path, default=DOSSIERS, help="folder of the dossiers")
    asked = parser.parse_args()
    for source in sorted(SOURCES.glob("*.yaml")):
        if not asked.names or source.stem in asked.names:
            _make(yaml.safe_load(source.read_text(encoding="utf-8")), asked.into / source.stem)


def _make(dossier: dict[str, Any], folder: Path) -> None:
    for name, content in dossier["documents"].items():
        common = {"lang": dossier["lang"], "specimen": dossier["specimen"]}
        pdf = _set(common | content | {"parts": _parts(content["blocks"])})
        if scan := content.get("scan"):
            pdf = _scan(pdf, **scan)
        path = folder / content.get("folder", "documents") / name
        if len(pdf) > MAX_BYTES:
            raise SystemExit(f"{path.name} has {len(pdf)} bytes, more than {MAX_BYTES}")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(pdf)


def _parts(blocks: list[Any]) -> list[dict[str, Any]]:
    """Paragraphs and runs of label-and-value rows, in the order of the source."""
    parts: list[dict[str, Any]] = []
    for is_row, group in itertools.groupby(blocks, key=lambda block: isinstance(block, list)):
        run = list(group)
        parts += [{"rows": run}] if is_row else [{"text": text} for text in run]
    return parts


def _set(content: dict[str, Any]) -> bytes:
    pdf = typst.compile(
        SOURCES / "document.typ",
        root=SOURCES,
        font_paths=typst.Fonts(include_system_fonts=False, include_embedded_fonts=False, font_paths=[FONTS]),
        format="pdf",
        sys_inputs={"document": json.dumps(content, ensure_ascii=False)},
        timestamp=MADE_ON,
    )
    return bytes(pdf)


def _scan(pdf: bytes, *, width: int, blur: float, noise: int, turn: float, quality: int) -> bytes:
    """A picture of the page as a bad copier makes it: turned, blurred, speckled, and no text behind it."""
    with pypdfium2.PdfDocument(pdf) as document:
        page: Any = document[0]
        image: Image.Image = page.render(scale=2).to_pil().convert("L")
    image = image.rotate(turn, fillcolor=235, resample=Image.Resampling.BICUBIC)
    image = image.resize((width, width * image.height // image.width)).filter(ImageFilter.GaussianBlur(blur))
    dice = random.Random(7)  # noqa: S311 — speckles, the same each time
    speckles = Image.frombytes(
        "L", image.size, bytes(dice.randint(0, noise) for _ in range(image.width * image.height))
    )
    image = ImageChops.subtract(image, speckles)
    out = io.BytesIO()
    image.save(out, "PDF", quality=quality, resolution=width / 8.27)
    # Pillow writes the time of day; the same source has to give the same bytes.
    return re.sub(rb"\(D:\d{14}Z?\)", b"(D:20261101000000Z)", out.getvalue())


if __name__ == "__main__":
    main()
