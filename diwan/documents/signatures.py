"""What bytes are, by their content: formats that are taken, and the many that are not."""

from __future__ import annotations

import io
import re
import zipfile

from diwan.documents.reasons import NotTaken, Reason

PDF, PNG, JPEG, TIFF, TEXT = "application/pdf", "image/png", "image/jpeg", "image/tiff", "text/plain"
IMAGES = frozenset({PNG, JPEG, TIFF})

# What is never taken, by its first bytes.
_REFUSED_STARTS: tuple[tuple[bytes, Reason], ...] = (
    (b"MZ", Reason.EXECUTABLE),
    (b"\x7fELF", Reason.EXECUTABLE),
    (b"\xfe\xed\xfa\xce", Reason.EXECUTABLE),
    (b"\xfe\xed\xfa\xcf", Reason.EXECUTABLE),
    (b"\xce\xfa\xed\xfe", Reason.EXECUTABLE),
    (b"\xcf\xfa\xed\xfe", Reason.EXECUTABLE),
    (b"\xca\xfe\xba\xbe", Reason.EXECUTABLE),  # universal Mach-O, and Java classes
    (b"\x00asm", Reason.EXECUTABLE),
    (b"#!", Reason.EXECUTABLE),
    (b"L\x00\x00\x00\x01\x14\x02\x00", Reason.EXECUTABLE),  # Windows shortcut
    (b"X5O!P%@AP[4\\PZX54(P^)7CC)7}$EICAR", Reason.EXECUTABLE),  # what operators test virus scanners with
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", Reason.OFFICE),  # OLE2: .doc, .xls, .msi
    (b"{\\rtf", Reason.OFFICE),
    (b"\x1f\x8b", Reason.ARCHIVE),
    (b"BZh", Reason.ARCHIVE),
    (b"\xfd7zXZ\x00", Reason.ARCHIVE),
    (b"7z\xbc\xaf\x27\x1c", Reason.ARCHIVE),
    (b"Rar!\x1a\x07", Reason.ARCHIVE),
    (b"\x28\xb5\x2f\xfd", Reason.ARCHIVE),
    (b"MSCF", Reason.ARCHIVE),
)
_ACCEPTED_STARTS: tuple[tuple[bytes, str], ...] = (
    (b"\x89PNG\r\n\x1a\n", PNG),
    (b"\xff\xd8\xff", JPEG),
    (b"II*\x00", TIFF),
    (b"MM\x00*", TIFF),
)
_PROGRAM_TEXT = re.compile(rb"(?i)@echo off|<\?php|<%@|windows registry editor")
_WEB_TEXT = re.compile(rb"(?i)<(?:!doctype|html|head|body|script|svg|\?xml|iframe|!--)")


def _zip_reason(data: bytes) -> Reason:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, UnicodeError, OSError):
        return Reason.ARCHIVE
    if any(name.endswith(("vbaProject.bin", "macrosheets/")) or "/macrosheets/" in name for name in names):
        return Reason.OFFICE_MACROS
    if "[Content_Types].xml" in names or "content.xml" in names:
        return Reason.OFFICE
    if "META-INF/MANIFEST.MF" in names or "AndroidManifest.xml" in names:
        return Reason.EXECUTABLE
    return Reason.ARCHIVE


def contains_zip(data: bytes) -> bool:
    """Whether a zip is appended: its end record stands near the end and a member can be listed."""
    if b"PK\x05\x06" not in data[-66_000:]:
        return False
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return bool(archive.namelist())
    except (zipfile.BadZipFile, NotImplementedError, ValueError, UnicodeError, OSError):
        return False


def media_type_of(data: bytes) -> str:
    """The accepted media type that `data` starts as; raises NotTaken for anything else."""
    for start, reason in _REFUSED_STARTS:
        if data.startswith(start):
            raise NotTaken(reason)
    if data.startswith((b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")):
        raise NotTaken(_zip_reason(data))
    for start, media_type in _ACCEPTED_STARTS:
        if data.startswith(start):
            return media_type
    head = data[:1024]
    stripped = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if stripped.startswith(b"%PDF-"):
        return PDF
    if b"%PDF-" in head:
        raise NotTaken(Reason.POLYGLOT)  # PDF viewers accept a header within the first KiB, behind something else
    if stripped.startswith(b"#!") or _PROGRAM_TEXT.match(stripped):
        raise NotTaken(Reason.EXECUTABLE)
    if _WEB_TEXT.match(stripped):
        raise NotTaken(Reason.WEB_PAGE)
    decode_text(data)
    return TEXT


def decode_text(data: bytes) -> str:
    """Text of a text file; raises NotTaken where it is not UTF-8 or holds control characters (so is no text)."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise NotTaken(Reason.UNSUPPORTED) from None
    if re.search("[\x00-\x08\x0e-\x1f\x7f]", text):
        raise NotTaken(Reason.UNSUPPORTED)
    return text


# What a sender claims: only ever compared with the content.
_TYPE_OF_EXTENSION = {
    "pdf": PDF, "png": PNG, "jpg": JPEG, "jpeg": JPEG, "jpe": JPEG, "tif": TIFF, "tiff": TIFF,
    "txt": TEXT, "text": TEXT, "md": TEXT, "csv": TEXT, "log": TEXT,
}  # fmt: skip
_OTHER_EXTENSION = re.compile(
    "exe|com|bat|cmd|ps1|psm1|vbs|vbe|js|jse|wsf|scr|msi|dll|so|dylib|jar|sh|bash|py|rb|pl|php|lnk|hta|reg|app|apk|"
    "html?|xhtml|svg|xml|docx?|docm|xlsx?|xlsm|pptx?|pptm|odt|ods|odp|rtf|zip|rar|7z|gz|bz2|xz|tar|iso|"
    "gif|bmp|webp|heic|heif|mp3|mp4|mov|avi"
)
_TYPE_SYNONYMS = {
    "image/jpg": JPEG,
    "image/pjpeg": JPEG,
    "application/x-pdf": PDF,
    "text/csv": TEXT,
    "text/markdown": TEXT,
}
_NO_CLAIM = frozenset({"", "application/octet-stream", "binary/octet-stream"})


def claimed_types(name: str, declared: str) -> set[str]:
    """Media types that the sender claims: by the name's extension and by the declared type."""
    claims: set[str] = set()
    stem, dot, extension = name.rpartition(".")
    if dot and stem:
        extension = extension.strip().lower()
        if _OTHER_EXTENSION.fullmatch(extension):
            claims.add(f"extension/{extension}")
        elif extension in _TYPE_OF_EXTENSION:
            claims.add(_TYPE_OF_EXTENSION[extension])
    declared = declared.partition(";")[0].strip().lower()
    if declared not in _NO_CLAIM:
        claims.add(_TYPE_SYNONYMS.get(declared, declared))
    return claims
