"""Images among incoming documents: checked and decoded inside bounds."""

from __future__ import annotations

import io
import warnings

from PIL import Image, ImageFile, UnidentifiedImageError

from diwan.documents.reasons import NotTaken, Reason

MAX_PIXELS = 100_000_000  # A4 at 600 dpi has 35 million; the largest phone cameras 200, which they rarely use
FORMATS = ("PNG", "JPEG", "TIFF")


def open_image(data: bytes) -> ImageFile.ImageFile:
    """Header only. Raises NotTaken where it is no such image or has too many pixels."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's own bomb warning and broken metadata; pixels are checked here
            image = Image.open(io.BytesIO(data), formats=FORMATS)
    except Image.DecompressionBombError:
        raise NotTaken(Reason.BOMB) from None
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, TypeError, OverflowError):
        raise NotTaken(Reason.CORRUPT) from None
    check_size(image)
    return image


def check_size(image: Image.Image) -> None:
    if image.width * image.height > MAX_PIXELS:
        raise NotTaken(Reason.BOMB)


def examine(data: bytes, max_pages: int) -> int:
    """Number of pages (frames of a TIFF, else 1); decodes every one. Raises NotTaken."""
    image = open_image(data)
    if b"%PDF-" in data[:1024]:
        raise NotTaken(Reason.POLYGLOT)
    pages = 1
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if image.format == "TIFF":
                pages = _tiff_pages(image, max_pages)
            else:
                image.draft("L", (image.width // 8, image.height // 8))  # JPEG: reads all, decodes an eighth
                image.load()
    except Image.DecompressionBombError:
        raise NotTaken(Reason.BOMB) from None
    except OSError as error:
        raise NotTaken(Reason.TRUNCATED if "truncated" in str(error) else Reason.CORRUPT) from None
    except (ValueError, SyntaxError, TypeError, OverflowError, EOFError, KeyError, IndexError):
        raise NotTaken(Reason.CORRUPT) from None
    return pages


def _tiff_pages(image: ImageFile.ImageFile, max_pages: int) -> int:
    page = 0
    while True:
        check_size(image)
        image.load()
        page += 1
        if page > max_pages:
            raise NotTaken(Reason.TOO_MANY_PAGES)
        try:
            image.seek(page)
        except EOFError:
            return page
